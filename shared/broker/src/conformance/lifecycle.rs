//! Declaring, closing, and what can't work.

use crate::conformance::Harness;
use crate::conformance::fixture::{
    KEY, connect, drain_to, message, messages, publish, queue, subscribe, to_exchange, topology, within,
};
use crate::{BrokerError, BrokerState, PublishError, QueueName};

/// Every role declares at every start; messages that wait stay.
pub async fn declaring_twice_changes_nothing(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 3)).await;
    let broker = {
        drop(broker);
        connect(harness, &topology()).await
    };
    publish(&*broker, &[message("last")]).await;
    assert_eq!(drain_to(&*broker, &queue(), "last").await, ["m-0", "m-1", "m-2", "last"]);
}

/// A name that nobody declared is a mistake, not an empty queue.
pub async fn an_undeclared_queue_is_no_such_queue(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let unknown = QueueName::new("conformance.unknown.v1");
    let expected = BrokerError::NoSuchQueue(unknown.clone());
    let subscribed = within("subscribing", broker.subscribe(&unknown, 1)).await;
    assert_eq!(subscribed.err(), Some(expected.clone()));
    let depths = within("depths", broker.depths(&[queue(), unknown])).await;
    assert_eq!(depths, Err(expected));
    publish(&*broker, &[message("last")]).await;
    assert_eq!(drain_to(&*broker, &queue(), "last").await, ["last"], "the connection is none the worse for it");
}

/// Nobody waits for a broker that this process closed itself; closing it again is no error.
pub async fn a_closed_broker_answers_every_call_at_once(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    assert_eq!(broker.state(), BrokerState::Ready);
    within("closing", broker.close()).await;
    within("closing again", broker.close()).await;

    let batch = vec![to_exchange(message("a"), KEY), to_exchange(message("b"), KEY)];
    let outcomes = within("publishing", broker.publish(batch)).await;
    assert_eq!(outcomes, vec![Err(PublishError::Unavailable); 2]);
    let subscribed = within("subscribing", broker.subscribe(&queue(), 1)).await;
    assert_eq!(subscribed.err(), Some(BrokerError::Closed));
    let declared = within("declaring", broker.declare(&topology())).await;
    assert_eq!(declared, Err(BrokerError::Closed));
    assert_eq!(broker.state(), BrokerState::Disconnected);
}

/// The end of a subscription is how a consumer learns that it is over.
pub async fn closing_ends_the_subscriptions(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    let (next, ()) =
        within("the subscription's end", async { tokio::join!(subscription.next(), broker.close()) }).await;
    assert!(next.is_none());
}

/// Where another declaration is in the way, waiting does not help: it is said, with the queue's name.
pub async fn a_queue_held_with_other_arguments_is_a_conflict(harness: &dyn Harness) {
    if !harness.hold_with_other_arguments(&queue()).await {
        return;
    }
    let broker = harness.connect().await;
    let declared = within("declaring", broker.declare(&topology())).await;
    let Err(BrokerError::Conflict(reason)) = declared else {
        panic!("{declared:?} is not a conflict");
    };
    assert!(reason.contains(queue().as_str()), "{reason}");
}

/// `doctor` shows it.
pub async fn a_broker_says_what_it_is(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let info = within("info", broker.info()).await.expect("it is there");
    assert!(!info.product.is_empty() && !info.version.is_empty());
}
