//! What is done to the shop's queues and messages by hand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use broker::{Broker as _, BrokerError, ExchangeName, Publish, QueueName, Settle, layout};
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

    /// Messages that wait in the queues that have to be empty at the end; `None` while the broker does not say.
    pub async fn backlog(&self) -> Option<u64> {
        let queues = [
            Self::checkout_queue(),
            layout::analytics_orders_queue(),
            layout::analytics_pages_queue(),
            layout::invalidation_queue(),
        ];
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

    /// Unbinds checkout's queue: orders wait unrouted.
    pub(crate) async fn unbind_checkout(&self) -> Result<()> {
        let (exchange, key) = (layout::orders_exchange(), layout::order_placed_key(&Self::region()));
        self.look.unbind(exchange.as_str(), Self::checkout_queue().as_str(), &key).await
    }

    /// Deletes a queue.
    pub(crate) async fn delete_queue(&self, queue: &QueueName) -> Result<()> {
        self.look.delete_queue(queue.as_str()).await
    }

    /// Waits until a queue and its ladder hold nothing, unsettled deliveries included.
    pub(crate) async fn until_empty(&self, queue: &QueueName, patience: Duration) -> Result<()> {
        let (begun, mut look) = (Instant::now(), interval(PUBLISH_EVERY));
        let mut empty = 0;
        // Twice in a row: an order may be on its way from one to the other.
        while empty < 2 {
            look.tick().await;
            anyhow::ensure!(begun.elapsed() < patience, "{queue} did not get empty");
            let listed =
                self.servers.rabbitmqctl(&["-q", "list_queues", "name", "messages", "--no-table-headers"]).await?;
            // What no release knows yet waits on the last rung for ever.
            let last = queue.retry(Duration::from_mins(10));
            let holds = listed.lines().filter_map(|line| line.split_once('\t')).any(|(name, messages)| {
                let ladder = name.strip_prefix(queue.as_str()).is_some_and(|rest| rest.starts_with(".retry"));
                (name == queue.as_str() || (ladder && name != last.as_str())) && messages.trim() != "0"
            });
            empty = if holds { 0 } else { empty + 1 };
        }
        Ok(())
    }

    /// Declares what Millpond declares, and brings home what was unrouted or on its way through a duplicator.
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
        self.drain(&QueueName::new(DUPLICATES)).await?;
        self.drain(&QueueName::unrouted()).await
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

    /// From now on every order goes through the harness's own queue, and two to five times from there to checkout, until
    /// `stop`. What the harness did not come to pass on is brought home by [`Self::restore_topology`].
    pub(crate) async fn duplicate(&self, dice: u64, passed_on: &AtomicU64, stop: CancellationToken) -> Result<()> {
        let (exchange, key) = (layout::orders_exchange(), layout::order_placed_key(&Self::region()));
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(dice);
        let queue = QueueName::new(DUPLICATES);
        self.look.declare_queue(DUPLICATES).await?;
        self.look.bind(exchange.as_str(), DUPLICATES, &key).await?;
        let mut orders = self.broker.subscribe(&queue, PREFETCH).await?;
        self.unbind_checkout().await?;
        while let Some(Some(first)) = stop.run_until_cancelled(orders.next()).await {
            let mut handful = vec![first];
            while handful.len() < HANDFUL
                && let Ok(Some(next)) = timeout(LINGER, orders.next()).await
            {
                handful.push(next);
            }
            let mut copies: Vec<Publish> = Vec::new();
            for order in &handful {
                let copy = Publish {
                    exchange: ExchangeName::new(""),
                    routing_key: Self::checkout_queue().as_str().to_owned(),
                    message: order.message().clone(),
                };
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
        Ok(())
    }
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
