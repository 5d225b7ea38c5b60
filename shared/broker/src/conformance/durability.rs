//! A confirmed message is there, whole and in order, until it is acked.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::conformance::Harness;
use crate::conformance::fixture::{
    KEY, ack_all, confirmed, connect, drain_to, ids, message, messages, next, publish, queue, settle, subscribe, take,
    to_exchange, topology, wait_for_depth, within,
};
use crate::{Broker, QueueName, Settle, SettleError};

/// For tests that kill the broker's own process: drains `queue` until each of `confirmed` has come, acking all, and
/// gives every id that came (more than `confirmed` where a publish was stored without its confirm being seen).
pub async fn every_confirmed_message_is_there(
    broker: &dyn Broker,
    queue: &QueueName,
    confirmed: &BTreeSet<String>,
) -> BTreeSet<String> {
    let mut missing = confirmed.clone();
    let mut came = BTreeSet::new();
    let mut subscription = subscribe(broker, queue, 500).await;
    while !missing.is_empty() {
        let what = format!("the delivery of {} confirmed messages", missing.len());
        let delivery = within(&what, subscription.next()).await.expect("the subscription goes on");
        let id = delivery.message().id.to_string();
        missing.remove(&id);
        came.insert(id);
        settle(delivery, Settle::Ack).await;
    }
    came
}

/// The confirm is the promise: nothing else of the publisher has to survive.
pub async fn a_confirmed_message_is_there_after_its_publisher_died(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let sent = messages("m", 100);
    publish(&*broker, &sent).await;
    harness.kill(broker).await;

    let broker = connect(harness, &topology()).await;
    let all = sent.iter().map(|message| message.id.to_string()).collect();
    assert_eq!(every_confirmed_message_is_there(&*broker, &queue(), &all).await, all);
}

/// Every field: an empty body, a large one, a transient message, text beyond ASCII.
pub async fn a_message_comes_back_as_it_was_published(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let mut sent = messages("m", 4);
    sent[1].body = Bytes::new();
    sent[1].headers.clear();
    sent[2].body = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    sent[3].transient = true;
    publish(&*broker, &sent).await;

    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    for expected in &sent {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.message(), expected);
        assert!(!delivery.redelivered(), "it was never handed out before");
        assert_eq!(delivery.delivery_count(), 0);
        settle(delivery, Settle::Ack).await;
    }
}

/// First in, first out, over several batches and as seen by one consumer.
pub async fn messages_come_in_the_order_they_were_published(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let sent = messages("m", 200);
    for batch in sent.chunks(7) {
        publish(&*broker, batch).await;
    }
    let mut subscription = subscribe(&*broker, &queue(), 16).await;
    for expected in &sent {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.message().id, expected.id);
        settle(delivery, Settle::Ack).await;
    }
}

/// A consumer that forgets to settle loses nothing.
pub async fn a_delivery_dropped_unsettled_comes_back_as_redelivered(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &[message("m")]).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    drop(next(&mut subscription).await);

    let again = next(&mut subscription).await;
    assert_eq!(again.message(), &message("m"), "as it was");
    assert!(again.redelivered());
    settle(again, Settle::Ack).await;
}

/// A consumer that dies loses nothing; what it still believes to hold can't be settled any more.
pub async fn deliveries_of_a_dead_connection_come_back_as_redelivered(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let sent = messages("m", 3);
    publish(&*broker, &sent).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    let held = take(&mut subscription, 3).await;
    drop(subscription);
    harness.kill(broker).await;
    for delivery in held {
        let settled = within("settling", delivery.settle(Settle::Ack)).await;
        assert_eq!(settled, Err(SettleError::Gone));
    }

    let broker = connect(harness, &topology()).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    let again = take(&mut subscription, 3).await;
    assert_eq!(ids(&again), ["m-0", "m-1", "m-2"], "in their order");
    assert!(again.iter().all(crate::Delivery::redelivered));
    ack_all(again).await;
}

/// A polite end gives back what is unsettled, just as a death does.
pub async fn deliveries_of_a_closed_broker_come_back(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 2)).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    let mut held = take(&mut subscription, 2).await;
    settle(held.remove(0), Settle::Ack).await;
    within("closing", broker.close()).await;
    let settled = within("settling", held.remove(0).settle(Settle::Ack)).await;
    assert_eq!(settled, Err(SettleError::Gone));
    harness.kill(broker).await;

    let broker = connect(harness, &topology()).await;
    let all = ["m-1".to_owned()].into();
    assert_eq!(every_confirmed_message_is_there(&*broker, &queue(), &all).await, all, "close flushes the ack of m-0");
}

/// Acks are kept: after a polite end nothing acked is seen again.
pub async fn an_acked_message_does_not_come_back(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 20)).await;
    let mut subscription = subscribe(&*broker, &queue(), 20).await;
    ack_all(take(&mut subscription, 20).await).await;
    drop(subscription);
    within("closing", broker.close()).await;
    harness.kill(broker).await;

    let broker = connect(harness, &topology()).await;
    let last = to_exchange(message("last"), KEY);
    confirmed(&broker.publish(vec![last]).await, 1);
    assert_eq!(drain_to(&*broker, &queue(), "last").await, ["last"]);
    wait_for_depth(&*broker, &queue(), 0).await;
}
