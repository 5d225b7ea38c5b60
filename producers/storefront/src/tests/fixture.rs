//! A storefront on a real port, over either database and an empty cache.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, OrderStatus, Pages, PagesConfig};
use chrono::{DateTime, Utc};
use events::OrderState;
use model::{Fingerprint, ManualClock, OrderId, RegionNumber, StatusToken, TokenKey};
use sea_orm::{ConnectionTrait as _, Value};
use service::keys::{self, ApiKeys, Entry, KeyKind, Scope};
use service::{Readiness, Shutdown, Tasks, http};
use store::{Database, DatabaseConfig, Databases};
use tempfile::TempDir;
use testkit::http::{Http, Response};
use testkit::postgres::FreshDatabase;

use crate::{Config, Deps, run};

pub(super) const ACCEPTED: &str = "2026-11-27T12:00:00Z";

pub(super) struct Fixture {
    pub(super) shutdown: Shutdown,
    pub(super) cache: Arc<Cache>,
    pub(super) http: Http,
    databases: Arc<Databases>,
    base: String,
    key: TokenKey,
    pub(super) api_keys: Keys,
    pub(super) clock: Arc<ManualClock>,
    tasks: Tasks,
    postgres: Option<FreshDatabase>,
    _folder: TempDir,
}

pub(super) fn quick() -> Config {
    Config { poll_ms: 10, lookup_timeout_ms: 20_000, ..Config::default() }
}

pub(super) async fn both(config: Config) -> [Fixture; 2] {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("test.db").display());
    let postgres = FreshDatabase::create().await.unwrap();
    let url = postgres.url().to_owned();
    let sqlite = open(&file, config.clone(), folder, None, true).await;
    [sqlite, open(&url, config, tempfile::tempdir().unwrap(), Some(postgres), true).await]
}

/// Over a database that nobody will ever reach.
pub(super) async fn without_database(config: Config) -> Fixture {
    open("postgres://nobody@127.0.0.1:1/nothing", config, tempfile::tempdir().unwrap(), None, false).await
}

async fn open(url: &str, config: Config, folder: TempDir, postgres: Option<FreshDatabase>, migrated: bool) -> Fixture {
    let mut store = store::Config::default();
    // Patience where there is a database: a machine that compiles beside the tests is slow.
    let acquire_timeout_ms = if migrated { 30_000 } else { 500 };
    store.database.insert("main".to_owned(), DatabaseConfig { acquire_timeout_ms, ..DatabaseConfig::at(url) });
    let databases = Arc::new(Databases::open(&store).unwrap());
    if migrated {
        store::migrate(databases.analytics()).await.unwrap();
    }
    let cache = Arc::new(Cache::open(&cache::Config::default()).await.unwrap());
    let key = TokenKey::new([7; 32]).unwrap();
    let keys_file = folder.path().join("keys.toml");
    let api_keys = keys_of(&keys_file);
    let clock = Arc::new(ManualClock::at(ACCEPTED.parse().unwrap()));
    let shutdown = Shutdown::new();
    let bind = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = http::Server::bind(http::Config { bind, ..http::Config::default() }).await.unwrap();
    let base = format!("http://{}", server.local_addr());
    let deps = Deps {
        config,
        databases: Arc::clone(&databases),
        cache: Arc::clone(&cache),
        pages: Pages::new(Arc::clone(&cache), &PagesConfig::default()),
        token_key: key.clone(),
        keys: ApiKeys::open(&keys_file).unwrap(),
        keys_reload: Duration::from_mins(1),
        markets: BTreeMap::from([("eu".parse().unwrap(), "main".parse().unwrap())]),
        clock: clock.clone(),
        readiness: Readiness::new(shutdown.clone()),
    };
    let tasks = Tasks::new();
    drop(tasks.spawn("storefront", run(server, deps, shutdown.clone())));
    Fixture {
        shutdown,
        cache,
        http: Http::new(),
        databases,
        base,
        key,
        api_keys,
        clock,
        tasks,
        postgres,
        _folder: folder,
    }
}

/// Keys of the one market, by what they may do.
pub(super) struct Keys {
    /// A server's, for everything.
    pub(super) server: String,
    /// A server's, without the scope.
    pub(super) orders_only: String,
    /// A browser's, to which somebody gave the scope.
    pub(super) browser: String,
}

