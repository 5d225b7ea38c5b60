//! What roles are made of: brokers, databases, cache. Each is opened when the first role asks for it, so that a process
//! holds nothing that its roles do not use; the ingress alone has no database connection at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use broker::Broker;
use broker_embedded::Embedded;
use broker_rabbit::Rabbit;
use cache::{Cache, Pages};
use secrecy::{ExposeSecret as _, SecretString};
use service::metrics::Metrics;
use store::{Backend, Database, DatabaseConfig, Databases};
use tokio::sync::OnceCell;
use worker::{Breaker, Governor};

use crate::levels;
use crate::measured::Measured;
use crate::settings::Settings;
use crate::verbs::migrate;

/// What stands before a database.
#[derive(Clone)]
pub(crate) struct Guard {
    /// Holds batches while it is away.
    pub(crate) breaker: Arc<Breaker>,
    /// Keeps batches within its budget.
    pub(crate) governor: Arc<Governor>,
}

/// The parts of one process.
pub(crate) struct Parts<'a> {
    settings: &'a Settings,
    metrics: Metrics,
    orders: OnceCell<Arc<dyn Broker>>,
    events: OnceCell<Arc<dyn Broker>>,
    databases: OnceCell<Databases>,
    /// By the database's name.
    guards: Mutex<BTreeMap<String, Guard>>,
    cache: OnceCell<Arc<Cache>>,
    pages: OnceCell<Arc<Pages>>,
}

impl<'a> Parts<'a> {
    /// Nothing is opened yet.
    pub(crate) fn new(settings: &'a Settings, metrics: Metrics) -> Self {
        Self {
            settings,
            metrics,
            orders: OnceCell::new(),
            events: OnceCell::new(),
            databases: OnceCell::new(),
            guards: Mutex::default(),
            cache: OnceCell::new(),
            pages: OnceCell::new(),
        }
    }

    /// The broker for orders and what follows from them.
    pub(crate) async fn orders(&self) -> anyhow::Result<Arc<dyn Broker>> {
        let open = async || self.open_measured("orders", &self.settings.broker.orders).await;
        self.orders.get_or_try_init(open).await.cloned()
    }

    /// The broker for page events. RabbitMQ: connections of its own even where it is the same server, so that a flood of
    /// page events blocks no order. An embedded file is held once.
    pub(crate) async fn events(&self) -> anyhow::Result<Arc<dyn Broker>> {
        let url = self.settings.events_url();
        let shared = is_embedded(url) && url.expose_secret() == self.settings.broker.orders.expose_secret();
        let open = async || {
            if shared { self.orders().await } else { self.open_measured("events", url).await }
        };
        self.events.get_or_try_init(open).await.cloned()
    }

    async fn open_measured(&self, name: &'static str, url: &SecretString) -> anyhow::Result<Arc<dyn Broker>> {
        let inner = open_broker(self.settings, name, url).await?;
        Ok(Measured::new(inner, name, &self.metrics))
    }

    /// Every region's database. A SQLite file is this process's own and is migrated here; a server's schema is migrated
    /// by `millpond migrate`, as a step of the roll-out.
    pub(crate) async fn databases(&self) -> anyhow::Result<Databases> {
        let open = async || {
            let databases = Databases::open(&self.settings.store)?;
            for database in databases.databases().iter().filter(|database| database.backend() == Backend::Sqlite) {
                migrate::one(database).await?;
            }
            levels::show_databases(&databases, &self.metrics);
            anyhow::Ok(databases)
        };
        self.databases.get_or_try_init(open).await.cloned()
    }

    /// What stands before `database`, one for all who use it: a probe by one of them stands for all.
    pub(crate) fn guard(&self, database: &Arc<Database>) -> Guard {
        let mut guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Guard {
            breaker: Arc::new(Breaker::new(database.name(), self.settings.breaker.clone())),
            governor: Arc::new(Governor::new(Arc::clone(database), self.settings.governor.clone())),
        };
        guards.entry(database.name().to_owned()).or_insert_with(new).clone()
    }

    /// The cache.
    pub(crate) async fn cache(&self) -> anyhow::Result<Arc<Cache>> {
        let open = async || {
            let cache = Arc::new(Cache::open(&self.settings.cache).await.context("cache.url")?);
            levels::show_cache(&cache, &self.metrics);
            anyhow::Ok(cache)
        };
        self.cache.get_or_try_init(open).await.cloned()
    }

    /// The rendered pages, one cache for all roles that serve any.
    pub(crate) async fn pages(&self) -> anyhow::Result<Arc<Pages>> {
        let open = async || {
            let pages = Pages::new(self.cache().await?, &self.settings.cache.pages);
            levels::show_pages(&pages, &self.metrics);
            anyhow::Ok(pages)
        };
        self.pages.get_or_try_init(open).await.cloned()
    }

