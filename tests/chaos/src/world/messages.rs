//! What is done to the shop's queues and messages by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use broker::{Broker as _, BrokerError, Publish, QueueName, Settle, layout};
use model::{Message, RegionName};
use tokio::time::{Instant, interval, timeout};

use super::duplicates::DUPLICATES;
use super::{HELD, World};

const PREFETCH: u16 = 100;
/// How long emptying a queue of the harness may take.
const EMPTY_WITHIN: Duration = Duration::from_mins(1);
/// How often a publish is tried again with the same id.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);
/// RabbitMQ counts what a quorum queue holds every 5 s (and what waits in it at once).
const COUNTED_WITHIN: Duration = Duration::from_secs(6);
/// How long the broker may take to say how many messages wait.
const DEPTHS_WITHIN: Duration = Duration::from_secs(2);

impl World {
    /// The region of the shop.
    pub(crate) fn region() -> RegionName {
        "main".parse().expect("lower-case letters are a region name")
    }

    /// Checkout's queue.
    pub(crate) fn checkout_queue() -> QueueName {
        layout::checkout_queue(&Self::region())
    }

    /// The region that holds units for a payment.
    fn held_region() -> RegionName {
        HELD.parse().expect("lower-case letters are a region name")
    }

    /// The queues of all consumers.
    pub(crate) fn homes() -> [QueueName; 5] {
        [
            Self::checkout_queue(),
            layout::checkout_queue(&Self::held_region()),
            layout::analytics_orders_queue(),
            layout::analytics_pages_queue(),
            layout::invalidation_queue(),
        ]
    }

    /// Messages that wait in the queues that have to be empty at the end; `None` while the broker does not say.
    pub async fn backlog(&self) -> Option<u64> {
        let homes = Self::homes();
        let parked = homes.each_ref().map(QueueName::parked);
        let queues: Vec<QueueName> = homes.into_iter().chain(parked).chain([QueueName::unrouted()]).collect();
        let depths = timeout(DEPTHS_WITHIN, self.broker.depths(&queues)).await.ok()?.ok()?;
        Some(depths.iter().map(|depth| depth.ready).sum())
    }

