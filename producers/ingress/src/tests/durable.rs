//! The whole role on its own port, over a broker that keeps what it confirms on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::{Deps, Error, run};
use broker::{Broker, QueueName, Settle, layout};
use broker_embedded::Embedded;
use events::{Envelope, OrderPlaced, PageBatch};
use model::SystemClock;
use serde_json::{Value, json};
use service::keys::ApiKeys;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks, http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::support::{add_key, config, mugs, regions, token_key};

const LONG: Duration = Duration::from_secs(20);

struct Role {
    address: SocketAddr,
    broker: Arc<Embedded>,
    key: String,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Error>>,
}

impl Role {
    /// Starts and waits until it is ready.
    async fn start(folder: &Path) -> Self {
        let broker = open(folder).await;
        let keys_file = folder.join("keys.toml");
        let key = add_key(&keys_file, "backend", |_| {});
        let shutdown = Shutdown::new();
        let deps = Deps {
            config: config(),
            orders: Arc::clone(&broker) as Arc<dyn Broker>,
            events: Arc::clone(&broker) as Arc<dyn Broker>,
            one_broker: true,
            regions: regions(),
            keys: ApiKeys::open(&keys_file).unwrap(),
            token_key: token_key(),
            clock: Arc::new(SystemClock),
            readiness: Readiness::new(shutdown.clone()),
            metrics: Metrics::new(),
        };
        let server = http::Server::bind(http::Config { bind: ([127, 0, 0, 1], 0).into(), ..http::Config::default() })
            .await
            .unwrap();
        let role = Self {
            address: server.local_addr(),
            broker,
            key,
            shutdown: shutdown.clone(),
            running: Tasks::new().spawn("ingress", run(server, deps, shutdown)),
        };
        let ready = async {
            while !role.ask("GET /readyz", None, &Value::Null).await.starts_with("HTTP/1.1 200") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, ready).await.expect("the ingress becomes ready");
        role
    }

    async fn ask(&self, line: &str, key: Option<&str>, body: &Value) -> String {
        let body = body.to_string();
        let idempotency = key.map_or_else(String::new, |key| format!("idempotency-key: {key}\r\n"));
        let request = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n{idempotency}connection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn stop(self) {
        self.shutdown.request();
        let stopped = tokio::time::timeout(LONG, self.running).await;
        stopped.expect("the ingress stops").unwrap().unwrap();
        self.broker.close().await;
    }
}

async fn open(folder: &Path) -> Arc<Embedded> {
    let config = broker_embedded::Config::default();
    Embedded::open(folder.join("broker.db"), config).await.unwrap()
}

#[tokio::test]
async fn what_was_answered_is_in_the_queues_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let role = Role::start(folder.path()).await;
    let answer = role.ask("POST /v1/orders", Some("k"), &mugs()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let event = json!({"userId": "u", "event": "Clicked", "messageId": "m"});
    let answer = role.ask("POST /v1/track", None, &event).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    role.stop().await;

    let broker = open(folder.path()).await;
    let order = take(&broker, &layout::checkout_queue(&"europe".parse().unwrap())).await;
    let order = Envelope::<OrderPlaced>::from_message(&order).unwrap().data;
    assert!(answer_names(&order), "the order that was posted");
    let batch = take(&broker, &layout::analytics_pages_queue()).await;
    let batch = Envelope::<PageBatch>::from_message(&batch).unwrap().data;
    assert_eq!(batch.events[0].message_id.as_str(), "m");
    broker.close().await;
}

fn answer_names(order: &OrderPlaced) -> bool {
    order.idempotency_key.as_str() == "k" && order.total_minor == 3200
}

async fn take(broker: &Embedded, queue: &QueueName) -> model::Message {
    let mut subscription = broker.subscribe(queue, 10).await.unwrap();
    let delivery = tokio::time::timeout(LONG, subscription.next()).await.expect("a message waits").unwrap();
    let message = delivery.message().clone();
    delivery.settle(Settle::Ack).await.unwrap();
    message
}

#[tokio::test]
async fn a_broker_that_is_gone_is_503_with_retry_after() {
    let folder = tempfile::tempdir().unwrap();
    let role = Role::start(folder.path()).await;
    role.broker.close().await;
    let answer = role.ask("POST /v1/orders", Some("k"), &mugs()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("\"code\":\"broker_unavailable\""), "{answer}");
    let ready = role.ask("GET /readyz", None, &Value::Null).await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("ingress.orders_broker"), "{ready}");
    role.stop().await;
}
