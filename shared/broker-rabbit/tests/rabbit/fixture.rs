//! Handles on a virtual host of one's own, and a topology to use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use broker::conformance::{DEADLINE, message};
use broker::{
    Broker, BrokerState, Delivery, ExchangeName, Publish, PublishError, QueueName, QueueSpec, Settle, Subscription,
    Topology,
};
use broker_rabbit::{Config, Rabbit};
use testkit::rabbit::FreshVhost;

use crate::proxy::Proxy;

pub(crate) const KEY: &str = "thing.happened";

pub(crate) fn exchange() -> ExchangeName {
    ExchangeName::new("rabbit.test.v1")
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("rabbit.test.one.v1")
}

pub(crate) fn topology() -> Topology {
    let spec = QueueSpec { name: queue(), retry_delays: vec![Duration::from_millis(100)] };
    Topology::default().with_queue(&exchange(), spec, [KEY])
}

/// Reconnects fast: tests wait for it.
pub(crate) fn config() -> Config {
    Config { reconnect_min_ms: 20, reconnect_max_ms: 200, ..Config::default() }
}

pub(crate) fn connect(url: &str, config: Config) -> Arc<Rabbit> {
    Rabbit::connect(url, "millpond test", config).expect("the URL is an AMQP URL")
}

/// Connected to `vhost`, with [`topology`] declared.
pub(crate) async fn ready(vhost: &FreshVhost) -> Arc<Rabbit> {
    ready_with(vhost, config()).await
}

pub(crate) async fn ready_with(vhost: &FreshVhost, config: Config) -> Arc<Rabbit> {
    let rabbit = connect(vhost.url(), config);
    within("declaring", rabbit.declare(&topology())).await.expect("the topology is declared");
    rabbit
}

/// The same through a proxy.
pub(crate) async fn proxied(vhost: &FreshVhost) -> Result<(Proxy, String)> {
    let (credentials, rest) = vhost.url().split_once('@').expect("the test URL has credentials");
    let (target, vhost) = rest.split_once('/').expect("the test URL has a virtual host");
    let proxy = Proxy::start(target.to_owned()).await?;
    let url = format!("{credentials}@{}/{vhost}", proxy.address());
    Ok((proxy, url))
}

pub(crate) fn to_queue(id: &str) -> Publish {
    Publish { exchange: exchange(), routing_key: KEY.to_owned(), message: message(id) }
}

pub(crate) fn batch(prefix: &str, count: usize) -> Vec<Publish> {
    (0..count).map(|number| to_queue(&format!("{prefix}-{number}"))).collect()
}

pub(crate) async fn publish_one(rabbit: &Rabbit, id: &str) -> Result<(), PublishError> {
    within("publishing", rabbit.publish(vec![to_queue(id)])).await.remove(0)
}

pub(crate) async fn subscribe(rabbit: &Rabbit, queue: &QueueName) -> Subscription {
    within("subscribing", rabbit.subscribe(queue, 100)).await.expect("the queue can be subscribed to")
}

pub(crate) async fn next(subscription: &mut Subscription) -> Delivery {
    within("a delivery", subscription.next()).await.expect("the subscription goes on")
}

/// Acks the next delivery and gives its id.
pub(crate) async fn ack_next(subscription: &mut Subscription) -> String {
    let delivery = next(subscription).await;
    let id = delivery.message().id.to_string();
    delivery.settle(Settle::Ack).await.expect("it can be acked");
    id
}

pub(crate) async fn until_state(rabbit: &Rabbit, state: BrokerState) {
    until(&format!("the state is {state:?}"), || async { (rabbit.state() == state).then_some(()) }).await;
}

pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, condition: impl FnMut() -> F) -> T {
    testkit::wait::until(what, condition).await.expect("it comes about")
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("{what} did not happen within {DEADLINE:?}"))
}