    /// Publishes until it is confirmed, at most for `patience`. A copy more of the same message is the same message.
    ///
    /// # Errors
    /// Where it never was.
    pub(crate) async fn publish(&self, publish: Publish, patience: Duration) -> Result<()> {
        let (begun, mut again) = (Instant::now(), interval(PUBLISH_EVERY));
        loop {
            again.tick().await;
            let outcome = self.broker.publish(vec![publish.clone()]).await.pop();
            match outcome {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) if begun.elapsed() > patience => bail!("it was not taken: {error}"),
                _ => (),
            }
        }
    }

    /// Unbinds checkout's queue: orders are unrouted.
    pub(crate) async fn unbind_checkout(&self) -> Result<()> {
        let (exchange, key) = (layout::orders_exchange(), layout::order_placed_key(&Self::region()));
        self.look.unbind(exchange.as_str(), Self::checkout_queue().as_str(), &key).await
    }

    /// Deletes a queue.
    pub(crate) async fn delete_queue(&self, queue: &QueueName) -> Result<()> {
        self.look.delete_queue(queue.as_str()).await
    }

    /// Waits until these queues and their ladders hold nothing, as far as one can see in two looks.
    pub(crate) async fn until_empty(&self, queues: &[QueueName], patience: Duration) -> Result<()> {
        self.until_empty_for(PUBLISH_EVERY, queues, patience).await
    }

    /// Waits until they hold nothing for certain, unsettled deliveries included: what is done next would lose it.
    pub(crate) async fn until_surely_empty(&self, queues: &[QueueName], patience: Duration) -> Result<()> {
        self.until_empty_for(COUNTED_WITHIN, queues, patience).await
    }

    async fn until_empty_for(&self, lasting: Duration, queues: &[QueueName], patience: Duration) -> Result<()> {
        let (begun, mut look) = (Instant::now(), interval(PUBLISH_EVERY));
        let mut empty_since = None;
        loop {
            look.tick().await;
            match self.first_held(queues).await? {
                None if empty_since.get_or_insert_with(Instant::now).elapsed() >= lasting => return Ok(()),
                None => (),
                Some((name, messages)) => {
                    empty_since = None;
                    anyhow::ensure!(begun.elapsed() < patience, "{name} did not get empty: it holds {messages}");
                }
            }
        }
    }

    /// One of these queues or of their rungs that holds something.
    async fn first_held(&self, queues: &[QueueName]) -> Result<Option<(String, u64)>> {
        let held = self.held().await?;
        let mut holds =
            held.into_iter().filter(|(name, messages)| *messages > 0 && queues.iter().any(|q| is_of(q, name)));
        if let Some(first) = holds.next() {
            return Ok(Some(first));
        }
        let ready = timeout(DEPTHS_WITHIN, self.broker.depths(queues)).await.context("the broker is away")??;
        let ready = ready.iter().zip(queues).find(|(depth, _)| depth.ready > 0);
        Ok(ready.map(|(depth, queue)| (queue.to_string(), depth.ready)))
    }

    /// What every queue held when RabbitMQ last counted, unsettled deliveries included.
    pub(crate) async fn held(&self) -> Result<BTreeMap<String, u64>> {
        let listed = self.servers.rabbitmqctl(&["-q", "list_queues", "name", "messages", "--no-table-headers"]).await?;
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        lines.map(|(name, messages)| Ok((name.to_owned(), messages.trim().parse()?))).collect()
    }

    /// Declares what Millpond declares, and lets orders go their own way again. What was on its way through a duplicator is
    /// brought home.
    ///
    /// # Errors
    /// The broker's.
    pub(crate) async fn restore_topology(&self) -> Result<()> {
        let topology = layout::orders([&Self::region(), &Self::held_region()]).merged(layout::pages());
        timeout(EMPTY_WITHIN, self.broker.declare(&topology)).await.context("the broker is away")??;
        self.divert_nothing().await?;
        self.drain(&QueueName::new(DUPLICATES)).await
    }

    /// Publishes every message of a queue to where it belongs, as an operator does.
    async fn drain(&self, queue: &QueueName) -> Result<()> {
        let begun = Instant::now();
        let mut messages = match self.broker.subscribe(queue, PREFETCH).await {
            Ok(messages) => messages,
            // Nobody has published anything unroutable yet.
            Err(BrokerError::NoSuchQueue(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        while begun.elapsed() < EMPTY_WITHIN {
            // A consumer that hears nothing for a while has seen it all, if the broker says so too.
            let Ok(Some(delivery)) = timeout(Duration::from_millis(500), messages.next()).await else {
                let depths = self.broker.depths(std::slice::from_ref(queue)).await?;
                if depths.iter().all(|depth| depth.ready == 0) {
                    return Ok(());
                }
                continue;
            };
            self.publish(home(delivery.message().clone()), EMPTY_WITHIN).await?;
            delivery.settle(Settle::Ack).await?;
        }
        bail!("{queue} did not get empty")
    }
}

/// Whether the queue of this name is `queue`, or a rung of its ladder but the last: there waits for ever what no release
/// knows yet.
fn is_of(queue: &QueueName, name: &str) -> bool {
    let ladder = name.strip_prefix(queue.as_str()).is_some_and(|rest| rest.starts_with(".retry"));
    name == queue.as_str() || (ladder && name != queue.retry(Duration::from_mins(10)).as_str())
}

/// Where a message belongs.
fn home(message: Message) -> Publish {
    let (exchange, routing_key) = match message.kind.as_str() {
        "order.placed" => (layout::orders_exchange(), layout::order_placed_key(&World::region())),
        layout::PAGE_BATCH_KEY => (layout::pages_exchange(), message.kind.clone()),
        _ => (layout::facts_exchange(), message.kind.clone()),
    };
    Publish { exchange, routing_key, message }
}