fn keys_of(file: &Path) -> Keys {
    let make = |name: &str, kind, scopes: &[Scope]| {
        let (plain, hash) = keys::generate();
        let entry = Entry {
            name: name.to_owned(),
            hash,
            market: "eu".parse().unwrap(),
            kind,
            scopes: scopes.to_vec(),
            origins: Vec::new(),
            expires_at: None,
        };
        keys::append(file, &entry).unwrap();
        plain.reveal().to_owned()
    };
    Keys {
        server: make("server", KeyKind::Server, &[Scope::Orders, Scope::Stock]),
        orders_only: make("orders only", KeyKind::Server, &[Scope::Orders]),
        browser: make("browser", KeyKind::Browser, &[Scope::Orders, Scope::Stock]),
    }
}

pub(super) fn order(key: &str) -> OrderId {
    OrderId::derive(RegionNumber(1), &"eu".parse().unwrap(), &key.parse().unwrap())
}

pub(super) fn fingerprint(body: &str) -> Fingerprint {
    Fingerprint::of([body.as_bytes()])
}

pub(super) fn status(key: &str, version: i64, state: OrderState) -> OrderStatus {
    let accepted_at = ACCEPTED.parse().unwrap();
    OrderStatus { order_id: order(key), version, fingerprint: fingerprint("body"), accepted_at, state }
}

impl Fixture {
    /// The path that the 202 would have given.
    pub(super) fn path(&self, key: &str, body: &str, rest: &str) -> String {
        self.path_of(order(key), body, rest)
    }

    pub(super) fn path_of(&self, order_id: OrderId, body: &str, rest: &str) -> String {
        let accepted_at: DateTime<Utc> = ACCEPTED.parse().unwrap();
        let token = StatusToken { order_id, fingerprint: fingerprint(body), accepted_at }.sign(&self.key);
        format!("/v1/orders/{order_id}{rest}?t={token}")
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.http.get(&format!("{}{path}", self.base)).await.unwrap()
    }

    pub(super) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let url = format!("{}{path}", self.base);
        self.http.send("GET".parse().unwrap(), &url, headers, Vec::new()).await.unwrap()
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let tx = self.database().begin().await.unwrap();
        tx.execute_raw(self.database().statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) fn database(&self) -> &Database {
        self.databases.analytics()
    }

    /// Commits an order in this state, as checkout would.
    pub(super) async fn commit(&self, key: &str, state: &str, reason: Option<serde_json::Value>) {
        let sql = "INSERT INTO orders (id, region, market, idempotency_key, fingerprint, state, reason, currency, \
                   shipping_minor, tax_minor, discount_minor, total_minor, pricing, attribution, accepted_at) \
                   VALUES ($1, 1, 'eu', $2, $3, $4, $5, 'EUR', 0, 0, 0, 1999, '{}', '{}', $6)";
        let accepted_at: DateTime<Utc> = ACCEPTED.parse().unwrap();
        let values = [
            order(key).as_uuid().into(),
            key.into(),
            fingerprint("body").as_bytes().to_vec().into(),
            state.into(),
            reason.into(),
            accepted_at.into(),
        ];
        let tx = self.database().begin().await.unwrap();
        tx.execute_raw(self.database().statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) async fn confirm(&self, key: &str) {
        let sql = "UPDATE orders SET state = 'confirmed', version = version + 1 WHERE id = $1";
        let tx = self.database().begin().await.unwrap();
        tx.execute_raw(self.database().statement(sql, [order(key).as_uuid().into()])).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Takes the `PostgreSQL` database away; false for SQLite, whose file can't be.
    pub(super) async fn take_the_database_away(&self) -> bool {
        let Some(postgres) = &self.postgres else { return false };
        postgres.execute("ALTER TABLE orders RENAME TO orders_gone").await.unwrap();
        postgres.cut_connections().await.unwrap();
        true
    }

    pub(super) async fn stopped(&self) {
        let stopped = tokio::time::timeout(std::time::Duration::from_secs(20), self.tasks.join());
        stopped.await.expect("the storefront stops");
    }
}
