//! The role: what it is given, and its life.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use broker::{Broker, QueueName, layout};
use model::{Clock, MarketId, RegionNumber};
use parker::Desk;
use service::{Condition, Readiness, Shutdown, http};
use store::{Database, Databases};

use crate::config::Config;
use crate::operators::{OperatorFileError, Operators};
use crate::router;

/// What the operator API is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Every region's database.
    pub databases: Arc<Databases>,
    /// Where orders and what follows from them wait.
    pub orders: Arc<dyn Broker>,
    /// Where page events wait; may be the same broker.
    pub events: Arc<dyn Broker>,
    /// Where operators act on parked messages.
    pub desk: Desk,
    /// Every market and its region, from which an order's id is made.
    pub markets: Vec<(MarketId, RegionNumber)>,
    /// Names the time of day in answers; what is stored has the database's.
    pub clock: Arc<dyn Clock>,
    /// Where it says that it is ready.
    pub readiness: Readiness,
}

/// Why the operator API can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operators' file.
    #[error(transparent)]
    Operators(#[from] OperatorFileError),
    /// It would listen to strangers, and nobody could use it.
    #[error(
        "ops.bind = {0} is open to other machines, and the operators' file names nobody: `millpond keys operator --name \
         NAME` adds one; or bind to 127.0.0.1"
    )]
    Open(std::net::SocketAddr),
}

/// What handlers share.
pub struct State {
    /// Its configuration.
    pub config: Config,
    /// Every region's database.
    pub databases: Arc<Databases>,
    /// Where orders and what follows from them wait.
    pub orders: Arc<dyn Broker>,
    /// Where page events wait; may be the same broker.
    pub events: Arc<dyn Broker>,
    /// Where operators act on parked messages.
    pub(crate) desk: Desk,
    /// Every market and its region.
    pub markets: Vec<(MarketId, RegionNumber)>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Who may ask.
    pub(crate) operators: Operators,
}

/// The operator API without a server: serve [`Ops::router`] on a listener of its own and run [`Ops::maintain`] beside it.
pub struct Ops {
    state: Arc<State>,
    started: Condition,
}

impl Ops {
    /// Registers the role's condition (`ops.started`), not ready yet.
    ///
    /// # Errors
    /// [`Error`].
    pub fn new(deps: Deps) -> Result<Self, Error> {
        let Deps { config, databases, orders, events, desk, markets, clock, readiness } = deps;
        let operators = Operators::open(&config.operators_file)?;
        if operators.is_empty() {
            if !config.bind.ip().is_loopback() {
                return Err(Error::Open(config.bind));
            }
            tracing::warn!(
                operators.file = %config.operators_file.display(),
                "there is no operator yet, so every request to the operator API is refused: `millpond keys operator \
                 --name NAME` adds one"
            );
        }
        let started = readiness.condition("ops.started");
        let state = State { config, databases, orders, events, desk, markets, clock, operators };
        Ok(Self { state: Arc::new(state), started })
    }

    /// The routes, for a server of `service::http` (which brings timeouts, request ids and answers to unknown paths).
    pub fn router(&self) -> Router {
        router::router(&self.state)
    }

    /// Follows the operators' file until the soft stop.
    pub async fn maintain(&self, shutdown: Shutdown) {
        self.started.ready();
        let reload = Duration::from_millis(self.state.config.operators_reload_ms.max(10));
        shutdown.soft().run_until_cancelled(self.state.operators.follow(reload)).await;
    }
}

/// Runs the operator API on `server`, which listens already, until `shutdown`.
///
/// # Errors
/// [`Error`], before anything is served.
pub async fn run(server: http::Server, deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let ops = Ops::new(deps)?;
    let serving = server.serve(ops.router(), shutdown.clone());
    futures::future::join(serving, ops.maintain(shutdown)).await;
    Ok(())
}

/// A queue's home: the database that its pause, its parked messages and their audit rows lie in. For a region's checkout
/// queue it is the region's, for any other queue that of analytics.
pub fn home_of<'a>(databases: &'a Databases, queue: &QueueName) -> &'a Arc<Database> {
    let region = databases.regions().find(|region| layout::checkout_queue(&region.name) == *queue);
    region.map_or(databases.analytics(), |region| &region.database)
}
