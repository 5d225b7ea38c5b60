//! RabbitMQ for tests: a virtual host of one's own on the shared node, or a node of one's own that can be killed,
//! brought back, and alarmed.

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::{Method, StatusCode};
use model::{EventId, SystemClock};
use serde_json::{Value, json};

use crate::http::Http;
use crate::servers::{Server, Servers};
use crate::vhost::Vhost;

/// A virtual host, deleted with this value.
#[derive(Debug)]
pub struct FreshVhost {
    name: String,
    amqp_url: String,
    api: Api,
}

impl FreshVhost {
    /// Creates one on the shared node.
    ///
    /// # Errors
    /// The management API's.
    ///
    /// # Panics
    /// Without the environment of `infra/test.sh`.
    pub async fn create() -> Result<Self> {
        Self::create_on(&variable("MILLPOND_TEST_AMQP_URL"), &variable("MILLPOND_TEST_AMQP_API")).await
    }

    async fn create_on(amqp_url: &str, api_url: &str) -> Result<Self> {
        let api = Api::new(api_url)?;
        let name = format!("test-{}", EventId::new(&SystemClock).as_uuid().simple());
        api.call(Method::PUT, &format!("vhosts/{name}"), &json!({})).await?;
        let all = json!({"configure": ".*", "write": ".*", "read": ".*"});
        api.call(Method::PUT, &format!("permissions/{name}/{}", api.user), &all).await?;
        Ok(Self { amqp_url: format!("{amqp_url}/{name}"), name, api })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.amqp_url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Declares a durable queue with `arguments`, which replaces nothing.
    ///
    /// # Errors
    /// The management API's.
    pub async fn declare_queue(&self, queue: &str, arguments: Value) -> Result<()> {
        let body = json!({"durable": true, "arguments": arguments});
        self.call(Method::PUT, "queues", &format!("/{queue}"), &body).await.map(drop)
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// The management API's.
    pub async fn delete_queue(&self, queue: &str) -> Result<()> {
        self.call(Method::DELETE, "queues", &format!("/{queue}"), &Value::Null).await.map(drop)
    }

    /// Deletes an exchange.
    ///
    /// # Errors
    /// The management API's.
    pub async fn delete_exchange(&self, exchange: &str) -> Result<()> {
        self.call(Method::DELETE, "exchanges", &format!("/{exchange}"), &Value::Null).await.map(drop)
    }

    /// Sets a policy on queues: an operator's limits.
    ///
    /// # Errors
    /// The management API's.
    pub async fn set_policy(&self, name: &str, pattern: &str, definition: Value) -> Result<()> {
        // The one value that 3.10 and 4.x both take for quorum queues.
        let body = json!({"pattern": pattern, "definition": definition, "apply-to": "queues"});
        self.call(Method::PUT, "policies", &format!("/{name}"), &body).await.map(drop)
    }

    /// The effective policy of a queue, `Null` where it has none.
    ///
    /// # Errors
    /// The management API's.
    pub async fn policy_of(&self, queue: &str) -> Result<Value> {
        let told = self.call(Method::GET, "queues", &format!("/{queue}"), &Value::Null).await?;
        Ok(told["policy"].clone())
    }

    /// The names of the connections to it.
    ///
    /// # Errors
    /// The management API's.
    pub async fn connections(&self) -> Result<Vec<String>> {
        let told = self.api.call(Method::GET, &format!("vhosts/{}/connections", self.name), &Value::Null).await?;
        let names = told.as_array().context("a list of connections")?.iter();
        Ok(names.filter_map(|connection| connection["name"].as_str().map(ToOwned::to_owned)).collect())
    }

    /// Closes every connection to it, as an operator does; gives how many there were.
    ///
    /// # Errors
    /// The management API's.
    pub async fn close_connections(&self) -> Result<usize> {
        let connections = self.connections().await?;
        for name in &connections {
            let path = format!("connections/{}", name.replace(' ', "%20").replace('>', "%3E"));
            self.api.call(Method::DELETE, &path, &Value::Null).await?;
        }
        Ok(connections.len())
    }

    /// The same, to look into and to meddle with.
    pub fn look(&self) -> Vhost {
        Vhost::new(self.name.clone(), self.api.fresh())
    }

    async fn call(&self, method: Method, kind: &str, rest: &str, body: &Value) -> Result<Value> {
        self.api.call(method, &format!("{kind}/{}{rest}", self.name), body).await
    }
}

impl Drop for FreshVhost {
    fn drop(&mut self) {
        // Dropping can't wait, and the runtime of a test that panics is on its way out: a runtime of its own can. A
        // node that was killed has nothing to delete.
        let (api, path) = (self.api.fresh(), format!("vhosts/{}", self.name));
        let deleting = std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(api.call(Method::DELETE, &path, &Value::Null)).map(drop)
        });
        if !matches!(deleting.join(), Ok(Ok(()))) {
            eprintln!("the virtual host {} was left behind", self.name);
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_error| panic!("{name} is not set: run infra/test.sh, or eval \"$(infra/services.sh env)\""))
}

/// The management API.
#[derive(Debug)]
pub(crate) struct Api {
    http: Http,
    base: String,
    user: String,
    authorization: String,
}

impl Api {
    /// `url` carries user and password.
    pub(crate) fn new(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").context("the API's URL has a scheme")?;
        let (credentials, host) = rest.split_once('@').context("the API's URL has user and password")?;
        let (user, _password) = credentials.split_once(':').context("the API's URL has a password")?;
        Ok(Self {
            http: Http::new(),
            base: format!("{scheme}://{host}/api"),
            user: user.to_owned(),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(credentials)),
        })
    }

