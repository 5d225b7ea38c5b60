//! The role: what it is given, and its life.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use broker::{Broker, BrokerError, QueueName, layout};
use model::{Clock, MarketId, RegionNumber};
use parker::Desk;
use service::{Condition, Readiness, Shutdown, http};
use store::{Database, Databases};

use crate::config::Config;
use crate::operators::{OperatorFileError, Operators};
use crate::{queues, router};

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
    /// The queues can't be declared, and waiting would not help.
    #[error("the operator API can't declare the queues that it looks at")]
    Broker(#[from] BrokerError),
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
    /// What was seen of the queues last.
    pub(crate) looks: queues::Looks,
}

/// The operator API without a server: [`Ops::run`] serves it, or
/// serve [`Ops::router`] and run [`Ops::maintain`] beside it.
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
        let looks = queues::Looks::default();
        let state = State { config, databases, orders, events, desk, markets, clock, operators, looks };
        Ok(Self { state: Arc::new(state), started })
    }

    /// The routes, for a server of `service::http` (which brings timeouts, request ids and answers to unknown paths).
    pub fn router(&self) -> Router {
        router::router(&self.state)
    }

    /// Follows the operators' file, the queues and their workers until the soft stop. A broker that is away keeps nobody
    /// from asking: what it has is unknown meanwhile.
    ///
    /// # Errors
    /// [`Error::Broker`], for a topology that conflicts with what is there.
    pub async fn maintain(&self, shutdown: Shutdown) -> Result<(), Error> {
        self.started.ready();
        let reload = Duration::from_millis(self.state.config.operators_reload_ms.max(10));
        let all = async {
            tokio::select! {
                // A queue that nobody declared yet would be unknown, not empty.
                Err(error) = self.declare() => Err(error),
                () = self.state.operators.follow(reload) => Ok(()),
                never = queues::follow(Arc::clone(&self.state)) => match never {},
            }
        };
        shutdown.soft().run_until_cancelled(all).await.unwrap_or(Ok(()))
    }

    /// Serves on `server`, which listens already, until `shutdown`.
    ///
    /// # Errors
    /// As [`Ops::maintain`].
    pub async fn run(self, server: http::Server, shutdown: Shutdown) -> Result<(), Error> {
        let stop = shutdown.child();
        let serving = server.serve(self.router(), stop.clone());
        let maintaining = async {
            let ended = self.maintain(shutdown).await;
            stop.soft().cancel();
            ended
        };
        futures::future::join(serving, maintaining).await.1
    }

    async fn declare(&self) -> Result<(), Error> {
        let State { orders, events, databases, .. } = &*self.state;
        let (topology, pages) = (queues::topology(databases), layout::pages());
        futures::future::try_join(orders.declare(&topology), events.declare(&pages)).await?;
        Ok(())
    }
}

/// A queue's home: the database that its pause and the audit rows of it lie in. For a region's checkout queue it is the
/// region's, for any other queue that of analytics. Where its parked messages lie, [`Desk::holding`] says.
pub fn home_of<'a>(databases: &'a Databases, queue: &QueueName) -> &'a Arc<Database> {
    let region = databases.regions().find(|region| layout::checkout_queue(&region.name) == *queue);
    region.map_or(databases.analytics(), |region| &region.database)
}
