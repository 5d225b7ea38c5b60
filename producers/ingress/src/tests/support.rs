//! An ingress over a broker whose confirms the test decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Config, Deps, Ingress, Market};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use broker::announce::Topics;
use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Clock, Currency, ManualClock, RegionNumber, TokenKey};
use serde_json::{Value, json};
use service::keys::{self, ApiKeys, Entry, KeyKind, Scope};
use service::metrics::Metrics;
use service::{Readiness, Shutdown};
use tokio::sync::watch;
use tower::ServiceExt as _;

pub(super) const ORIGIN: &str = "https://shop.example";
const LONG: Duration = Duration::from_secs(20);

/// A broker that gives the outcome it is told to, when it is told to: what a real one can't be asked for. What the real
/// ones do is held by the conformance suite.
pub(super) struct Scripted {
    state: watch::Sender<Script>,
    topics: Topics,
}

struct Script {
    outcome: Result<(), PublishError>,
    held: bool,
    /// Whether declarations succeed, or wait.
    declares: bool,
    /// Publishes that have begun.
    begun: usize,
    /// Publishes that were confirmed.
    stored: Vec<Publish>,
    state: BrokerState,
}

impl Scripted {
    fn new() -> Arc<Self> {
        let script = Script {
            outcome: Ok(()),
            held: false,
            declares: true,
            begun: 0,
            stored: Vec::new(),
            state: BrokerState::Ready,
        };
        Arc::new(Self { state: watch::Sender::new(script), topics: Topics::new() })
    }

    pub(super) fn answers(&self, outcome: Result<(), PublishError>) {
        self.state.send_modify(|script| script.outcome = outcome);
    }

    /// Confirms nothing until [`Self::release`].
    pub(super) fn hold(&self) {
        self.state.send_modify(|script| script.held = true);
    }

    pub(super) fn release(&self) {
        self.state.send_modify(|script| script.held = false);
    }

    /// Whether declarations succeed, or wait until they do.
    pub(super) fn declares(&self, declares: bool) {
        self.state.send_modify(|script| script.declares = declares);
    }

    pub(super) fn is(&self, state: BrokerState) {
        self.state.send_modify(|script| script.state = state);
    }

    pub(super) fn stored(&self) -> Vec<Publish> {
        self.state.borrow().stored.clone()
    }

    pub(super) async fn begun(&self, count: usize) {
        self.until(|script| script.begun >= count).await;
    }

    pub(super) async fn stored_count(&self, count: usize) {
        self.until(|script| script.stored.len() >= count).await;
    }

    async fn until(&self, holds: impl FnMut(&Script) -> bool) {
        let mut changes = self.state.subscribe();
        tokio::time::timeout(LONG, changes.wait_for(holds))
            .await
            .expect("the broker gets there in time")
            .expect("the broker is alive");
    }
}

impl Broker for Scripted {
    fn declare<'a>(&'a self, _: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        async {
            let mut changes = self.state.subscribe();
            drop(changes.wait_for(|script| script.declares).await);
            Ok(())
        }
        .boxed()
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        async move {
            self.state.send_modify(|script| script.begun += 1);
            let mut changes = self.state.subscribe();
            drop(changes.wait_for(|script| !script.held).await);
            let outcome = self.state.borrow().outcome.clone();
            let outcomes = batch.iter().map(|_| outcome.clone()).collect();
            if outcome.is_ok() {
                self.state.send_modify(|script| script.stored.extend(batch));
            }
            outcomes
        }
        .boxed()
    }

    fn subscribe<'a>(&'a self, _: &'a QueueName, _: u16) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        unreachable!("the ingress consumes nothing")
    }

    fn depths<'a>(&'a self, _: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn announce(&self, topic: &str, payload: Bytes) {
        self.topics.announce(topic, &payload);
    }

    fn listen(&self, topic: &str) -> Listener {
        self.topics.listen(topic)
    }

    fn state(&self) -> BrokerState {
        self.state.borrow().state
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        unreachable!("the ingress does not ask")
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

pub(super) struct App {
    pub(super) router: Router,
    pub(super) orders: Arc<Scripted>,
    pub(super) events: Arc<Scripted>,
    real: Option<Arc<dyn Broker>>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) ingress: Ingress,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    pub(super) shutdown: Shutdown,
    pub(super) keys_file: PathBuf,
    pub(super) server_key: String,
    pub(super) browser_key: String,
    _folder: tempfile::TempDir,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map_or(&[][..], Vec::as_slice);
        errors.iter().filter_map(|error| error["pointer"].as_str()).collect()
    }

    /// Asserts a problem of this kind, whose members Segment's clients can read too.
    pub(super) fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.body["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        assert!(self.body["message"].as_str().is_some_and(|message| !message.is_empty()));
        if status == 503 {
            let seconds: u32 = self.headers[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!(seconds >= 1);
        }
    }
}

