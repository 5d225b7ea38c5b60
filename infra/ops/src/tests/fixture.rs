//! The operator API over embedded parts, or over servers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use broker::{Broker, Publish, layout};
use broker_embedded::Embedded;
use broker_rabbit::Rabbit;
use bytes::Bytes;
use events::Contract as _;
use model::{Message, OrderId, RegionNumber, SystemClock};
use parker::Desk;
use sea_orm::{ConnectionTrait as _, EntityTrait as _, IntoActiveModel as _};
use serde_json::{Value, json};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::entity::{order, order_line};
use store::{Config as Store, Database, DatabaseConfig, Databases, ReplicationConfig};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;
use testkit::rabbit::FreshVhost;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::operators::{self, Entry};
use crate::{Config, Deps, Error, Ops};

/// The operator API of a shop with one region, its operator anna, and what is behind it.
pub(super) struct Site {
    router: Router,
    token: String,
    pub(super) databases: Arc<Databases>,
    pub(super) broker: Arc<dyn Broker>,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
    pub(super) folder: TempDir,
    _servers: Option<(FreshVhost, FreshDatabase)>,
}

impl Site {
    pub(super) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = DatabaseConfig::at(format!("sqlite:{}", folder.path().join("shop.db").display()));
        let file = folder.path().join("shop.queue");
        let broker = Embedded::open(&file, broker_embedded::Config::default()).await.unwrap();
        Self::open(broker, config, folder, None).await
    }

    /// Embedded, with a database of its own for what is parked of queues that belong to no region.
    pub(super) async fn parked_aside() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::default();
        for name in ["main", "parked"] {
            let url = format!("sqlite:{}", folder.path().join(name).display());
            store.database.insert(name.to_owned(), DatabaseConfig::at(url));
        }
        let parker = parker::Config { database: "parked".to_owned(), ..parker::Config::default() };
        let file = folder.path().join("shop.queue");
        let broker = Embedded::open(&file, broker_embedded::Config::default()).await.unwrap();
        Self::over(broker, &store, parker, folder, None).await
    }

    /// Embedded, over this database and a replica of it, which is looked at often and may be as late as it likes.
    pub(super) async fn replicated(primary: &str, replica: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = DatabaseConfig {
            max_connections: 8,
            replicas: vec![replica.into()],
            replication: ReplicationConfig { max_lag_ms: 600_000, look_ms: 20, ..ReplicationConfig::default() },
            ..DatabaseConfig::at(primary)
        };
        let file = folder.path().join("shop.queue");
        let broker = Embedded::open(&file, broker_embedded::Config::default()).await.unwrap();
        Self::open(broker, config, folder, None).await
    }

    pub(super) async fn servers() -> Self {
        let (vhost, database) = (FreshVhost::create().await.unwrap(), FreshDatabase::create().await.unwrap());
        let config = DatabaseConfig { max_connections: 4, ..DatabaseConfig::at(database.url().to_owned()) };
        let broker = Rabbit::connect(vhost.url(), "ops test", broker_rabbit::Config::default()).unwrap();
        Self::open(broker, config, tempfile::tempdir().unwrap(), Some((vhost, database))).await
    }

    /// One of each.
    pub(super) async fn both() -> [Self; 2] {
        [Self::embedded().await, Self::servers().await]
    }

    async fn open(
        broker: Arc<dyn Broker>,
        database: DatabaseConfig,
        folder: TempDir,
        servers: Option<(FreshVhost, FreshDatabase)>,
    ) -> Self {
        let mut store = Store::default();
        store.database.insert("main".to_owned(), database);
        Self::over(broker, &store, parker::Config::default(), folder, servers).await
    }

    async fn over(
        broker: Arc<dyn Broker>,
        store: &Store,
        parker: parker::Config,
        folder: TempDir,
        servers: Option<(FreshVhost, FreshDatabase)>,
    ) -> Self {
        let databases = Arc::new(Databases::open(store).unwrap());
        for database in databases.databases() {
            store::migrate(database).await.unwrap();
        }
        broker.declare(&layout::orders([&"main".parse().unwrap()])).await.unwrap();
        let operators_file = folder.path().join("operators.toml");
        let (token, hash) = operators::generate();
        operators::append(&operators_file, &Entry { name: "anna".to_owned(), hash }).unwrap();
        let config = Config { operators_file, operators_reload_ms: 10, look_ms: 100, ..Config::default() };
        let shutdown = Shutdown::new();
        let deps = Deps { desk: desk(&databases, parker), ..deps(config, &databases, &broker, &shutdown) };
        let ops = Ops::new(deps).unwrap();
        let (router, stop) = (ops.router(), shutdown.clone());
        let task = Tasks::new().spawn("ops", async move { ops.maintain(stop).await });
        let token = token.reveal().to_owned();
        Self { router, token, databases, broker, shutdown, task, folder, _servers: servers }
    }

    pub(super) fn database(&self) -> &Arc<Database> {
        &self.databases.databases()[0]
    }

    /// As anna.
    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, &format!("Bearer {}", self.token), None).await
    }

    /// As anna.
    pub(super) async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask(method, path, &format!("Bearer {}", self.token), Some(body)).await
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        authorization: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !authorization.is_empty() {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// What the audit trail holds, newest first, as `operator action target`.
    pub(super) async fn trail(&self) -> Vec<String> {
        let (status, answer) = self.get("/v1/audit").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
        let entries = answer["entries"].as_array().unwrap().iter();
        entries.map(|entry| ["operator", "action", "target"].map(|field| text(entry, field)).join(" ")).collect()
    }

    /// Puts `count` orders into the checkout queue.
    pub(super) async fn publish(&self, count: usize) {
        self.publish_to(&layout::order_placed_key(&"main".parse().unwrap()), count).await;
    }

    /// Publishes `count` orders by this key.
    pub(super) async fn publish_to(&self, key: &str, count: usize) {
        let message = |n: usize| Message {
            id: format!("m-{n}").parse().unwrap(),
            kind: events::OrderPlaced::KIND.to_owned(),
            timestamp: chrono::DateTime::UNIX_EPOCH,
            content_type: "application/json".to_owned(),
            headers: std::collections::BTreeMap::new(),
            transient: false,
            body: Bytes::from_static(b"{}"),
        };
        let publish =
            |n| Publish { exchange: layout::orders_exchange(), routing_key: key.to_owned(), message: message(n) };
        for outcome in self.broker.publish((0..count).map(publish).collect()).await {
            outcome.unwrap();
        }
    }

    /// Stores an order of two mugs, with the movement of its stock.
    pub(super) async fn store_order(&self, key: &str) -> OrderId {
        let id = order_id(key);
        let at = chrono::DateTime::UNIX_EPOCH;
        let row = order::Model {
            id: id.as_uuid(),
            region: 1,
            market: "main".to_owned(),
            idempotency_key: key.to_owned(),
            reference: Some(format!("no-{key}")),
            customer: Some("cust-42".to_owned()),
            fingerprint: vec![7; 32],
            state: "confirmed".to_owned(),
            reason: None,
            expires_at: None,
            shipped_at: None,
            version: 1,
            currency: "EUR".to_owned(),
            shipping_minor: 0,
            tax_minor: 0,
            discount_minor: 0,
            total_minor: 2_900,
            pricing: json!({}),
            attribution: json!({}),
            accepted_at: at,
            created_at: at,
            updated_at: at,
        };
        let line = order_line::Model {
            order_id: id.as_uuid(),
            line_no: 1,
            sku: "MUG".to_owned(),
            quantity: 2,
            unit_price_minor: 1_450,
        };
        let database = self.database();
        let tx = database.begin().await.unwrap();
        order::Entity::insert(row.into_active_model()).exec_without_returning(&*tx).await.unwrap();
        order_line::Entity::insert(line.into_active_model()).exec_without_returning(&*tx).await.unwrap();
        let sql = "INSERT INTO stock_movements (region, sku, kind, reference, order_id, on_hand_change, reserved_change) \
                   VALUES (1, 'MUG', 'order', $1, $2, 0, 2)";
        let binds = [id.to_string().into(), id.as_uuid().into()];
        tx.execute_raw(database.statement(sql, binds)).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    /// Stops softly, which must end well.
    pub(super) async fn close(self) {
        self.shutdown.request();
        self.task.await.unwrap().unwrap();
        self.broker.close().await;
        self.databases.close().await;
    }
}

/// The id of a key of market main.
pub(super) fn order_id(key: &str) -> OrderId {
    OrderId::derive(RegionNumber(1), &"main".parse().unwrap(), &key.parse().unwrap())
}

pub(super) fn deps(config: Config, databases: &Arc<Databases>, broker: &Arc<dyn Broker>, shutdown: &Shutdown) -> Deps {
    Deps {
        config,
        desk: desk(databases, parker::Config::default()),
        databases: Arc::clone(databases),
        orders: Arc::clone(broker),
        events: Arc::clone(broker),
        markets: vec![("main".parse().unwrap(), RegionNumber(1))],
        clock: Arc::new(SystemClock),
        readiness: Readiness::new(shutdown.clone()),
    }
}

fn desk(databases: &Databases, config: parker::Config) -> Desk {
    Desk::new(databases, config, Arc::new(SystemClock), Metrics::new()).unwrap()
}