    /// For another runtime: the connections of this one stay with it.
    fn fresh(&self) -> Self {
        let (base, user, authorization) = (self.base.clone(), self.user.clone(), self.authorization.clone());
        Self { http: Http::new(), base, user, authorization }
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}/{path}", self.base);
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.http.send(method.clone(), &url, &headers, sent).await?;
        // What is to be deleted may be gone by itself.
        let fine = answer.status.is_success() || (method == Method::DELETE && answer.status == StatusCode::NOT_FOUND);
        ensure!(fine, "{method} {url}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        Ok(answer.json())
    }
}

/// A node of one's own, gone with this value. It takes some 10 s to start.
#[derive(Debug)]
pub struct PrivateRabbit {
    // First, and so dropped first: they lie in the folder.
    servers: Servers,
    _folder: tempfile::TempDir,
}

impl PrivateRabbit {
    /// Starts one.
    ///
    /// # Errors
    /// What `infra/services.sh` says.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("millpond-rabbit-").tempdir()?;
        // `services.sh` sets the permissions of the folder that it makes.
        Ok(Self { servers: Servers::start(folder.path().join("services")).await?, _folder: folder })
    }

    /// A virtual host on it.
    ///
    /// # Errors
    /// The management API's.
    pub async fn vhost(&self) -> Result<FreshVhost> {
        let exported = |name| self.servers.exported(name);
        FreshVhost::create_on(exported("MILLPOND_TEST_AMQP_URL")?, exported("MILLPOND_TEST_AMQP_API")?).await
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// Where it was gone already.
    pub async fn kill(&self) -> Result<()> {
        self.servers.end(Server::Rabbit, "KILL").await
    }

    /// Starts it again where it was, with its data.
    ///
    /// # Errors
    /// What `infra/services.sh` says.
    pub async fn bring_back(&mut self) -> Result<()> {
        self.servers.bring_back(Server::Rabbit).await
    }

    /// Raises or clears the memory alarm, on which a node takes no publishes.
    ///
    /// # Errors
    /// What `rabbitmqctl` says.
    pub async fn memory_alarm(&self, on: bool) -> Result<()> {
        let watermark = if on { "0.0000001" } else { "0.8" };
        self.servers.rabbitmqctl(&["set_vm_memory_high_watermark", watermark]).await.map(drop)
    }
}
