//! A broker that refuses the copies of retries and parks, as one whose parked queue is full.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Delivery, Depth, Listener, Publish, PublishError, QueueName, Settle,
    SettleError, Settler, Subscription, Topology,
};
use broker_embedded::Embedded;
use bytes::Bytes;
use futures::future::BoxFuture;
use model::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use worker::Config;

use crate::site::{Site, config, eventually, once, start};

struct Refusing {
    broker: Arc<Embedded>,
    forwarders: Mutex<JoinSet<()>>,
}

struct Refuses(Delivery);

impl Settler for Refuses {
    fn settle(self: Box<Self>, _message: &Message, how: Settle) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(async move {
            match how {
                Settle::Ack | Settle::Requeue => self.0.settle(how).await,
                Settle::Retry { .. } | Settle::Park { .. } => {
                    self.0.settle(Settle::Requeue).await?;
                    Err(SettleError::Requeued("nacked".to_owned()))
                }
            }
        })
    }

    fn release(self: Box<Self>) {}
}

impl Broker for Refusing {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.broker.declare(topology)
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        self.broker.publish(batch)
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        Box::pin(async move {
            let mut inner = self.broker.subscribe(queue, prefetch).await?;
            let (sender, receiver) = mpsc::channel(prefetch.into());
            let stop = CancellationToken::new();
            let subscription = Subscription::new(receiver, stop.clone().drop_guard());
            let forward = async move {
                while let Some(Some(delivery)) = stop.run_until_cancelled(inner.next()).await {
                    let (message, redelivered) = (delivery.message().clone(), delivery.redelivered());
                    let count = delivery.delivery_count();
                    let refusing = Delivery::new(message, redelivered, count, Box::new(Refuses(delivery)));
                    if sender.send(refusing).await.is_err() {
                        return;
                    }
                }
            };
            self.forwarders.lock().unwrap().spawn(forward);
            Ok(subscription)
        })
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
        self.broker.state()
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        self.broker.info()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.broker.close()
    }
}

#[tokio::test]
async fn a_copy_that_is_refused_goes_round_slowly_and_good_messages_pass() {
    let site = Site::new().await;
    let broker = Arc::new(Refusing { broker: Arc::clone(&site.broker), forwarders: Mutex::default() });
    let config = Config { give_back_ms: 100, linger_ms: 0, ..config() };
    let running = start(broker, &site.ledger, &site.breaker, config);
    let begin = Instant::now();
    site.publish(&[("a", "garbage")]).await;
    eventually("rounds", async || running.stats.snapshot().settle_failures >= 5).await;
    assert!(begin.elapsed() >= Duration::from_millis(400), "four pauses between five refusals");
    site.publish(&[("b", "good"), ("c", "good")]).await;
    eventually("the good ones", async || site.ledger.has(2)).await;
    let stats = running.stop().await;
    assert_eq!((stats.handled, stats.parked, stats.dropped), (2, 0, 0));
    assert_eq!(site.ledger.effects(), once(["b", "c"]));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_pause_after_a_refusal() {
    let site = Site::new().await;
    let broker = Arc::new(Refusing { broker: Arc::clone(&site.broker), forwarders: Mutex::default() });
    let config = Config { give_back_ms: 3_600_000, linger_ms: 0, ..config() };
    let running = start(broker, &site.ledger, &site.breaker, config);
    site.publish(&[("a", "garbage")]).await;
    eventually("a refusal", async || running.stats.snapshot().settle_failures == 1).await;
    running.stop().await;
}
