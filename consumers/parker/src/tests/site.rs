//! A shop's broker and database, with parkers between them: once on embedded parts, once on servers.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Broker, Publish, QueueName, Settle, layout};
use broker_embedded::Embedded;
use broker_rabbit::Rabbit;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use model::{Message, RegionNumber, SystemClock, headers};
use sea_orm::{ConnectionTrait as _, DbErr, EntityTrait as _, Value};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::entity::parked_message::{Entity, Model};
use store::{Database, DatabaseConfig, Databases, RegionConfig, Transaction};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;
use testkit::rabbit::FreshVhost;
use testkit::wait;
use tokio::task::JoinHandle;
use worker::BreakerConfig;

use crate::homes::Homes;
use crate::meters::Meters;
use crate::replay::Replayer;
use crate::upkeep::Upkeep;
use crate::{Audit, Config, Deed, Deps, Desk, Error, Selection};

/// Declares each case once for each kind of parts.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::tests::site::Site::embedded().await).await;
            })*
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case($crate::tests::site::Site::servers().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

pub(crate) const REGION: RegionNumber = RegionNumber(1);

pub(crate) struct Site {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) databases: Databases,
    pub(crate) url: String,
    pub(crate) server: Option<FreshDatabase>,
    /// Removed when it is dropped.
    _home: Box<dyn Any + Send>,
}

impl Site {
    pub(crate) async fn embedded() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("shop.db").display());
        let broker = Embedded::open(folder.path().join("queues"), broker_embedded::Config::default()).await.unwrap();
        Self::of(broker, url, None, Box::new(folder)).await
    }

    pub(crate) async fn servers() -> Self {
        let (vhost, database) = (FreshVhost::create().await.unwrap(), FreshDatabase::create().await.unwrap());
        let broker = Rabbit::connect(vhost.url(), "test", broker_rabbit::Config::default()).unwrap();
        let url = database.url().to_owned();
        Self::of(broker, url, Some(database), Box::new(vhost)).await
    }

    async fn of(
        broker: Arc<dyn Broker>,
        url: String,
        server: Option<FreshDatabase>,
        home: Box<dyn Any + Send>,
    ) -> Self {
        let databases = open(&url);
        store::migrate(&databases.databases()[0]).await.unwrap();
        let regions = [region()];
        broker.declare(&layout::orders(&regions)).await.unwrap();
        broker.declare(&layout::pages()).await.unwrap();
        Self { broker, databases, url, server, _home: home }
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        &self.databases.databases()[0]
    }

    /// A parker as another process is one: with connections to the database of its own.
    pub(crate) fn parker(&self, config: Config) -> Running {
        let shutdown = Shutdown::new();
        let deps = Deps {
            config,
            breaker: BreakerConfig { probe_first_ms: 10, probe_max_ms: 100, ..BreakerConfig::default() },
            databases: open(&self.url),
            orders: Arc::clone(&self.broker),
            events: Arc::clone(&self.broker),
            one_broker: true,
            readiness: Readiness::new(shutdown.clone()),
            metrics: Metrics::new(),
        };
        let metrics = deps.metrics.clone();
        let task = Tasks::new().spawn("parker", crate::run(deps, shutdown.clone()));
        Running { shutdown, metrics, task }
    }

    fn homes(&self) -> Arc<Homes> {
        Arc::new(Homes::new(&self.databases, &config()).unwrap())
    }

    pub(crate) fn replayer(&self, config: Config) -> Replayer {
        let homes = self.homes();
        let meters = Meters::register(&Metrics::new(), &homes);
        let (orders, events) = (Arc::clone(&self.broker), Arc::clone(&self.broker));
        Replayer { config, database: Arc::clone(self.database()), homes, orders, events, meters }
    }

    pub(crate) fn upkeep(&self, config: Config) -> Upkeep {
        let homes = self.homes();
        let meters = Meters::register(&Metrics::new(), &homes);
        Upkeep { config, database: Arc::clone(self.database()), homes, meters }
    }

    pub(crate) fn desk(&self) -> Desk {
        Desk::new(&self.databases, config(), Arc::new(SystemClock), Metrics::new()).unwrap()
    }

    /// Puts messages into the parked queue of checkout, as a worker does.
    pub(crate) async fn park(&self, messages: &[Message]) {
        let parked = checkout().parked();
        let batch = messages.iter().map(|message| Publish::to_queue(&parked, message.clone())).collect();
        let outcomes = self.broker.publish(batch).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }

    /// Every row, by key.
    pub(crate) async fn rows(&self) -> BTreeMap<String, Model> {
        let rows = Entity::find().all(self.database().read()).await.unwrap();
        rows.into_iter().map(|row| (row.message_id.clone(), row)).collect()
    }

    /// The row with this key, once it fulfils the condition.
    pub(crate) async fn row_once(&self, key: &str, condition: impl Fn(&Model) -> bool) -> Model {
        let what = format!("the row {key} is as expected");
        let row = wait::until(&what, || async { self.rows().await.remove(key).filter(|row| condition(row)) }).await;
        match row {
            Ok(row) => row,
            Err(error) => panic!("{error:#}; there is {:?}", self.rows().await.get(key)),
        }
    }

    pub(crate) async fn until_rows(&self, count: usize) -> BTreeMap<String, Model> {
        wait::until("the messages are parked", || async { Some(self.rows().await).filter(|rows| rows.len() >= count) })
            .await
            .unwrap()
    }

    pub(crate) async fn ready(&self, queue: &QueueName) -> u64 {
        self.broker.depths(std::slice::from_ref(queue)).await.unwrap()[0].ready
    }

    pub(crate) async fn until_ready(&self, queue: &QueueName, count: u64) {
        let what = format!("{queue} holds {count} messages");
        wait::until(&what, || async { (self.ready(queue).await == count).then_some(()) }).await.unwrap();
    }

    /// Takes and acks the next `count` messages of a queue, with the time of each.
    pub(crate) async fn take(&self, queue: &QueueName, count: usize) -> Vec<(Message, tokio::time::Instant)> {
        let mut subscription = self.broker.subscribe(queue, 100).await.unwrap();
        let mut taken = Vec::new();
        while taken.len() < count {
            let next = tokio::time::timeout(wait::DEADLINE, subscription.next()).await;
            let delivery = next.expect("a delivery in time").expect("an open broker");
            taken.push((delivery.message().clone(), tokio::time::Instant::now()));
            delivery.settle(Settle::Ack).await.unwrap();
        }
        taken
    }

    pub(crate) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let database = self.database();
        let tx = database.begin().await.unwrap();
        tx.execute_raw(database.statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub(crate) fn open(url: &str) -> Databases {
    let database = DatabaseConfig { acquire_timeout_ms: 30_000, lock_timeout_ms: 30_000, ..DatabaseConfig::at(url) };
    let config = store::Config {
        region: vec![RegionConfig { name: region(), number: REGION, database: "main".to_owned() }],
        database: BTreeMap::from([("main".to_owned(), database)]),
        analytics: "main".to_owned(),
    };
    Databases::open(&config).unwrap()
}

/// A parker that runs.
pub(crate) struct Running {
    shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.soft().cancel();
        self.task.await.unwrap().unwrap();
    }

    /// What it holds goes back.
    pub(crate) async fn kill(self) {
        self.shutdown.hard().cancel();
        self.task.abort();
        drop(self.task.await);
    }
}