pub(super) fn start_of_time() -> DateTime<Utc> {
    "2026-11-27T09:00:00Z".parse().unwrap()
}

pub(super) fn token_key() -> TokenKey {
    TokenKey::new([7; 32]).unwrap()
}

pub(super) fn config() -> Config {
    let market = |id: &str, region: &str, currency| Market {
        id: id.parse().unwrap(),
        region: region.parse().unwrap(),
        currency: Currency::from_code(currency).unwrap(),
    };
    Config {
        markets: vec![market("eu", "europe", "EUR"), market("us", "america", "USD")],
        keys_reload_ms: 5,
        ..Config::default()
    }
}

pub(super) fn regions() -> BTreeMap<model::RegionName, RegionNumber> {
    BTreeMap::from([("europe".parse().unwrap(), RegionNumber(258)), ("america".parse().unwrap(), RegionNumber(2))])
}

/// Writes a new key into `file`; its plain text.
pub(super) fn add_key(file: &std::path::Path, name: &str, change: impl FnOnce(&mut Entry)) -> String {
    let (plain, hash) = keys::generate();
    let mut entry = Entry {
        name: name.to_owned(),
        hash,
        market: "eu".parse().unwrap(),
        kind: KeyKind::Server,
        scopes: vec![Scope::Orders, Scope::Events],
        origins: Vec::new(),
        expires_at: None,
    };
    change(&mut entry);
    keys::append(file, &entry).unwrap();
    plain.reveal().to_owned()
}

impl App {
    pub(super) fn new() -> Self {
        Self::with(config())
    }

    /// Before its queues are declared.
    pub(super) fn starting() -> Self {
        Self::undeclared(config(), |_| {})
    }

    pub(super) fn with(config: Config) -> Self {
        Self::prepared(config, |_| {})
    }

    /// With more keys: `prepare` is given the file before it is opened.
    pub(super) fn prepared(config: Config, prepare: impl FnOnce(&std::path::Path)) -> Self {
        let app = Self::undeclared(config, prepare);
        app.ingress.declare_queues().now_or_never().expect("this broker declares at once").unwrap();
        app
    }

    fn undeclared(config: Config, prepare: impl FnOnce(&std::path::Path)) -> Self {
        Self::assemble(config, prepare, None)
    }

    /// On a real broker, before its queues are declared.
    pub(super) fn on(real: Arc<dyn Broker>, config: Config) -> Self {
        Self::assemble(config, |_| {}, Some(real))
    }

    fn assemble(config: Config, prepare: impl FnOnce(&std::path::Path), real: Option<Arc<dyn Broker>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys_file = folder.path().join("keys.toml");
        let server_key = add_key(&keys_file, "backend", |_| {});
        let browser_key = add_key(&keys_file, "shop-page", |entry| {
            entry.kind = KeyKind::Browser;
            entry.origins = vec![ORIGIN.to_owned()];
        });
        prepare(&keys_file);
        let (orders, events) = (Scripted::new(), Scripted::new());
        let clock = Arc::new(ManualClock::at(start_of_time()));
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let metrics = Metrics::new();
        let either = |scripted: &Arc<Scripted>| real.clone().unwrap_or_else(|| Arc::clone(scripted) as Arc<dyn Broker>);
        let ingress = Ingress::new(Deps {
            config,
            orders: either(&orders),
            events: either(&events),
            one_broker: real.is_some(),
            regions: regions(),
            keys: ApiKeys::open(&keys_file).unwrap(),
            token_key: token_key(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        })
        .unwrap();
        Self {
            router: ingress.router(),
            orders,
            events,
            real,
            clock,
            ingress,
            readiness,
            metrics,
            shutdown,
            keys_file,
            server_key,
            browser_key,
            _folder: folder,
        }
    }

    /// The real broker that it is on.
    pub(super) fn broker(&self) -> &dyn Broker {
        self.real.as_deref().expect("made by `on`")
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    /// An order with the server key.
    pub(super) fn order(&self, idempotency_key: &str, body: &Value) -> Request<Body> {
        Request::post("/v1/orders")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.server_key))
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", idempotency_key)
            .body(Body::from(body.to_string()))
            .unwrap()
    }

    /// Events with the server key.
    pub(super) fn post_events(&self, path: &str, body: &Value) -> Request<Body> {
        Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.server_key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()))
            .unwrap()
    }
}

/// A valid order: 2 × 1250 + 500 + 210 - 10 = 3200.
pub(super) fn mugs() -> Value {
    json!({
        "currency": "EUR",
        "lines": [{"sku": "MUG-RED", "quantity": 2, "unit_price_minor": 1250}],
        "shipping_minor": 500,
        "tax_minor": 210,
        "discount_minor": 10,
        "total_minor": 3200,
        "reference": "A-17",
        "customer": "c-9",
        "attribution": {"campaign": "autumn", "anonymous_id": "v-1"},
    })
}
