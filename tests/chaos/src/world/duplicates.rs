//! Every message of a kind on its way to its consumer, handed on two to five times and in another order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use broker::{Broker as _, ExchangeName, Publish, QueueName, Settle, Subscription, layout};
use events::{Contract as _, OrderOutcomes};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::World;

/// Takes every message of a flow while a fault duplicates them.
pub(super) const DUPLICATES: &str = "chaos.duplicates";
const PREFETCH: u16 = 100;
/// Messages that are shuffled with each other.
const HANDFUL: usize = 40;
/// How long a handful waits for its next.
const LINGER: Duration = Duration::from_millis(50);
/// How often diverting is tried again.
const DIVERT_EVERY: Duration = Duration::from_millis(500);

/// Messages of a kind: what they are published to, and the queue that is bound there for them.
#[derive(Debug)]
pub(crate) struct Flow {
    exchange: ExchangeName,
    key: String,
    queue: QueueName,
}

impl Flow {
    /// Every flow that can be duplicated, by the name of its target.
    pub(crate) const NAMES: [&str; 3] = ["orders", "page events", "outcomes"];

    /// Orders, where the name is none of the others.
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "page events" => Self {
                exchange: layout::pages_exchange(),
                key: layout::PAGE_BATCH_KEY.to_owned(),
                queue: layout::analytics_pages_queue(),
            },
            "outcomes" => Self {
                exchange: layout::facts_exchange(),
                key: OrderOutcomes::KIND.to_owned(),
                queue: layout::analytics_orders_queue(),
            },
            _ => Self {
                exchange: layout::orders_exchange(),
                key: layout::order_placed_key(&World::region()),
                queue: World::checkout_queue(),
            },
        }
    }
}

impl World {
    /// From now on every message of the flow comes to the harness, and not to its consumer. Tries it for `patience`.
    ///
    /// # Errors
    /// Where the broker was not there for so long.
    pub(crate) async fn divert(&self, flow: &Flow, patience: Duration) -> Result<Subscription> {
        let (begun, mut again) = (Instant::now(), interval(DIVERT_EVERY));
        loop {
            again.tick().await;
            match timeout(patience, self.try_to_divert(flow)).await.context("the broker is away").flatten() {
                Err(error) if begun.elapsed() > patience => return Err(error),
                Err(_) => (),
                diverted => return diverted,
            }
        }
    }

    async fn try_to_divert(&self, flow: &Flow) -> Result<Subscription> {
        let Flow { exchange, key, queue } = flow;
        self.look.declare_queue(DUPLICATES).await?;
        self.look.bind(exchange.as_str(), DUPLICATES, key).await?;
        let messages = self.broker.subscribe(&QueueName::new(DUPLICATES), PREFETCH).await?;
        self.look.unbind(exchange.as_str(), queue.as_str(), key).await?;
        Ok(messages)
    }

    /// Nothing more comes to the harness; what has come is still there.
    pub(super) async fn divert_nothing(&self) -> Result<()> {
        self.look.declare_queue(DUPLICATES).await?;
        for name in Flow::NAMES {
            let Flow { exchange, key, .. } = Flow::named(name);
            self.look.unbind(exchange.as_str(), DUPLICATES, &key).await?;
        }
        Ok(())
    }

    /// Passes every message on two to five times, until `stop`. What it did not come to pass on is brought home by
    /// [`Self::restore_topology`].
    pub(crate) async fn duplicate(
        &self,
        flow: &Flow,
        mut messages: Subscription,
        dice: u64,
        passed_on: &AtomicU64,
        stop: CancellationToken,
    ) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(dice);
        while let Some(Some(first)) = stop.run_until_cancelled(messages.next()).await {
            let mut handful = vec![first];
            while handful.len() < HANDFUL
                && let Ok(Some(next)) = timeout(LINGER, messages.next()).await
            {
                handful.push(next);
            }
            let mut copies: Vec<Publish> = Vec::new();
            for message in &handful {
                let copy = Publish::to_queue(&flow.queue, message.message().clone());
                copies.extend(vec![copy; rng.random_range(2..=5)]);
            }
            copies.shuffle(&mut rng);
            let sent = copies.len() as u64;
            let passed = self.broker.publish(copies).await.into_iter().all(|outcome| outcome.is_ok());
            passed_on.fetch_add(if passed { sent } else { 0 }, Ordering::Relaxed);
            for message in handful {
                // One that is not settled comes again, and then so do its copies: that is what this is about.
                let _ = message.settle(if passed { Settle::Ack } else { Settle::Requeue }).await;
            }
        }
    }
}
