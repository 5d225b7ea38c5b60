//! The suite that every broker passes.

use std::sync::{Arc, Mutex};

use broker::conformance::Harness;
use broker::{Broker, QueueName};
use broker_rabbit::Rabbit;
use futures::future::BoxFuture;
use serde_json::json;
use testkit::rabbit::FreshVhost;

use crate::fixture::{config, connect, proxied};
use crate::proxy::Proxy;

struct RabbitHarness {
    /// Each handle with the proxy that it connects through.
    handles: Mutex<Vec<(Arc<Rabbit>, Proxy)>>,
    vhost: FreshVhost,
}

impl RabbitHarness {
    async fn start() -> Self {
        let vhost = FreshVhost::create().await.expect("a virtual host");
        Self { handles: Mutex::default(), vhost }
    }
}

impl Harness for RabbitHarness {
    fn connect(&self) -> BoxFuture<'_, Arc<dyn Broker>> {
        Box::pin(async move {
            let (proxy, url) = proxied(&self.vhost).await.expect("a proxy");
            let rabbit = connect(&url, config());
            self.handles.lock().expect("no test panics with it").push((Arc::clone(&rabbit), proxy));
            rabbit as Arc<dyn Broker>
        })
    }

    /// Cuts its connections, so that nothing of a polite end reaches RabbitMQ.
    fn kill(&self, broker: Arc<dyn Broker>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let killed = {
                let mut handles = self.handles.lock().expect("no test panics with it");
                let is_it =
                    |handle: &(Arc<Rabbit>, Proxy)| std::ptr::addr_eq(Arc::as_ptr(&handle.0), Arc::as_ptr(&broker));
                let at = handles.iter().position(is_it).expect("a handle of this harness");
                handles.swap_remove(at)
            };
            killed.1.cut();
            killed.0.close().await;
        })
    }

    fn hold_with_other_arguments<'a>(&'a self, queue: &'a QueueName) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let held = self.vhost.declare_queue(queue.as_str(), json!({"x-queue-type": "classic"})).await;
            held.expect("a classic queue");
            true
        })
    }
}

broker::conformance_tests!(RabbitHarness::start().await);
