//! The ways back: later, aside, at once.

use std::time::Duration;

use model::headers;
use tokio::time::Instant;

use crate::conformance::Harness;
use crate::conformance::fixture::{
    LADDER, connect, drain_to, ids, message, messages, next, other_queue, publish, queue, settle, subscribe, topology,
    two_queues, wait_for_depth, with_ladder,
};
use crate::{Delivery, Settle};

fn retry(after: Duration) -> Settle {
    Settle::Retry { after, reason: "the database blinked".to_owned() }
}

/// The copy that comes back differs from the original in its attempt and its reason alone.
fn assert_retried(delivery: &Delivery, id: &str, attempt: u32) {
    let mut expected = message(id);
    expected.headers.insert(headers::ATTEMPT.to_owned(), attempt.to_string());
    expected.headers.insert(headers::REASON.to_owned(), "the database blinked".to_owned());
    assert_eq!(delivery.message(), &expected);
    assert_eq!(delivery.message().attempt(), attempt);
}

/// A consumer's trouble is its own: its neighbours on the same routing key see the message once.
pub async fn a_retried_message_returns_to_its_own_queue_and_to_no_other(harness: &dyn Harness) {
    let broker = connect(harness, &two_queues()).await;
    publish(&*broker, &[message("m")]).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    settle(next(&mut subscription).await, retry(LADDER[0])).await;
    let again = next(&mut subscription).await;
    assert_retried(&again, "m", 1);
    settle(again, retry(LADDER[0])).await;
    let again = next(&mut subscription).await;
    assert_retried(&again, "m", 2);
    settle(again, Settle::Ack).await;
    drop(subscription);

    publish(&*broker, &[message("last")]).await;
    assert_eq!(drain_to(&*broker, &other_queue(), "last").await, ["m", "last"]);
    assert_eq!(drain_to(&*broker, &queue(), "last").await, ["last"]);
}

/// Between two rungs the longer one is taken, and the neighbours behind do not wait for it.
pub async fn a_retry_waits_for_the_rung_that_is_no_shorter_than_asked(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 2)).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    let first = next(&mut subscription).await;
    let begin = Instant::now();
    settle(first, retry(LADDER[0] + Duration::from_millis(1))).await;

    let neighbour = next(&mut subscription).await;
    assert_eq!(ids([&neighbour]), ["m-1"], "it does not wait for m-0");
    settle(neighbour, Settle::Ack).await;
    let again = next(&mut subscription).await;
    let waited = begin.elapsed();
    assert_retried(&again, "m-0", 1);
    assert!(waited >= LADDER[1], "it came after {waited:?}");
    settle(again, Settle::Ack).await;
}

/// Nobody waits for ever because a delay was asked for that the ladder does not have.
pub async fn a_retry_longer_than_the_ladder_waits_on_its_last_rung(harness: &dyn Harness) {
    let broker = connect(harness, &with_ladder(&LADDER[..2])).await;
    publish(&*broker, &[message("m")]).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    let delivery = next(&mut subscription).await;
    let begin = Instant::now();
    settle(delivery, retry(Duration::from_hours(1))).await;
    let again = next(&mut subscription).await;
    let waited = begin.elapsed();
    assert_retried(&again, "m", 1);
    assert!(waited >= LADDER[1], "it came after {waited:?}");
    settle(again, Settle::Ack).await;
}

/// The delay is the broker's, not the consumer's: nothing is held in a process that may die.
pub async fn a_retry_that_waits_outlives_its_connection(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &[message("m")]).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    settle(next(&mut subscription).await, retry(LADDER[1])).await;
    drop(subscription);
    harness.kill(broker).await;

    let broker = connect(harness, &topology()).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    let mut again = next(&mut subscription).await;
    if again.message().attempt() == 0 {
        // Where the connection died before the ack of the original arrived, that comes, too: twice, never not at all.
        settle(again, Settle::Ack).await;
        again = next(&mut subscription).await;
    }
    assert_retried(&again, "m", 1);
    settle(again, Settle::Ack).await;
}

/// A parked message waits for a person, who has to see what it was, why it is there and where it belongs.
pub async fn a_parked_message_keeps_its_id_and_says_why_and_whence(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 2)).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    let how = Settle::Park { reason: "no such SKU".to_owned() };
    settle(next(&mut subscription).await, how).await;
    let neighbour = next(&mut subscription).await;
    assert_eq!(neighbour.message(), &message("m-1"));
    settle(neighbour, Settle::Ack).await;

    wait_for_depth(&*broker, &queue().parked(), 1).await;
    let mut parked = subscribe(&*broker, &queue().parked(), 1).await;
    let mut expected = message("m-0");
    expected.headers.extend([
        (headers::REASON.to_owned(), "no such SKU".to_owned()),
        (headers::ORIGIN_QUEUE.to_owned(), queue().to_string()),
    ]);
    let delivery = next(&mut parked).await;
    assert_eq!(delivery.message(), &expected);
    settle(delivery, Settle::Ack).await;
    wait_for_depth(&*broker, &queue(), 0).await;
}

/// A consumer that stops says nothing about the message.
pub async fn a_requeued_message_comes_back_at_once_with_no_attempt_counted(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &[message("m")]).await;
    let mut subscription = subscribe(&*broker, &queue(), 1).await;
    settle(next(&mut subscription).await, Settle::Requeue).await;
    let again = next(&mut subscription).await;
    assert_eq!(again.message(), &message("m"));
    assert!(again.redelivered());
    settle(again, Settle::Ack).await;
}
