//! A storefront on a real port, over either database and an empty cache.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache::{Cache, OrderStatus, PageKey, Pages, PagesConfig};
use chrono::{DateTime, Utc};
use events::OrderState;
use futures::future::BoxFuture;
use model::{Fingerprint, ManualClock, OrderId, RegionNumber, StatusToken, TokenKey};
use sea_orm::{ConnectionTrait as _, Value};
use service::keys::{self, ApiKeys, Entry, KeyKind, Scope};
use service::{Readiness, Shutdown, Tasks, http};
use store::{Database, DatabaseConfig, Databases, Region, RegionConfig, ReplicationConfig};
use tempfile::TempDir;
use testkit::http::{Http, Response};
use testkit::postgres::FreshDatabase;

use crate::{Config, Deps, PublicReads, Storefront};

pub(super) const ACCEPTED: &str = "2026-11-27T12:00:00Z";

type Refresh = dyn Fn(Vec<PageKey>) -> BoxFuture<'static, ()> + Send + Sync;

pub(super) struct Fixture {
    pub(super) shutdown: Shutdown,
    pub(super) cache: Arc<Cache>,
    pub(super) pages: Arc<Pages>,
    refresh: Box<Refresh>,
    pub(super) at_hand: http::AtHand,
    pub(super) problems: http::Problems,
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
    let pages = PublicReads {
        market: "eu".to_owned(),
        read_wait_ms: 20_000,
        read_timeout_ms: 20_000,
        ..PublicReads::default()
    };
    Config { poll_ms: 10, lookup_timeout_ms: 20_000, pages, ..Config::default() }
}

/// What a storefront is opened over.
struct Over {
    url: String,
    cache: cache::Config,
    /// Whether there is such a database: it is migrated then.
    exists: bool,
    replicas: Vec<String>,
    connections: u32,
    postgres: Option<FreshDatabase>,
    folder: TempDir,
}

impl Over {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("test.db").display());
        Self::at(url, true, folder)
    }

    fn url(url: &str, exists: bool) -> Self {
        Self::at(url.to_owned(), exists, tempfile::tempdir().unwrap())
    }

    fn at(url: String, exists: bool, folder: TempDir) -> Self {
        let connections = DatabaseConfig::default().max_connections;
        Self { url, cache: in_memory(), exists, replicas: Vec::new(), connections, postgres: None, folder }
    }

    async fn postgres() -> Self {
        let postgres = FreshDatabase::create().await.unwrap();
        let over = Self::url(postgres.url(), true);
        Self { postgres: Some(postgres), ..over }
    }
}

/// Nothing is late because the machine is.
pub(super) fn patient() -> PagesConfig {
    PagesConfig {
        trust_ms: 60_000,
        wait_ms: 60_000,
        lease_ms: 60_000,
        render_timeout_ms: 60_000,
        turn_wait_ms: 60_000,
        ..PagesConfig::default()
    }
}

fn in_memory() -> cache::Config {
    cache::Config { pages: patient(), ..cache::Config::default() }
}

pub(super) async fn both(config: Config) -> [Fixture; 2] {
    [open(Over::sqlite(), config.clone()).await, open(Over::postgres().await, config).await]
}

/// Over `PostgreSQL`, with a page cache of these settings.
pub(super) async fn on_postgres(config: Config, pages: PagesConfig) -> Fixture {
    let cache = cache::Config { pages, ..cache::Config::default() };
    open(Over { cache, ..Over::postgres().await }, config).await
}

/// Over `PostgreSQL`, of which pages read two statements at once and not one.
pub(super) async fn on_postgres_in_two_turns(config: Config) -> Fixture {
    open(Over { connections: 16, ..Over::postgres().await }, config).await
}

/// Over SQLite, with a page cache of these settings.
pub(super) async fn on_sqlite(config: Config, pages: PagesConfig) -> Fixture {
    let cache = cache::Config { pages, ..cache::Config::default() };
    open(Over { cache, ..Over::sqlite() }, config).await
}

