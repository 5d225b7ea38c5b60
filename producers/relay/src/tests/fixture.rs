//! A shop's databases with something in their outboxes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Config, Deps, Error};
use broker::{Broker, layout};
use events::{Band, Envelope, StockChanged};
use model::{RegionNumber, SystemClock};
use service::metrics::Metrics;
use service::{Readiness, Shutdown};
use store::outbox::{self, Outgoing};
use store::{DatabaseConfig, Databases, RegionConfig};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;

/// A region `eu` on SQLite and a region `us` on `PostgreSQL`.
pub(crate) struct Shop {
    pub(crate) databases: Databases,
    _file: TempDir,
    pub(crate) server: FreshDatabase,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let file = tempfile::tempdir().unwrap();
        let server = FreshDatabase::create().await.unwrap();
        let sqlite = format!("sqlite:{}", file.path().join("millpond.db").display());
        let region = |name: &str, number| RegionConfig {
            name: name.parse().unwrap(),
            number: RegionNumber(number),
            database: name.to_owned(),
        };
        let database = |url: &str| DatabaseConfig { acquire_timeout_ms: 30_000, ..DatabaseConfig::at(url) };
        let config = store::Config {
            region: vec![region("eu", 1), region("us", 2)],
            database: [("eu".to_owned(), database(&sqlite)), ("us".to_owned(), database(server.url()))].into(),
            analytics: "eu".to_owned(),
        };
        let databases = Databases::open(&config).unwrap();
        for database in databases.databases() {
            store::migrate(database).await.unwrap();
        }
        Self { databases, _file: file, server }
    }

    /// Adds `count` messages to each outbox, a tenth of them in each transaction; gives their ids.
    pub(crate) async fn fill(&self, count: usize) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for database in self.databases.databases() {
            let rows: Vec<Outgoing> = (0..count).map(|_| outgoing()).collect();
            for some in rows.chunks((count / 10).max(1)) {
                let tx = database.begin().await.unwrap();
                outbox::insert(database, &tx, some).await.unwrap();
                tx.commit().await.unwrap();
            }
            ids.extend(rows.iter().map(|row| row.message.id.as_str().to_owned()));
        }
        ids
    }

    pub(crate) async fn is_empty(&self) -> bool {
        for database in self.databases.databases() {
            // A read may meet a connection that was cut: then it is not known to be empty.
            if !matches!(outbox::oldest_age(database).await, Ok(None)) {
                return false;
            }
        }
        true
    }

    pub(crate) async fn until_empty(&self) {
        testkit::wait::until("the outboxes are empty", || async { self.is_empty().await.then_some(()) }).await.unwrap();
    }

    /// Runs a relay until `shutdown`, or until the future is dropped.
    pub(crate) async fn relay(&self, broker: Arc<dyn Broker>, config: Config, shutdown: Shutdown) -> Result<(), Error> {
        self.measured_relay(broker, config, shutdown, Metrics::new()).await
    }

    /// As [`Self::relay`], with what it measures.
    pub(crate) async fn measured_relay(
        &self,
        broker: Arc<dyn Broker>,
        config: Config,
        shutdown: Shutdown,
        metrics: Metrics,
    ) -> Result<(), Error> {
        let readiness = Readiness::new(shutdown.clone());
        let deps = Deps { config, databases: self.databases.clone(), orders: broker, readiness, metrics };
        crate::run(deps, shutdown).await
    }
}

/// Small batches and short pauses, so that a test crosses many of them.
pub(crate) fn config() -> Config {
    Config { batch: 7, poll_ms: 1, idle_poll_ms: 10, lease_ms: 1_000, max_backoff_ms: 50, ..Config::default() }
}

pub(crate) fn outgoing() -> Outgoing {
    let data = StockChanged { region: "eu".parse().unwrap(), sku: "MUG".parse().unwrap(), band: Band::Low, version: 1 };
    Outgoing::event(layout::facts_exchange().as_str(), &Envelope::new(&SystemClock, "test", data))
}
