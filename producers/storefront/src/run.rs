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

/// Runs the storefront alone on `server`, which listens already, until `shutdown`. Nothing can end it before: a database
/// or a cache that is away is told by its answers.
pub async fn run(server: http::Server, deps: Deps, shutdown: Shutdown) {
    let health = deps.readiness.router();
    let storefront = Storefront::new(deps);
    let serving = server.serve(storefront.router().merge(health), shutdown.clone());
    futures::future::join(serving, storefront.maintain(shutdown)).await;
}
