//! What the cases share: a small topology, messages, and waiting with a deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::{Message, headers};

use crate::conformance::Harness;
use crate::{
    Broker, Delivery, Depth, ExchangeName, Publish, PublishError, QueueName, QueueSpec, Settle, Subscription, Topology,
};

/// How long a case waits for what has to happen; far beyond what a loaded machine takes.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nothing announces.
const POLL: Duration = Duration::from_millis(10);

/// A ladder whose first rung is short enough to wait for, and whose last is beyond [`DEADLINE`].
pub(super) const LADDER: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(1_200), Duration::from_mins(10)];

pub(super) const KEY: &str = "thing.happened";
pub(super) const NO_KEY: &str = "nobody.listens";

pub(super) fn exchange() -> ExchangeName {
    ExchangeName::new("conformance.v1")
}

pub(super) fn queue() -> QueueName {
    QueueName::new("conformance.one.v1")
}

pub(super) fn other_queue() -> QueueName {
    QueueName::new("conformance.other.v1")
}

/// One queue, bound by [`KEY`].
pub(super) fn topology() -> Topology {
    with_ladder(&LADDER)
}

pub(super) fn with_ladder(retry_delays: &[Duration]) -> Topology {
    Topology::default().with_queue(&exchange(), spec(queue(), retry_delays), [KEY])
}

/// Two queues, both bound by [`KEY`].
pub(super) fn two_queues() -> Topology {
    topology().with_queue(&exchange(), spec(other_queue(), &LADDER), [KEY])
}

fn spec(name: QueueName, retry_delays: &[Duration]) -> QueueSpec {
    QueueSpec { name, retry_delays: retry_delays.to_vec() }
}

/// A connection with `topology` declared.
pub(super) async fn connect(harness: &dyn Harness, topology: &Topology) -> Arc<dyn Broker> {
    let broker = harness.connect().await;
    within("declaring", broker.declare(topology)).await.expect("the topology is declared");
    broker
}

/// A message with every field set. Its time is in whole seconds, which is what AMQP keeps.
pub fn message(id: &str) -> Message {
    Message {
        id: id.parse().expect("a case's ids are valid"),
        kind: "thing.happened".to_owned(),
        timestamp: DateTime::<Utc>::from_timestamp(1_700_000_017, 0).unwrap_or_default(),
        content_type: "application/json".to_owned(),
        headers: [
            (headers::VERSION.to_owned(), "1".to_owned()),
            ("x-mp-note".to_owned(), "größer als gedacht".to_owned()),
        ]
        .into(),
        transient: false,
        body: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
    }
}

/// `count` messages with the ids `<prefix>-0`, `<prefix>-1` and so on.
pub fn messages(prefix: &str, count: usize) -> Vec<Message> {
    (0..count).map(|number| message(&format!("{prefix}-{number}"))).collect()
}

pub(super) fn to_exchange(message: Message, routing_key: &str) -> Publish {
    Publish { exchange: exchange(), routing_key: routing_key.to_owned(), message }
}

/// Publishes `messages` under [`KEY`] in one batch; each must be confirmed.
pub(super) async fn publish(broker: &dyn Broker, messages: &[Message]) {
    let batch = messages.iter().map(|message| to_exchange(message.clone(), KEY)).collect();
    confirmed(&within("publishing", broker.publish(batch)).await, messages.len());
}

pub(super) fn confirmed(outcomes: &[Result<(), PublishError>], published: usize) {
    assert_eq!(outcomes.len(), published, "one outcome per message");
    assert!(outcomes.iter().all(Result::is_ok), "every publish is confirmed: {outcomes:?}");
}

pub(super) async fn subscribe(broker: &dyn Broker, queue: &QueueName, prefetch: u16) -> Subscription {
    within("subscribing", broker.subscribe(queue, prefetch)).await.expect("the queue can be subscribed to")
}

/// The next delivery, which must come.
pub(super) async fn next(subscription: &mut Subscription) -> Delivery {
    within("a delivery", subscription.next()).await.expect("the subscription goes on")
}

/// The next `count` deliveries, in order.
pub(super) async fn take(subscription: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        taken.push(next(subscription).await);
    }
    taken
}

pub(super) fn ids<'a>(deliveries: impl IntoIterator<Item = &'a Delivery>) -> Vec<String> {
    deliveries.into_iter().map(|delivery| delivery.message().id.to_string()).collect()
}

pub(super) async fn settle(delivery: Delivery, how: Settle) {
    within("settling", delivery.settle(how)).await.expect("a delivery of a live connection can be settled");
}

pub(super) async fn ack_all(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        settle(delivery, Settle::Ack).await;
    }
}

/// Acks everything that `queue` holds up to the message `last`, which must be its last, and gives the ids. As queues
/// are first in, first out, what did not come before `last` is not in the queue.
pub(super) async fn drain_to(broker: &dyn Broker, queue: &QueueName, last: &str) -> Vec<String> {
    let mut subscription = subscribe(broker, queue, 1).await;
    let mut seen = Vec::new();
    loop {
        let delivery = next(&mut subscription).await;
        seen.extend(ids([&delivery]));
        settle(delivery, Settle::Ack).await;
        if seen.last().is_some_and(|id| id == last) {
            return seen;
        }
    }
}

pub(super) async fn depth(broker: &dyn Broker, queue: &QueueName) -> Depth {
    within("depths", broker.depths(std::slice::from_ref(queue))).await.expect("the depth is known").remove(0)
}

/// Waits until `queue` holds exactly `ready` messages for a consumer.
pub(super) async fn wait_for_depth(broker: &dyn Broker, queue: &QueueName, ready: u64) {
    let begin = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        let now = depth(broker, queue).await.ready;
        if now == ready {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{queue} holds {now} ready messages, {ready} were expected");
    }
}

/// `future`'s output, or a panic that names `what` once [`DEADLINE`] has passed.
pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_elapsed| panic!("{what} did not happen within {DEADLINE:?}"))
}
