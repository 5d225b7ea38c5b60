//! The role: what it is given, and its life.

use std::sync::Arc;

use axum::Router;
use cache::Cache;
use model::TokenKey;
use service::{Condition, Readiness, Shutdown, http};
use store::Databases;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::lookup::Lookup;
use crate::routes;
use crate::watch::{Watched, look_for_ever};

/// What the storefront is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Every region's database.
    pub databases: Arc<Databases>,
    /// Where committed status is looked for first.
    pub cache: Arc<Cache>,
    /// Verifies status URLs; the ingress's is the same.
    pub token_key: TokenKey,
    /// Where it says that it is ready.
    pub readiness: Readiness,
}

/// Why the storefront can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server does not listen.
    #[error(transparent)]
    Http(#[from] http::Error),
}

/// What handlers share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) lookup: Lookup,
    pub(crate) watched: Watched,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) token_key: TokenKey,
    /// Ends every stream.
    pub(crate) stop: CancellationToken,
}

/// The storefront without a server of its own, for a process that serves several roles on one port: serve
/// [`Storefront::router`] and run [`Storefront::maintain`] beside it. [`run`] is both.
pub struct Storefront {
    shared: Arc<Shared>,
    started: Condition,
}

impl Storefront {
    /// Registers the role's condition (`storefront.started`), not ready yet. A database that is away is not among the
    /// conditions: what the cache knows is still answered, and taking every replica out of service helps nobody.
    pub fn new(deps: Deps) -> Self {
        let streams = Arc::new(Semaphore::new(deps.config.max_streams.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            lookup: Lookup::new(deps.databases, deps.cache, deps.config.clone()),
            config: deps.config,
            watched: Watched::default(),
            streams,
            token_key: deps.token_key,
            stop: CancellationToken::new(),
        };
        Self { shared: Arc::new(shared), started: deps.readiness.condition("storefront.started") }
    }

    /// The routes, for a server of `service::http` (which brings timeouts, request ids and answers to unknown paths).
    pub fn router(&self) -> Router {
        routes::routes(&self.shared)
    }

    /// Looks for the orders that streams wait for until the soft stop, which also ends the streams.
    pub async fn maintain(&self, shutdown: Shutdown) {
        self.started.ready();
        let looking = look_for_ever(&self.shared.lookup, &self.shared.watched, &self.shared.config);
        shutdown.soft().run_until_cancelled(looking).await;
        self.shared.stop.cancel();
    }
}

/// Runs the storefront on its own port until `shutdown`.
///
/// # Errors
/// [`Error`].
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let server = http::Server::bind(deps.config.http.clone()).await?;
    run_on(server, deps, shutdown).await
}

/// As [`run`], on a server that listens already.
///
/// # Errors
/// As [`run`].
pub async fn run_on(server: http::Server, deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let health = deps.readiness.router();
    let storefront = Storefront::new(deps);
    let serving = server.serve(storefront.router().merge(health), shutdown.clone());
    futures::future::join(serving, storefront.maintain(shutdown)).await;
    Ok(())
}