    /// Whether what is announced by other processes is heard here: an embedded broker is this process's own.
    pub(crate) fn hears_others(&self) -> bool {
        !is_embedded(&self.settings.broker.orders)
    }

    /// Closes what was opened, brokers first: nothing is delivered any more when the databases close.
    pub(crate) async fn close(self) {
        for broker in [self.events.into_inner(), self.orders.into_inner()].into_iter().flatten() {
            broker.close().await;
        }
        if let Some(databases) = self.databases.into_inner() {
            databases.close().await;
        }
    }
}

const EMBEDDED: &str = "embedded:";

fn is_embedded(url: &SecretString) -> bool {
    url.expose_secret().starts_with(EMBEDDED)
}

/// What to do where a file of the shop is not there.
pub(crate) const NOT_HERE: &str = "name the shop's configuration with --config, or run this where its data folder lies";

/// Says that the database is a file which is not there: to open it would make one.
pub(crate) fn absent_file(database: &DatabaseConfig) -> Option<String> {
    let path = database.url.expose_secret().strip_prefix("sqlite:")?;
    // Parameters of the driver's may follow.
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    (!Path::new(path).exists()).then(|| format!("there is no database at {path}"))
}

/// The file of an embedded broker; `None` where the URL is a server's.
///
/// # Errors
/// Where it is neither, with what to write.
pub(crate) fn embedded_file(settings: &Settings, name: &str, url: &SecretString) -> anyhow::Result<Option<PathBuf>> {
    let url = url.expose_secret();
    match url.strip_prefix(EMBEDDED) {
        Some("") => bail!("broker.{name}: embedded: needs the name of a file, such as embedded:millpond.queue"),
        Some(path) => Ok(Some(settings.data.join(path))),
        None if url.starts_with("amqp://") || url.starts_with("amqps://") => Ok(None),
        None => bail!(
            "broker.{name} must start with embedded:, amqp:// or amqps:// (it is not shown, as it may hold a password)"
        ),
    }
}

/// Opens the broker behind a URL. RabbitMQ may be away: it is connected to in the background, for ever.
pub(crate) async fn open_broker(
    settings: &Settings,
    name: &str,
    url: &SecretString,
) -> anyhow::Result<Arc<dyn Broker>> {
    if let Some(path) = embedded_file(settings, name, url)? {
        let embedded = Embedded::open(&path, settings.broker.embedded.clone())
            .await
            .with_context(|| format!("broker.{name} = embedded:{}", path.display()))?;
        return Ok(embedded);
    }
    let rabbit = Rabbit::connect(url.expose_secret(), &format!("millpond {name}"), settings.broker.rabbit.clone())
        .with_context(|| format!("broker.{name} (its URL is not shown, as it may hold a password)"))?;
    Ok(rabbit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn regions_that_share_a_database_share_its_guard_and_no_others() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("shop.toml");
        let shop = "[store]\nanalytics = \"west\"\n\
                    [[store.region]]\nname = \"eu\"\nnumber = 1\ndatabase = \"west\"\n\
                    [[store.region]]\nname = \"us\"\nnumber = 2\ndatabase = \"west\"\n\
                    [[store.region]]\nname = \"jp\"\nnumber = 3\ndatabase = \"east\"\n\
                    [store.database.west]\nurl = \"sqlite:west.db\"\n\
                    [store.database.east]\nurl = \"sqlite:east.db\"\n";
        std::fs::write(&file, shop).unwrap();
        let settings = Settings::load(Some(&file), &[format!("data={}", data.path().display())]).unwrap();
        let parts = Parts::new(&settings, Metrics::new());
        let databases = parts.databases().await.unwrap();
        let guard = |region: &str| parts.guard(&databases.by_name(&region.parse().unwrap()).unwrap().database);
        let breaker = |region: &str| guard(region).breaker;
        assert!(Arc::ptr_eq(&breaker("eu"), &breaker("us")), "a probe for one stands for both");
        assert!(Arc::ptr_eq(&breaker("eu"), &parts.guard(databases.analytics()).breaker));
        assert!(!Arc::ptr_eq(&breaker("eu"), &breaker("jp")), "another database's failures are its own");
        assert_eq!((breaker("us").name(), breaker("jp").name()), ("west", "east"));
        assert!(Arc::ptr_eq(&guard("eu").governor, &guard("us").governor));
        assert_eq!(guard("jp").governor.snapshot().database, "east");
        parts.close().await;
    }
}