/// Three processes over one `PostgreSQL` and one Redis.
pub(super) async fn replicas(config: Config, pages: PagesConfig) -> [Fixture; 3] {
    // A busy machine is not what they are asked about.
    let (command_timeout_ms, connect_timeout_ms) = (5_000, 5_000);
    let (url, key_prefix) = (testkit::redis::url().into(), testkit::redis::key_prefix());
    let cache =
        cache::Config { url, key_prefix, command_timeout_ms, connect_timeout_ms, pages, ..cache::Config::default() };
    let first = open(Over { cache: cache.clone(), ..Over::postgres().await }, config.clone()).await;
    let url = first.postgres.as_ref().unwrap().url().to_owned();
    let others = [(); 2].map(|()| open(Over { cache: cache.clone(), ..Over::url(&url, true) }, config.clone()));
    let [second, third] = others;
    [first, second.await, third.await]
}

/// Over this database and a replica of it, which is looked at often and may be as late as it likes.
pub(super) async fn replicated(config: Config, primary: &str, replica: &str) -> Fixture {
    open(Over { replicas: vec![replica.to_owned()], ..Over::url(primary, true) }, config).await
}

/// Over a database that nobody will ever reach.
pub(super) async fn without_database(config: Config) -> Fixture {
    open(Over::url("postgres://nobody@127.0.0.1:1/nothing", false), config).await
}

async fn open(over: Over, config: Config) -> Fixture {
    let Over { url, cache: cache_config, exists: migrated, replicas, connections, postgres, folder } = over;
    let mut store = store::Config::default();
    // Patience where there is a database: a machine that compiles beside the tests is slow.
    let acquire_timeout_ms = if migrated { 30_000 } else { 500 };
    let database = DatabaseConfig {
        acquire_timeout_ms,
        max_connections: connections,
        replicas: replicas.into_iter().map(Into::into).collect(),
        replication: ReplicationConfig { max_lag_ms: 600_000, look_ms: 20, ..ReplicationConfig::default() },
        ..DatabaseConfig::at(&url)
    };
    store.database.insert("main".to_owned(), database);
    store.region.push(RegionConfig {
        name: "america".parse().unwrap(),
        number: RegionNumber(2),
        database: "main".to_owned(),
    });
    let databases = Arc::new(Databases::open(&store).unwrap());
    if migrated {
        store::migrate(databases.analytics()).await.unwrap();
    }
    let cache = Arc::new(Cache::open(&cache_config).await.unwrap());
    let pages = Pages::new(Arc::clone(&cache), &cache_config.pages);
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
        pages: Arc::clone(&pages),
        token_key: key.clone(),
        keys: ApiKeys::open(&keys_file).unwrap(),
        keys_reload: Duration::from_mins(1),
        markets: BTreeMap::from([
            ("eu".parse().unwrap(), "main".parse().unwrap()),
            ("us".parse().unwrap(), "america".parse().unwrap()),
        ]),
        clock: clock.clone(),
        readiness: Readiness::new(shutdown.clone()),
    };
    let tasks = Tasks::new();
    let health = deps.readiness.router();
    let storefront = Storefront::new(deps);
    let (refresh, at_hand) = (Box::new(storefront.refresh()), storefront.at_hand());
    let problems = storefront.problems();
    let stop = shutdown.clone();
    drop(tasks.spawn("storefront", async move { storefront.serve(server, health, stop).await }));
    Fixture {
        shutdown,
        cache,
        pages,
        refresh,
        at_hand,
        problems,
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
    /// A server's, for orders and stock.
    pub(super) server: String,
    /// A server's, for the catalogue alone.
    pub(super) catalogue: String,
    /// A server's, for the catalogue and for stock.
    pub(super) goods: String,
    /// A server's, without the scope.
    pub(super) orders_only: String,
    /// A browser's, to which somebody gave the scopes of servers.
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
        catalogue: make("catalogue", KeyKind::Server, &[Scope::Catalogue]),
        goods: make("goods", KeyKind::Server, &[Scope::Catalogue, Scope::Stock]),
        orders_only: make("orders only", KeyKind::Server, &[Scope::Orders]),
        browser: make("browser", KeyKind::Browser, &[Scope::Orders, Scope::Stock, Scope::Catalogue]),
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

    pub(super) async fn refresh(&self, keys: Vec<PageKey>) {
        (self.refresh)(keys).await;
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let tx = self.database().begin().await.unwrap();
        tx.execute_raw(self.database().statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) fn region(&self, name: &str) -> &Region {
        self.databases.by_name(&name.parse().unwrap()).unwrap()
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
