//! One process: its roles under one supervisor, behind one HTTP server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use broker::topology::UNROUTED;
use broker::{Broker, watch_unrouted};
use ingress::{ApiKeys, Ingress};
use model::{SystemClock, TokenKey};
use service::{Condition, Readiness, Shutdown, Supervisor, http};
use storefront::Storefront;
use tokio_util::sync::CancellationToken;

use crate::parts::{Guard, Parts};
use crate::role::Role;
use crate::settings::Settings;
use crate::verbs::keys;

/// A process that listens and does nothing else yet.
pub(crate) struct Process {
    settings: Settings,
    roles: BTreeSet<Role>,
    server: http::Server,
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
        settings: Settings,
        roles: &BTreeSet<Role>,
        readiness: Readiness,
        shutdown: Shutdown,
    ) -> anyhow::Result<Self> {
        settings.prepare_data()?;
        let server = http::Server::bind(settings.http.clone()).await.context("http.bind")?;
        let started = readiness.condition("process.roles");
        Ok(Self { settings, roles: roles.clone(), server, readiness, started, shutdown })
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
        let Self { settings, roles, server, readiness, started, shutdown } = self;
        let parts = Parts::new(&settings);
        let starting = Starting {
            supervisor: Supervisor::new(settings.stop.clone(), shutdown.clone()),
            router: readiness.router(),
            settings: &settings,
            parts: &parts,
            readiness,
            shutdown: shutdown.clone(),
            answered: CancellationToken::new(),
            watched: Vec::new(),
        };
        let ended = match starting.all(&roles, server).await {
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
    shutdown: Shutdown,
    /// The server has answered its last request.
    answered: CancellationToken,
    /// Brokers whose unroutable messages are watched already.
    watched: Vec<&'static str>,
}

impl Starting<'_> {
    async fn all(mut self, roles: &BTreeSet<Role>, server: http::Server) -> anyhow::Result<Supervisor> {
        for role in roles {
            self.role(*role).await.with_context(|| format!("the role {} can't start", role.name()))?;
        }
        let (router, shutdown, answered) = (self.router, self.shutdown, self.answered);
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
            regions,
            keys: ApiKeys::open(&self.settings.ingress.keys_file)?,
            token_key: self.token_key()?,
            clock: Arc::new(SystemClock),
            readiness: self.readiness.clone(),
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
        self.watch_unrouted("orders", orders);
        self.watch_unrouted("events", events);
        Ok(())
    }

    async fn storefront(&mut self) -> anyhow::Result<()> {
        let storefront = Storefront::new(storefront::Deps {
            config: self.settings.storefront.clone(),
            databases: Arc::new(self.parts.databases().await?),
            cache: self.parts.cache().await?,
            token_key: self.token_key()?,
            readiness: self.readiness.clone(),
        });
        self.router = std::mem::take(&mut self.router).merge(storefront.router());
        let shutdown = self.shutdown.clone();
        self.supervisor.start("storefront", async move {
            storefront.maintain(shutdown).await;
            anyhow::Ok(())
        });
        Ok(())
    }

    /// One consumer for each region: a slow region delays itself alone.
    async fn checkout(&mut self) -> anyhow::Result<()> {
        let databases = self.parts.databases().await?;
        for region in databases.regions() {
            let Guard { breaker, governor } = self.parts.guard(&region.database);
            let deps = checkout::Deps {
                config: self.settings.checkout.clone(),
                region: region.clone(),
                breaker,
                governor,
                orders: self.parts.orders().await?,
                cache: self.parts.cache().await?,
                readiness: self.readiness.clone(),
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
        };
        self.supervisor.start("relay", relay::run(deps, self.shutdown.clone()));
        self.watch_unrouted("orders", orders);
        Ok(())
    }

    async fn invalidation(&mut self) -> anyhow::Result<()> {
        let deps = invalidation::Deps {
            config: self.settings.invalidation.clone(),
            orders: self.parts.orders().await?,
            cache: self.parts.cache().await?,
            readiness: self.readiness.clone(),
        };
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
            readiness: self.readiness.clone(),
        };
        self.supervisor.start("analytics", analytics::run(deps, self.shutdown.clone()));
        Ok(())
    }

    fn token_key(&self) -> anyhow::Result<TokenKey> {
        keys::token_key(&self.settings.token_key_file)
    }

    /// The alarm on messages that no queue wanted, beside every role that publishes; once for each broker.
    fn watch_unrouted(&mut self, name: &'static str, broker: Arc<dyn Broker>) {
        if self.watched.contains(&name) {
            return;
        }
        self.watched.push(name);
        let interval = Duration::from_secs(self.settings.broker.unrouted_check_s.max(1));
        let stop = self.shutdown.soft().clone();
        self.supervisor.start(format!("unrouted.{name}"), async move {
            watch_unrouted(&*broker, interval, stop, |waiting| {
                tracing::error!(
                    broker = name,
                    waiting,
                    "{waiting} messages reached no queue and wait in {UNROUTED}: a binding is missing. Restart a role \
                     that declares it, then move them to their queue"
                );
            })
            .await;
            anyhow::Ok(())
        });
    }
}
