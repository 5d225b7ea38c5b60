//! The unsettled window of a consumer: what it covers, how large it is, who else sees the queue.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use crate::conformance::Harness;
use crate::conformance::fixture::{
    KEY, ack_all, confirmed, connect, depth, ids, message, messages, next, other_queue, publish, queue, settle,
    subscribe, take, to_exchange, topology, two_queues, wait_for_depth, within,
};
use crate::{QueueName, Settle, Subscription};

/// The second batch finishes first, then the process dies with the first batch unsettled: all of the first comes
/// again. A settlement resolves without waiting for another delivery's.
pub async fn an_ack_never_covers_a_lower_delivery_that_was_not_settled(harness: &dyn Harness) {
    const BATCH: usize = 40;
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 2 * BATCH)).await;
    let mut subscription = subscribe(&*broker, &queue(), 100).await;
    let first = take(&mut subscription, BATCH).await;
    let second = take(&mut subscription, BATCH).await;
    let acks = second.into_iter().map(|delivery| delivery.settle(Settle::Ack));
    let settled = within("the second batch's acks", futures::future::join_all(acks)).await;
    assert!(settled.iter().all(Result::is_ok), "{settled:?}");
    harness.kill(broker).await;
    let unsettled: BTreeSet<String> = ids(&first).into_iter().collect();
    drop((first, subscription));

    let broker = connect(harness, &topology()).await;
    let came = super::every_confirmed_message_is_there(&*broker, &queue(), &unsettled).await;
    assert!(came.is_superset(&unsettled));
}

/// Flow control: a slow consumer holds no more than it asked for.
pub async fn prefetch_bounds_what_is_unsettled(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 10)).await;
    let mut subscription = subscribe(&*broker, &queue(), 3).await;
    let mut held = take(&mut subscription, 3).await;
    wait_for_depth(&*broker, &queue(), 7).await;
    assert!(subscription.try_next().is_none(), "three are unsettled");

    settle(held.remove(0), Settle::Ack).await;
    held.push(next(&mut subscription).await);
    wait_for_depth(&*broker, &queue(), 6).await;
    assert_eq!(ids(&held), ["m-1", "m-2", "m-3"]);
    ack_all(held).await;
}

/// Replicas of a role share its queue: every message is one consumer's alone, and none starves.
pub async fn two_consumers_share_a_queue_without_duplicates(harness: &dyn Harness) {
    const COUNT: usize = 300;
    let broker = connect(harness, &topology()).await;
    let second_broker = harness.connect().await;
    let mut one = subscribe(&*broker, &queue(), 5).await;
    let mut other = subscribe(&*second_broker, &queue(), 5).await;
    publish(&*broker, &messages("m", COUNT)).await;

    let left = Countdown::new(COUNT);
    let (by_one, by_other) =
        within("sharing the queue", async { tokio::join!(consume(&mut one, &left), consume(&mut other, &left)) }).await;
    assert!(!by_one.is_empty() && !by_other.is_empty(), "none starves");
    let distinct: BTreeSet<&String> = by_one.iter().chain(&by_other).collect();
    assert_eq!(by_one.len() + by_other.len(), COUNT, "none comes twice");
    assert_eq!(distinct.len(), COUNT, "none is missing");
}

/// Ends several consumers once they have taken so many messages together.
struct Countdown {
    left: AtomicUsize,
    done: CancellationToken,
}

impl Countdown {
    fn new(count: usize) -> Self {
        Self { left: AtomicUsize::new(count), done: CancellationToken::new() }
    }

    fn one_less(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.done.cancel();
        }
    }
}

async fn consume(subscription: &mut Subscription, left: &Countdown) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(delivery) = left.done.run_until_cancelled(subscription.next()).await {
        let delivery = delivery.expect("the subscription goes on");
        seen.extend(ids([&delivery]));
        settle(delivery, Settle::Ack).await;
        left.one_less();
    }
    seen
}

/// The numbers that operators and scalers read: ready messages and consumers, queue by queue.
pub async fn depths_count_what_waits_in_the_order_asked(harness: &dyn Harness) {
    let broker = connect(harness, &two_queues()).await;
    publish(&*broker, &messages("m", 5)).await;
    let mut subscription = subscribe(&*broker, &other_queue(), 2).await;
    let held = take(&mut subscription, 2).await;
    wait_for_depth(&*broker, &other_queue(), 3).await;
    wait_for_depth(&*broker, &queue(), 5).await;

    let asked = [other_queue(), queue(), queue().parked(), QueueName::unrouted()];
    let depths = within("depths", broker.depths(&asked)).await.expect("declared queues have a depth");
    let told: Vec<_> = depths.iter().map(|depth| (depth.queue.clone(), depth.ready, depth.consumers)).collect();
    let [a, b, c, d] = asked;
    assert_eq!(told, [(a, 3, 1), (b, 5, 0), (c, 0, 0), (d, 0, 0)]);
    ack_all(held).await;
}

/// A consumer that stops keeps what it took and gives back what it never looked at, in its old order.
pub async fn a_dropped_subscription_puts_back_what_it_had_buffered(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    publish(&*broker, &messages("m", 10)).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    let taken = take(&mut subscription, 2).await;
    wait_for_depth(&*broker, &queue(), 0).await;
    drop(subscription);

    wait_for_depth(&*broker, &queue(), 8).await;
    ack_all(taken).await;
    let mut subscription = subscribe(&*broker, &queue(), 10).await;
    let rest = take(&mut subscription, 8).await;
    let expected: Vec<String> = (2..10).map(|number| format!("m-{number}")).collect();
    assert_eq!(ids(&rest), expected, "in the order in which they were published");
    ack_all(rest).await;
    confirmed(&broker.publish(vec![to_exchange(message("last"), KEY)]).await, 1);
    let last = next(&mut subscription).await;
    assert_eq!(ids([&last]), ["last"]);
    settle(last, Settle::Ack).await;
    assert_eq!(depth(&*broker, &queue()).await.ready, 0);
}
