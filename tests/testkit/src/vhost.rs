//! A look into a virtual host through RabbitMQ's management API, and a hand that meddles with it.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use crate::rabbit::Api;

/// A message that was looked at and stayed in its queue.
#[derive(Debug, Clone)]
pub struct Peeked {
    /// Its AMQP `message_id`; empty where it has none.
    pub id: String,
    /// Its payload.
    pub body: Vec<u8>,
}

/// A virtual host that is there.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    api: Api,
}

impl Vhost {
    pub(crate) fn new(name: String, api: Api) -> Self {
        Self { name, api }
    }

    /// That of an AMQP URL, by the management API's URL with user and password.
    ///
    /// # Errors
    /// Where one of the URLs lacks a part.
    pub fn at(amqp_url: &str, api_url: &str) -> Result<Self> {
        let (_, rest) = amqp_url.split_once("://").context("the broker's URL has a scheme")?;
        let (_, name) = rest.split_once('/').context("the broker's URL names a virtual host")?;
        let name = name.split_once('?').map_or(name, |(name, _)| name);
        Ok(Self::new(name.to_owned(), Api::new(api_url)?))
    }

    /// The name of every durable queue: the others are of connections, which alone may look into them.
    ///
    /// # Errors
    /// The management API's.
    pub async fn queues(&self) -> Result<Vec<String>> {
        let told = self.call(Method::GET, "queues", "", &Value::Null).await?;
        let names = told.as_array().context("a list of queues")?.iter().filter(|queue| queue["durable"] == true);
        Ok(names.filter_map(|queue| queue["name"].as_str().map(ToOwned::to_owned)).collect())
    }

    /// How many messages a queue holds, unsettled ones included; some 5 s old.
    ///
    /// # Errors
    /// The management API's.
    pub async fn messages(&self, queue: &str) -> Result<u64> {
        let told = self.call(Method::GET, "queues", &format!("/{queue}"), &Value::Null).await?;
        told["messages"].as_u64().context("a queue that has been counted")
    }

    /// The first `most` messages of a queue, which stay there; each has been handed out once more.
    ///
    /// # Errors
    /// The management API's.
    pub async fn peek(&self, queue: &str, most: u64) -> Result<Vec<Peeked>> {
        let body = json!({"count": most, "ackmode": "ack_requeue_true", "encoding": "base64"});
        let told = self.call(Method::POST, "queues", &format!("/{queue}/get"), &body).await?;
        let peeked = |message: &Value| {
            let id = message["properties"]["message_id"].as_str().unwrap_or_default().to_owned();
            let body = BASE64_STANDARD.decode(message["payload"].as_str().unwrap_or_default())?;
            Ok(Peeked { id, body })
        };
        told.as_array().context("a list of messages")?.iter().map(peeked).collect()
    }

    /// Publishes what says that it is an order straight into a queue, as somebody does by hand.
    ///
    /// # Errors
    /// The management API's.
    pub async fn put_by_hand(&self, queue: &str, message_id: &str, body: &str) -> Result<()> {
        let properties = json!({
            "delivery_mode": 2, "message_id": message_id, "type": "order.placed", "headers": {"x-mp-version": "1"},
        });
        let message = json!({
            "properties": properties, "routing_key": queue, "payload": body, "payload_encoding": "string",
        });
        let told = self.call(Method::POST, "exchanges", "/amq.default/publish", &message).await?;
        ensure!(told["routed"] == true, "the queue {queue} is there");
        Ok(())
    }

    /// Removes what binds `queue` to `exchange` by `routing_key`.
    ///
    /// # Errors
    /// The management API's.
    pub async fn unbind(&self, exchange: &str, queue: &str, routing_key: &str) -> Result<()> {
        let rest = format!("/e/{exchange}/q/{queue}/{routing_key}");
        self.call(Method::DELETE, "bindings", &rest, &Value::Null).await.map(drop)
    }

    /// Binds `queue` to `exchange` by `routing_key`; idempotent.
    ///
    /// # Errors
    /// The management API's.
    pub async fn bind(&self, exchange: &str, queue: &str, routing_key: &str) -> Result<()> {
        let body = json!({"routing_key": routing_key});
        self.call(Method::POST, "bindings", &format!("/e/{exchange}/q/{queue}"), &body).await.map(drop)
    }

    /// Declares a durable quorum queue; idempotent.
    ///
    /// # Errors
    /// The management API's.
    pub async fn declare_queue(&self, queue: &str) -> Result<()> {
        let body = json!({"durable": true, "arguments": {"x-queue-type": "quorum"}});
        self.call(Method::PUT, "queues", &format!("/{queue}"), &body).await.map(drop)
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// The management API's.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.call(Method::DELETE, "queues", &format!("/{queue}"), &Value::Null).await.map(drop)
    }

    /// Removes a policy.
    ///
    /// # Errors
    /// The management API's.
    pub async fn clear_policy(&self, name: &str) -> Result<()> {
        self.call(Method::DELETE, "policies", &format!("/{name}"), &Value::Null).await.map(drop)
    }

    async fn call(&self, method: Method, kind: &str, rest: &str, body: &Value) -> Result<Value> {
        self.api.call(method, &format!("{kind}/{}{rest}", self.name), body).await
    }
}
