//! The role: what it is given, and its life.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cache::{Cache, PageKey, Pages};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join, join_all, join4};
use model::{Clock, MarketId, RegionName, TokenKey};
use service::keys::ApiKeys;
use service::{Condition, Readiness, Shutdown, Tasks, http};
use store::catalogue::forget_prices;
use store::{Databases, Region, stock as flows};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::lookup::Lookup;
use crate::pages::Public;
use crate::watch::{Watched, look_for_ever};
use crate::{catalogue, pages, routes, shop, stock};

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
    /// Who may change stock, orders and the catalogue.
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
    pub(crate) public: Arc<Public>,
    pub(crate) watched: Watched,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) token_key: TokenKey,
    pub(crate) keys: ApiKeys,
    /// Where each market's orders and stock are.
    pub(crate) regions: HashMap<MarketId, Region>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Places of changes in flight.
    pub(crate) changes: Arc<Semaphore>,
    /// Places of edits of products in flight.
    pub(crate) edits: Arc<Semaphore>,
    /// Places of imports in flight.
    pub(crate) imports: Arc<Semaphore>,
    pub(crate) tasks: Tasks,
    /// Ends every stream.
    pub(crate) stop: CancellationToken,
}

/// The storefront without a server of its own, for a process that serves several roles on one port: serve
/// [`Storefront::router`] with [`Storefront::at_hand`] and [`Storefront::problems`], and run [`Storefront::maintain`] beside it.
/// [`run`] is both.
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
        let places = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let streams = places(deps.config.max_streams);
        let changes = places(deps.config.changes.max_in_flight);
        let edits = places(deps.config.catalogue.max_in_flight);
        let imports = places(deps.config.catalogue.imports_in_flight);
        let tasks = Tasks::new();
        let public = Public::new(&deps.config, deps.pages, &deps.markets, &deps.databases, &tasks);
        // A market whose region is not configured is refused by its requests, as it is by the ingress at its start.
        let region =
            |(market, region): (MarketId, RegionName)| Some((market, deps.databases.by_name(&region)?.clone()));
        let regions = deps.markets.into_iter().filter_map(region).collect();
        let databases = Arc::clone(&deps.databases);
        let shared = Shared {
            lookup: Lookup::new(deps.databases, deps.cache, deps.config.clone(), Arc::clone(&deps.clock)),
            public,
            config: deps.config,
            keys: deps.keys,
            regions,
            clock: deps.clock,
            changes,
            edits,
            imports,
            tasks,
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
        let shared = &self.shared;
        routes::routes(shared)
            .merge(stock::routes(shared))
            .merge(catalogue::routes(shared))
            .merge(pages::routes(shared))
            .merge(shop::routes(shared))
    }

    /// Pages that are fresh in this process's memory, for the same server.
    pub fn at_hand(&self) -> http::AtHand {
        let public = Arc::clone(&self.shared.public);
        Arc::new(move |uri, headers| public.at_hand(uri, headers))
    }

    /// How readers are told of what the same server answers itself: by a page where they ask for one.
    pub fn problems(&self) -> http::Problems {
        let public = Arc::clone(&self.shared.public);
        Arc::new(move |problem, headers| public.fault(problem, headers))
    }

    /// Looks for the orders that streams wait for, follows the keys' file and forgets old answers and prices until the soft
    /// stop, which also ends the streams.
    pub async fn maintain(&self, shutdown: Shutdown) {
        self.started.ready();
        let Shared { lookup, watched, config, keys, .. } = &*self.shared;
        let work = join4(
            look_for_ever(lookup, watched, config),
            keys.follow(self.keys_reload),
            self.forget_for_ever(),
            self.forget_prices_for_ever(),
        );
        shutdown.soft().run_until_cancelled(work).await;
        self.shared.stop.cancel();
    }

    /// Looks after pages with these keys as a reader would: for whoever knows that they are old now, and are read much.
    pub fn refresh(&self) -> impl Fn(Vec<PageKey>) -> BoxFuture<'static, ()> + Send + Sync + use<> {
        let public = Arc::clone(&self.shared.public);
        move |keys| {
            let public = Arc::clone(&public);
            async move { public.refresh(&keys).await }.boxed()
        }
    }

    /// Waits for the changes that nobody waits for any more; call it once the server has ended.
    pub async fn drain(&self) {
        self.shared.tasks.join().await;
    }

    pub(crate) async fn serve(&self, server: http::Server, health: Router, shutdown: Shutdown) {
        let server = server.at_hand(self.at_hand()).problems(self.problems());
        let serving = server.serve(self.router().merge(health), shutdown.clone());
        join(serving, self.maintain(shutdown.clone())).await;
        shutdown.hard().run_until_cancelled(self.drain()).await;
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

    /// Prices that were replaced long ago, as answers are forgotten.
    async fn forget_prices_for_ever(&self) {
        let config = &self.shared.config.catalogue;
        let loops = self.databases.databases().iter().map(async |database| {
            loop {
                tokio::time::sleep(Duration::from_secs(config.forget_prices_every_s.max(1))).await;
                match forget_prices(database, config.keep_prices(), config.forget_prices_batch).await {
                    Ok(0) => {}
                    Ok(prices) => tracing::debug!(storefront.forgotten = prices, "threw away prices that ended long ago"),
                    Err(error) => {
                        tracing::debug!(store.database = database.name(), %error, "old prices stay until the next look");
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
    Storefront::new(deps).serve(server, health, shutdown).await;
}
