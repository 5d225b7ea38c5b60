//! What is done to the shop's queues and messages by hand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use broker::{Broker as _, BrokerError, Publish, QueueName, Settle, Subscription, layout};
use model::{Message, RegionName};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::World;

/// Takes every order on its way to checkout while a fault duplicates them.
const DUPLICATES: &str = "chaos.duplicates";
const PREFETCH: u16 = 100;
/// Orders that are shuffled with each other.
const HANDFUL: usize = 40;
/// How long a handful waits for its next.
const LINGER: Duration = Duration::from_millis(50);
/// How long emptying a queue of the harness may take.
const EMPTY_WITHIN: Duration = Duration::from_mins(1);
/// How often a publish is tried again with the same id.
const PUBLISH_EVERY: Duration = Duration::from_millis(500);

impl World {
    /// The region of the shop.
    pub(crate) fn region() -> RegionName {
        "main".parse().expect("lower-case letters are a region name")
    }

    /// Checkout's queue.
    pub(crate) fn checkout_queue() -> QueueName {
        layout::checkout_queue(&Self::region())
    }

    /// The queues of all consumers.
    pub(crate) fn homes() -> [QueueName; 4] {
        [
            Self::checkout_queue(),
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
        let depths = timeout(Duration::from_secs(2), self.broker.depths(&queues)).await.ok()?.ok()?;
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

    /// Waits until these queues and their ladders hold nothing, unsettled deliveries included.
    pub(crate) async fn until_empty(&self, queues: &[QueueName], patience: Duration) -> Result<()> {
        let (begun, mut look) = (Instant::now(), interval(PUBLISH_EVERY));
        let mut empty = 0;
        // Twice in a row: an order may be on its way from one to the other.
        while empty < 2 {
            look.tick().await;
            let held = self.held().await?;
            let mut holds =
                held.iter().filter(|(name, messages)| **messages > 0 && queues.iter().any(|q| is_of(q, name)));
            let first = holds.next();
            empty = if first.is_some() { 0 } else { empty + 1 };
            if let Some((name, messages)) = first {
                anyhow::ensure!(begun.elapsed() < patience, "{name} did not get empty: it holds {messages}");
            }
        }
        Ok(())
    }

    /// What every queue holds at this moment, unsettled deliveries included.
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
        let region = Self::region();
        let topology = layout::orders([&region]).merged(layout::pages());
        timeout(EMPTY_WITHIN, self.broker.declare(&topology)).await.context("the broker is away")??;
        let (exchange, key) = (layout::orders_exchange(), layout::order_placed_key(&region));
        self.look.declare_queue(DUPLICATES).await?;
        self.look.unbind(exchange.as_str(), DUPLICATES, &key).await?;
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

    /// From now on every order comes to the harness, and to nobody else. Tries it for `patience`.
    ///
    /// # Errors
    /// Where the broker was not there for so long.
    pub(crate) async fn divert_orders(&self, patience: Duration) -> Result<Subscription> {
        let (begun, mut again) = (Instant::now(), interval(PUBLISH_EVERY));
        loop {
            again.tick().await;
            match timeout(patience, self.try_to_divert()).await.context("the broker is away").flatten() {
                Err(error) if begun.elapsed() > patience => return Err(error),
                Err(_) => (),
                diverted => return diverted,
            }
        }
    }

    async fn try_to_divert(&self) -> Result<Subscription> {
        let (exchange, key) = (layout::orders_exchange(), layout::order_placed_key(&Self::region()));
        self.look.declare_queue(DUPLICATES).await?;
        self.look.bind(exchange.as_str(), DUPLICATES, &key).await?;
        let orders = self.broker.subscribe(&QueueName::new(DUPLICATES), PREFETCH).await?;
        self.unbind_checkout().await?;
        Ok(orders)
    }

    /// Passes every order on two to five times, until `stop`. What it did not come to pass on is brought home by
    /// [`Self::restore_topology`].
    pub(crate) async fn duplicate(
        &self,
        mut orders: Subscription,
        dice: u64,
        passed_on: &AtomicU64,
        stop: CancellationToken,
    ) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(dice);
        while let Some(Some(first)) = stop.run_until_cancelled(orders.next()).await {
            let mut handful = vec![first];
            while handful.len() < HANDFUL
                && let Ok(Some(next)) = timeout(LINGER, orders.next()).await
            {
                handful.push(next);
            }
            let mut copies: Vec<Publish> = Vec::new();
            for order in &handful {
                let copy = Publish::to_queue(&Self::checkout_queue(), order.message().clone());
                copies.extend(vec![copy; rng.random_range(2..=5)]);
            }
            copies.shuffle(&mut rng);
            let sent = copies.len() as u64;
            let passed = self.broker.publish(copies).await.into_iter().all(|outcome| outcome.is_ok());
            passed_on.fetch_add(if passed { sent } else { 0 }, Ordering::Relaxed);
            for order in handful {
                // One that is not settled comes again, and then so do its copies: that is what this is about.
                let _ = order.settle(if passed { Settle::Ack } else { Settle::Requeue }).await;
            }
        }
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
