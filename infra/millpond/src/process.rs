//! One process: its roles under one supervisor, behind one HTTP server.

mod operators;
mod purges;
mod shop_keys;
mod watches;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use broker::{Broker, QueueName, layout};
use ingress::Ingress;
use model::{Clock as _, SystemClock, TokenKey};
use service::keys::ApiKeys;
use service::metrics::{Build, Metrics};
use service::{Condition, Readiness, Shutdown, Supervisor, http};
use storefront::Storefront;
use tokio_util::sync::CancellationToken;
use worker::Pauses;

use crate::parts::{Guard, Parts};
use crate::role::Role;
use crate::settings::Settings;
use crate::verbs::keys;

/// A process that listens and does nothing else yet.
pub(crate) struct Process {
    settings: Settings,
    roles: BTreeSet<Role>,
    server: http::Server,
    /// For `/metrics` alone.
    metrics_server: Option<http::Server>,
    /// For operators alone.
    ops_server: Option<http::Server>,
    metrics: Metrics,
    readiness: Readiness,
    /// Every role was started; only then the conditions of all of them are known.
    started: Condition,
    shutdown: Shutdown,
}

impl Process {
    /// Listens, so that a port that is taken is known before anything else is touched.
    ///
    /// # Errors
    /// The port's, the data folder's.
    pub(crate) async fn bind(
        mut settings: Settings,
        roles: &BTreeSet<Role>,
        readiness: Readiness,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        if !roles.iter().any(|role| role.consumes()) {
            // Nobody's large headers will come, and buffers are as large as frames allow.
            settings.broker.rabbit.consume_frame_kib = settings.broker.rabbit.publish_frame_kib;
        }
        settings.prepare_data()?;
        let metrics = Metrics::new();
        let started = Duration::from_millis(u64::try_from(SystemClock.now().timestamp_millis()).unwrap_or(0));
        metrics.measure_process(started, Build { version: env!("CARGO_PKG_VERSION") });
        let server = http::Server::bind(settings.http.clone()).await.context("http.bind")?.measured(&metrics);
        let metrics_server = bind_metrics(&settings).await?;
        let ops_server = if roles.contains(&Role::Ops) { Some(operators::bind(&settings).await?) } else { None };
        let started = readiness.condition("process.roles");
        Ok(Self {
            settings,
            roles: roles.clone(),
            server,
            metrics_server,
            ops_server,
            metrics,
            readiness,
            started,
            shutdown,
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Runs the roles until the shutdown or the first failure, drains, and closes every part.
    ///
    /// # Errors
    /// The first role's, with its name.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self { settings, roles, server, metrics_server, ops_server, metrics, readiness, started, shutdown } = self;
        let parts = Parts::new(&settings, metrics.clone());
        let mut router = readiness.router();
        if settings.metrics.enabled && metrics_server.is_none() {
            router = router.merge(metrics.router());
        }
        let starting = Starting {
            supervisor: Supervisor::new(settings.stop.clone(), shutdown.clone()),
            router,
            at_hand: None,
            problems: None,
            metrics,
            queues: BTreeMap::new(),
            settings: &settings,
            parts: &parts,
            readiness,
            shutdown: shutdown.clone(),
            answered: CancellationToken::new(),
            watched: Vec::new(),
            ops_server,
            pauses: Pauses::unknown(),
            pausable: BTreeSet::new(),
            purges_here: roles.contains(&Role::Invalidation),
        };
        let ended = match starting.all(&roles, server, metrics_server).await {
            Ok(supervisor) => {
                started.ready();
                supervise(supervisor, shutdown).await
            }
            Err(error) => Err(error),
        };
        parts.close().await;
        ended
    }
}

/// The server of `/metrics` alone, where one is configured.
async fn bind_metrics(settings: &Settings) -> anyhow::Result<Option<http::Server>> {
    let Some(bind) = settings.metrics_bind()? else { return Ok(None) };
    let config = http::Config { bind, ..settings.http.clone() };
    Ok(Some(http::Server::bind(config).await.context("metrics.bind")?))
}

/// Until every role has ended, softly or hard.
async fn supervise(supervisor: Supervisor, shutdown: Shutdown) -> anyhow::Result<()> {
    let deaf = async {
        match service::listen(shutdown).await {
            // A hard stop was asked for: the roles obey it, and the supervisor says when they have.
            Ok(()) => std::future::pending().await,
            Err(error) => error,
        }
    };
    tokio::select! {
        ended = supervisor.run() => Ok(ended?),
        error = deaf => Err(error).context("signals can't be listened to"),
    }
}

/// Roles on their way to the supervisor.
struct Starting<'a> {
    supervisor: Supervisor,
    router: Router,
    settings: &'a Settings,
    parts: &'a Parts<'a>,
    readiness: Readiness,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Queues whose depths are shown, by the broker's name: those that this process's roles feed or take from.
    queues: BTreeMap<&'static str, (Arc<dyn Broker>, BTreeSet<QueueName>)>,
    /// What the server answers without the router.
    at_hand: Option<http::AtHand>,
    /// How it tells readers of what it answers itself.
    problems: Option<http::Problems>,
    /// The server has answered its last request.
    answered: CancellationToken,
    /// Brokers whose unroutable messages are watched already.
    watched: Vec<&'static str>,
    ops_server: Option<http::Server>,
    /// What this process's workers know of pauses.
    pauses: Pauses,
    /// The queues that it takes from.
    pausable: BTreeSet<QueueName>,
    /// Whether this process purges.
    purges_here: bool,
}

impl Starting<'_> {
    async fn all(
        mut self,
        roles: &BTreeSet<Role>,
        server: http::Server,
        metrics_server: Option<http::Server>,
    ) -> anyhow::Result<Supervisor> {
        for role in roles {
            self.role(*role).await.with_context(|| format!("the role {} can't start", role.name()))?;
        }
        self.watch_depths();
        if roles.iter().any(|role| role.reads_lists()) {
            self.watch_replicas().await?;
        }
        self.follow_pauses().await?;
        if let Some(server) = metrics_server {
            let serving = server.serve(self.metrics.router(), self.shutdown.clone());
            self.supervisor.start("metrics", async move {
                serving.await;
                anyhow::Ok(())
            });
        }
        let (router, shutdown, answered) = (self.router, self.shutdown, self.answered);
        let server = self.at_hand.into_iter().fold(server, http::Server::at_hand);
        let server = self.problems.into_iter().fold(server, http::Server::problems);
        self.supervisor.start("http", async move {
            server.serve(router, shutdown).await;
            answered.cancel();
            anyhow::Ok(())
        });
        Ok(self.supervisor)
    }