/// Short pauses, so that a test crosses many of them.
pub(crate) fn config() -> Config {
    let worker = worker::Config { give_back_ms: 50, ..Config::default().worker };
    Config { worker, replay_poll_ms: 10, replay_lease_ms: 1_000, check_ms: 50, ..Config::default() }
}

pub(crate) fn region() -> model::RegionName {
    "eu".parse().unwrap()
}

pub(crate) fn checkout() -> QueueName {
    layout::checkout_queue(&region())
}

/// A message that checkout parked for `reason`.
pub(crate) fn message(id: &str, body: &str, reason: &str) -> Message {
    Message {
        id: id.parse().unwrap(),
        kind: "order.placed".to_owned(),
        timestamp: DateTime::<Utc>::from_timestamp(1_700_000_017, 0).unwrap(),
        content_type: "application/json".to_owned(),
        headers: BTreeMap::from([
            (headers::VERSION.to_owned(), "1".to_owned()),
            (headers::ATTEMPT.to_owned(), "7".to_owned()),
            (headers::REASON.to_owned(), reason.to_owned()),
            (headers::ORIGIN_QUEUE.to_owned(), checkout().to_string()),
            ("x-shop".to_owned(), "größer".to_owned()),
        ]),
        transient: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

pub(crate) fn one(key: &str) -> Selection {
    Selection { queue: Some(checkout().to_string()), message_id: Some(key.to_owned()), ..Selection::default() }
}

/// An audit trail in memory, which may refuse.
#[derive(Default)]
pub(crate) struct Trail {
    pub(crate) deeds: Mutex<Vec<Deed>>,
    pub(crate) refuses: bool,
}

impl Audit for Trail {
    fn record<'a>(&'a self, _: &'a Database, _: &'a Transaction, deed: &'a Deed) -> BoxFuture<'a, Result<(), DbErr>> {
        self.deeds.lock().unwrap().push(deed.clone());
        let answer = if self.refuses { Err(DbErr::Custom("no room".to_owned())) } else { Ok(()) };
        Box::pin(std::future::ready(answer))
    }
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
