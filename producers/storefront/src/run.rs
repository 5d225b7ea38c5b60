//! The role: what it is given, and its life.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cache::{Cache, Pages};
use futures::future::{join, join_all, join3};
use model::{Clock, MarketId, RegionName, TokenKey};
use service::keys::ApiKeys;
use service::{Condition, Readiness, Shutdown, Tasks, http};
use store::{Databases, Region, stock as flows};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::lookup::Lookup;
use crate::watch::{Watched, look_for_ever};
use crate::{routes, stock};

/// What the storefront is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Every region's database.
    pub databases: Arc<Databases>,
    /// Where committed status is looked for first.
    pub cache: Arc<Cache>,
    /// Rendered pages, and what purges make of them.
    pub pages: Arc<Pages>,
    /// Verifies status URLs; the ingress's is the same.
    pub token_key: TokenKey,
    /// Who may change stock and orders.
    pub keys: ApiKeys,
    /// How often the keys' file is looked at.
    pub keys_reload: Duration,
    /// Every market of the shop, with its region.
    pub markets: BTreeMap<MarketId, RegionName>,
    /// Says which keys have expired.
    pub clock: Arc<dyn Clock>,
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
    pub(crate) keys: ApiKeys,
    /// Where each market's orders and stock are.
    pub(crate) regions: HashMap<MarketId, Region>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Places of changes in flight.
    pub(crate) changes: Arc<Semaphore>,
    pub(crate) tasks: Tasks,
    /// Ends every stream.
    pub(crate) stop: CancellationToken,
}

/// The storefront without a server of its own, for a process that serves several roles on one port: serve
/// [`Storefront::router`] and run [`Storefront::maintain`] beside it. [`run`] is both.
pub struct Storefront {
    shared: Arc<Shared>,
    databases: Arc<Databases>,
    keys_reload: Duration,
    started: Condition,
}

impl Storefront {
    /// Registers the role's condition (`storefront.started`), not ready yet. A database that is away is not among the
    /// conditions: what the cache knows is still answered, and taking every replica out of service helps nobody.
    pub fn new(deps: Deps) -> Self {
        let streams = Arc::new(Semaphore::new(deps.config.max_streams.min(Semaphore::MAX_PERMITS)));
        let changes = Arc::new(Semaphore::new(deps.config.changes.max_in_flight.min(Semaphore::MAX_PERMITS)));
        // A market whose region is not configured is refused by its requests, as it is by the ingress at its start.
        let region =
            |(market, region): (MarketId, RegionName)| Some((market, deps.databases.by_name(&region)?.clone()));
        let regions = deps.markets.into_iter().filter_map(region).collect();
        let databases = Arc::clone(&deps.databases);
        let shared = Shared {
            lookup: Lookup::new(deps.databases, deps.cache, deps.config.clone(), Arc::clone(&deps.clock)),
            config: deps.config,
            keys: deps.keys,
            regions,
            clock: deps.clock,
            changes,
            tasks: Tasks::new(),
            watched: Watched::default(),
            streams,
            token_key: deps.token_key,
            stop: CancellationToken::new(),
        };
        let keys_reload = deps.keys_reload;
        Self {
            shared: Arc::new(shared),
            databases,
            keys_reload,
            started: deps.readiness.condition("storefront.started"),
        }
    }

    /// The routes, for a server of `service::http` (which brings timeouts, request ids and answers to unknown paths).
    pub fn router(&self) -> Router {
        routes::routes(&self.shared).merge(stock::routes(&self.shared))
    }

    /// Looks for the orders that streams wait for, follows the keys' file and forgets old answers until the soft stop, which
    /// also ends the streams.
    pub async fn maintain(&self, shutdown: Shutdown) {
        self.started.ready();
        let Shared { lookup, watched, config, keys, .. } = &*self.shared;
        let work = join3(look_for_ever(lookup, watched, config), keys.follow(self.keys_reload), self.forget_for_ever());
        shutdown.soft().run_until_cancelled(work).await;
        self.shared.stop.cancel();
    }

    /// Waits for the changes that nobody waits for any more; call it once the server has ended.
    pub async fn drain(&self) {
        self.shared.tasks.join().await;
    }

    /// Answers to changes that are old enough, in each database at its own pace.
    async fn forget_for_ever(&self) {
        let changes = &self.shared.config.changes;
        let loops = self.databases.databases().iter().map(async |database| {
            loop {
                tokio::time::sleep(Duration::from_secs(changes.forget_every_s.max(1))).await;
                match flows::forget_requests(database, changes.keep_answers(), changes.forget_batch).await {
                    Ok(0) => {}
                    Ok(answers) => tracing::debug!(storefront.forgotten = answers, "threw away old answers to changes"),
                    Err(error) => {
                        tracing::debug!(store.database = database.name(), %error, "old answers stay until the next look");
                    }
                }
            }
        });
        join_all(loops).await;
    }
}

/// Runs the storefront alone on `server`, which listens already, until `shutdown`. Nothing can end it before: a database
/// or a cache that is away is told by its answers.
pub async fn run(server: http::Server, deps: Deps, shutdown: Shutdown) {
    let health = deps.readiness.router();
    let storefront = Storefront::new(deps);
    let serving = server.serve(storefront.router().merge(health), shutdown.clone());
    join(serving, storefront.maintain(shutdown.clone())).await;
    shutdown.hard().run_until_cancelled(storefront.drain()).await;
}