    /// Every role, each by what its own crate runs.
    async fn role(&mut self, role: Role) -> anyhow::Result<()> {
        match role {
            Role::Ingress => self.ingress().await,
            Role::Storefront => self.storefront().await,
            Role::Checkout => self.checkout().await,
            Role::Relay => self.relay().await,
            Role::Invalidation => self.invalidation().await,
            Role::Analytics => self.analytics().await,
            Role::Parker => self.parker().await,
            Role::Ops => self.ops().await,
        }
    }

    async fn ingress(&mut self) -> anyhow::Result<()> {
        let orders = self.parts.orders().await?;
        let events = self.parts.events().await?;
        let regions = self.settings.store.region.iter().map(|region| (region.name.clone(), region.number)).collect();
        let ingress = Ingress::new(ingress::Deps {
            config: self.settings.ingress.clone(),
            orders: Arc::clone(&orders),
            events: Arc::clone(&events),
            one_broker: self.settings.one_broker(),
            regions,
            keys: ApiKeys::open(&self.settings.ingress.keys_file)?,
            token_key: self.token_key()?,
            clock: Arc::new(SystemClock),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        })?;
        self.router = std::mem::take(&mut self.router).merge(ingress.router());
        let (shutdown, answered) = (self.shutdown.clone(), self.answered.clone());
        self.supervisor.start("ingress", async move {
            ingress.maintain(shutdown.clone()).await?;
            // Requests that the server finishes while it drains may still publish.
            let drained = async {
                answered.cancelled().await;
                ingress.drain().await;
            };
            shutdown.hard().run_until_cancelled(drained).await;
            Ok::<(), ingress::Error>(())
        });
        let checkout = self.settings.ingress.markets.iter().map(|market| layout::checkout_queue(&market.region));
        let checkout: Vec<QueueName> = checkout.collect();
        self.show_depths("orders", &orders, checkout);
        self.show_depths("events", &events, [layout::analytics_pages_queue()]);
        self.watch_unrouted("orders", orders);
        self.watch_unrouted("events", events);
        Ok(())
    }

