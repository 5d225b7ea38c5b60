//! Retries, and what becomes of them while the broker takes no publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use broker_embedded::Embedded;
use bytes::Bytes;
use futures::future::BoxFuture;
use worker::Config;

use crate::site::{Site, config, eventually, once, queue, start};

#[tokio::test]
async fn a_message_whose_time_has_not_come_is_retried_and_succeeds_with_its_attempt_counted() {
    let site = Site::new().await;
    site.publish(&[("a", "fails once"), ("b", "good")]).await;
    let running = site.work(config());
    eventually("handling", async || running.stats.snapshot().handled == 2).await;
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(["a", "b"]));
    assert_eq!((stats.retried, stats.parked), (1, 0));
    let attempts: Vec<_> = site.ledger.calls().into_iter().flatten().filter(|(id, _)| id.as_str() == "a").collect();
    assert_eq!(attempts.last().map(|(_, attempt)| *attempt), Some(1));
}

#[tokio::test]
async fn a_verdict_of_later_is_counted_and_parked_at_the_limit() {
    let site = Site::new().await;
    site.publish(&[("a", "later")]).await;
    let running = site.work(Config { park_after_attempts: 3, ..config() });
    let parked = site.parked(1).await;
    running.stop().await;
    assert_eq!(parked["a"], "failed 3 times, at last later: its product is not there yet");
}

/// The embedded broker with an alarm that can be raised: a full disk is not to be had in every place where tests run.
struct UnderAlarm {
    broker: Arc<Embedded>,
    alarm: AtomicBool,
}

impl Broker for UnderAlarm {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.declare(topology)
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        if self.state() == BrokerState::Blocked {
            let refused = batch.iter().map(|_| Err(PublishError::Blocked("disk".to_owned()))).collect();
            return Box::pin(async { refused });
        }
        self.broker.publish(batch)
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        self.broker.subscribe(queue, prefetch)
    }

    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        self.broker.depths(queues)
    }

    fn announce(&self, topic: &str, payload: Bytes) {
        self.broker.announce(topic, payload);
    }

    fn listen(&self, topic: &str) -> Listener {
        self.broker.listen(topic)
    }

    fn state(&self) -> BrokerState {
        if self.alarm.load(Ordering::SeqCst) { BrokerState::Blocked } else { self.broker.state() }
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        self.broker.info()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.broker.close()
    }
}

fn under_alarm(site: &Site) -> Arc<UnderAlarm> {
    Arc::new(UnderAlarm { broker: Arc::clone(&site.broker), alarm: AtomicBool::new(true) })
}

#[tokio::test]
async fn while_the_broker_is_under_alarm_retries_are_held_and_good_messages_pass() {
    let site = Site::new().await;
    let broker = under_alarm(&site);
    let running = start(broker.clone(), &site.ledger, &site.breaker, Config { held_poll_ms: 5, ..config() });
    site.publish(&[("a", "fails once"), ("b", "garbage"), ("c", "good")]).await;
    eventually("c", async || site.ledger.has(1)).await;
    site.publish(&[("d", "good")]).await;
    eventually("d", async || site.ledger.has(2)).await;
    let stats = running.stats.snapshot();
    assert_eq!((stats.handled, stats.retried, stats.parked, stats.requeued), (2, 0, 0, 0));
    assert_eq!(site.ready(&queue().name).await, 0, "held, not sent round");

    broker.alarm.store(false, Ordering::SeqCst);
    assert_eq!(site.parked(1).await["b"], "malformed: expected a thing");
    eventually("a", async || site.ledger.has(3)).await;
    assert_eq!(running.stop().await.retried, 1);
}

#[tokio::test]
async fn retries_under_an_alarm_can_not_fill_the_window() {
    let site = Site::new().await;
    let broker = under_alarm(&site);
    let config = Config { prefetch: 16, batch: 4, held_poll_ms: 5, give_back_ms: 50, ..config() };
    let running = start(broker.clone(), &site.ledger, &site.breaker, config);
    let late: Vec<String> = (0..12).map(|number| format!("late{number:02}")).collect();
    site.publish(&late.iter().map(|id| (id.as_str(), "fails once")).collect::<Vec<_>>()).await;
    eventually("the surplus to go back", async || running.stats.snapshot().requeued > 20).await;
    site.publish(&[("good", "good")]).await;
    eventually("the good one", async || site.ledger.has(1)).await;
    let stats = running.stats.snapshot();
    assert_eq!((stats.retried, stats.apart, stats.parked), (0, 0, 0), "going back makes nobody a suspect");

    broker.alarm.store(false, Ordering::SeqCst);
    eventually("all", async || site.ledger.has(13)).await;
    running.stop().await;
    assert_eq!(site.ledger.effects(), once(late.iter().map(String::as_str).chain(["good"])));
}

#[tokio::test]
async fn a_stop_under_an_alarm_gives_back_what_was_held() {
    let site = Site::new().await;
    let broker = under_alarm(&site);
    let running = start(broker.clone(), &site.ledger, &site.breaker, config());
    site.publish(&[("a", "fails once"), ("b", "garbage")]).await;
    eventually("both to be decided", async || {
        let stats = running.stats.snapshot();
        stats.panics == 1 && stats.malformed == 1
    })
    .await;
    let stats = running.stop().await;
    assert_eq!((stats.requeued, stats.dropped), (2, 0));
    eventually("both to be back", async || site.ready(&queue().name).await == 2).await;
}

#[tokio::test]
async fn a_suspect_of_killing_processes_is_not_run_under_an_alarm_but_held_for_its_last_chance() {
    let site = Site::new().await;
    let broker = under_alarm(&site);
    site.publish(&[("suspect", "good")]).await;
    for _ in 0..2 {
        site.hand_out_and_die().await;
    }
    let config = Config { alone_after: 1, park_after_crashes: 1, held_poll_ms: 5, ..config() };
    let running = start(broker.clone(), &site.ledger, &site.breaker, config);
    site.publish(&[("neighbour", "good")]).await;
    eventually("the neighbour", async || site.ledger.has(1)).await;
    assert_eq!(site.ledger.effects(), once(["neighbour"]));
    assert_eq!(site.ready(&queue().name).await, 0, "held, not sent round");

    broker.alarm.store(false, Ordering::SeqCst);
    eventually("its last chance", async || site.ledger.has(2)).await;
    let stats = running.stop().await;
    assert_eq!((stats.apart, stats.requeued, stats.parked), (1, 1, 0));
    assert_eq!(site.ledger.effects(), once(["neighbour", "suspect"]));
}
