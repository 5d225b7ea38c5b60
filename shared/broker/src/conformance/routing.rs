//! Where a publish goes, and that none goes nowhere.

use std::time::Duration;

use model::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::conformance::Harness;
use crate::conformance::fixture::{
    KEY, NO_KEY, confirmed, connect, drain_to, message, messages, next, other_queue, publish, queue, settle, subscribe,
    to_exchange, topology, two_queues, wait_for_depth, within,
};
use crate::{Publish, QueueName, Settle, watch_unrouted};

/// A copy for each, so that one consumer's ack is not another's loss.
pub async fn a_message_reaches_every_queue_bound_to_its_key(harness: &dyn Harness) {
    let broker = connect(harness, &two_queues()).await;
    publish(&*broker, &messages("m", 3)).await;
    for queue in [queue(), other_queue()] {
        assert_eq!(drain_to(&*broker, &queue, "m-2").await, ["m-0", "m-1", "m-2"]);
    }
}

/// A replay is one consumer's business: its neighbours on the same routing key have had the message.
pub async fn a_message_for_one_queue_reaches_that_one_alone(harness: &dyn Harness) {
    let broker = connect(harness, &two_queues()).await;
    let sent = vec![Publish::to_queue(&queue(), message("again"))];
    confirmed(&within("publishing", broker.publish(sent)).await, 1);
    publish(&*broker, &[message("last")]).await;
    assert_eq!(drain_to(&*broker, &queue(), "last").await, ["again", "last"]);
    assert_eq!(drain_to(&*broker, &other_queue(), "last").await, ["last"]);
}

/// Somebody deleted it, or never declared it: nothing is lost for that.
pub async fn a_message_for_a_queue_that_is_not_there_is_kept(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let sent = vec![Publish::to_queue(&QueueName::new("conformance.nowhere.v1"), message("lost"))];
    confirmed(&within("publishing", broker.publish(sent)).await, 1);
    assert_eq!(drain_to(&*broker, &QueueName::unrouted(), "lost").await, ["lost"]);
}

/// A missing binding is our own mistake: the message is kept, and someone hears of it.
pub async fn an_unroutable_message_is_kept_and_alarmed(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let lost = to_exchange(message("lost"), NO_KEY);
    confirmed(&within("publishing", broker.publish(vec![lost])).await, 1);

    let (alarm, mut alarmed) = watch::channel(0);
    let stop = CancellationToken::new();
    let interval = Duration::from_millis(10);
    let watching = watch_unrouted(&*broker, interval, stop.clone(), |count| {
        alarm.send_replace(count);
    });
    let waiting = async {
        alarmed.wait_for(|count| *count == 1).await.expect("the alarm's sender lives as long as the watch");
        stop.cancel();
    };
    within("the alarm", async { tokio::join!(watching, waiting) }).await;

    let mut unrouted = subscribe(&*broker, &QueueName::unrouted(), 1).await;
    let delivery = next(&mut unrouted).await;
    assert_eq!(delivery.message(), &message("lost"));
    settle(delivery, Settle::Ack).await;
    wait_for_depth(&*broker, &QueueName::unrouted(), 0).await;
}

/// In one pipelined batch every message has its own outcome and its own way.
pub async fn an_unroutable_message_is_not_attributed_to_its_neighbours(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let sent = messages("m", 60);
    let routable = |number: usize| number % 3 != 1;
    let batch = sent.iter().enumerate().map(|(number, message)| {
        let key = if routable(number) { KEY } else { NO_KEY };
        to_exchange(message.clone(), key)
    });
    let batch = batch.collect();
    confirmed(&within("publishing", broker.publish(batch)).await, sent.len());

    for (queue, wanted) in [(queue(), true), (QueueName::unrouted(), false)] {
        let expected = sent.iter().enumerate();
        let expected: Vec<Message> =
            expected.filter(|(number, _)| routable(*number) == wanted).map(|(_, message)| message.clone()).collect();
        let mut subscription = subscribe(&*broker, &queue, 5).await;
        for message in &expected {
            let delivery = next(&mut subscription).await;
            assert_eq!(delivery.message(), message, "in {queue}");
            settle(delivery, Settle::Ack).await;
        }
        wait_for_depth(&*broker, &queue, 0).await;
    }
}