    async fn storefront(&mut self) -> anyhow::Result<()> {
        let keys = ApiKeys::open(&self.settings.ingress.keys_file)?;
        let markets = self.settings.ingress.markets.iter();
        let markets = markets.map(|market| (market.id.clone(), market.region.clone())).collect();
        shop_keys::check(&keys, &self.settings.storefront.shop.keys, &markets)?;
        let storefront = Storefront::new(storefront::Deps {
            config: self.settings.storefront.clone(),
            databases: Arc::new(self.parts.databases().await?),
            cache: self.parts.cache().await?,
            pages: self.parts.pages().await?,
            token_key: self.token_key()?,
            keys,
            keys_reload: Duration::from_millis(self.settings.ingress.keys_reload_ms),
            markets,
            clock: Arc::new(SystemClock),
            readiness: self.readiness.clone(),
        });
        self.router = std::mem::take(&mut self.router).merge(storefront.router());
        self.at_hand = Some(storefront.at_hand());
        self.problems = Some(storefront.problems());
        self.hear_purges(Arc::new(storefront.refresh())).await?;
        let (shutdown, answered, pages) = (self.shutdown.clone(), self.answered.clone(), self.parts.pages().await?);
        self.supervisor.start("storefront", async move {
            storefront.maintain(shutdown.clone()).await;
            // Requests that the server finishes while it drains may still make changes, and have pages rendered.
            let drained = async {
                answered.cancelled().await;
                storefront.drain().await;
                pages.drain().await;
            };
            shutdown.hard().run_until_cancelled(drained).await;
            anyhow::Ok(())
        });
        Ok(())
    }

    /// One consumer for each region: a slow region delays itself alone.
    async fn checkout(&mut self) -> anyhow::Result<()> {
        let databases = self.parts.databases().await?;
        let orders = self.parts.orders().await?;
        for region in databases.regions() {
            let Guard { breaker, governor } = self.parts.guard(&region.database);
            let queue = layout::checkout_queue(&region.name);
            self.show_depths("orders", &orders, [queue.clone()]);
            self.pausable.insert(queue);
            let deps = checkout::Deps {
                config: self.settings.checkout.clone(),
                region: region.clone(),
                breaker,
                governor,
                orders: self.parts.orders().await?,
                cache: self.parts.cache().await?,
                pauses: self.pauses.clone(),
                readiness: self.readiness.clone(),
                metrics: self.metrics.clone(),
            };
            self.supervisor.start(format!("checkout.{}", region.name), checkout::run(deps, self.shutdown.clone()));
        }
        Ok(())
    }

    async fn relay(&mut self) -> anyhow::Result<()> {
        let orders = self.parts.orders().await?;
        let deps = relay::Deps {
            config: self.settings.relay.clone(),
            databases: self.parts.databases().await?,
            orders: Arc::clone(&orders),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        self.supervisor.start("relay", relay::run(deps, self.shutdown.clone()));
        self.show_depths("orders", &orders, [layout::analytics_orders_queue(), layout::invalidation_queue()]);
        self.watch_unrouted("orders", orders);
        Ok(())
    }

    async fn invalidation(&mut self) -> anyhow::Result<()> {
        let databases = self.parts.databases().await?;
        let home = Arc::clone(ops::home_of(&databases, &layout::invalidation_queue()));
        let deps = invalidation::Deps {
            config: self.settings.invalidation.clone(),
            orders: self.parts.orders().await?,
            cache: self.parts.cache().await?,
            clock: Arc::new(SystemClock),
            pauses: self.pauses.clone(),
            witness: home,
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        self.show_depths("orders", &deps.orders, [layout::invalidation_queue()]);
        self.pausable.insert(layout::invalidation_queue());
        self.supervisor.start("invalidation", invalidation::run(deps, self.shutdown.clone()));
        Ok(())
    }

    async fn analytics(&mut self) -> anyhow::Result<()> {
        let database = Arc::clone(self.parts.databases().await?.analytics());
        let Guard { breaker, governor } = self.parts.guard(&database);
        let deps = analytics::Deps {
            config: self.settings.analytics.clone(),
            breaker,
            governor,
            database,
            orders: self.parts.orders().await?,
            events: self.parts.events().await?,
            clock: Arc::new(SystemClock),
            pauses: self.pauses.clone(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        self.pausable.extend([layout::analytics_orders_queue(), layout::analytics_pages_queue()]);
        self.show_depths("orders", &deps.orders, [layout::analytics_orders_queue()]);
        self.show_depths("events", &deps.events, [layout::analytics_pages_queue()]);
        self.supervisor.start("analytics", analytics::run(deps, self.shutdown.clone()));
        Ok(())
    }

    async fn parker(&mut self) -> anyhow::Result<()> {
        let deps = parker::Deps {
            config: self.settings.parker.clone(),
            breaker: self.settings.breaker.clone(),
            databases: self.parts.databases().await?,
            orders: self.parts.orders().await?,
            events: self.parts.events().await?,
            one_broker: self.settings.one_broker(),
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
        };
        self.supervisor.start("parker", parker::run(deps, self.shutdown.clone()));
        Ok(())
    }

    fn token_key(&self) -> anyhow::Result<TokenKey> {
        keys::token_key(&self.settings.token_key_file)
    }
}
