//! Every message of a flow on its way to its consumer, handed on two to five times and in another order.
//!
//! What is parked goes straight into its queue and passes no exchange, so nobody can stand in between. The parker gets its copies
//! by poison that comes several times (`fault/poison.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use broker::{Broker as _, ExchangeName, Publish, QueueName, Settle, Subscription, layout};
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

/// Messages of some kinds: where they are published and under which keys, and the queue that is bound there for them.
#[derive(Debug)]
pub(crate) struct Flow {
    exchange: ExchangeName,
    keys: Vec<String>,
    queue: QueueName,
}

impl Flow {
    /// Every flow that can be duplicated, by the name of its target: all that a consumer takes from an exchange.
    pub(crate) const NAMES: [&str; 4] = ["orders", "page events", "outcomes", "changes"];

    /// Orders, where the name is none of the others.
    pub(crate) fn named(name: &str) -> Self {
        let (exchange, keys, queue) = match name {
            "page events" => {
                (layout::pages_exchange(), vec![layout::PAGE_BATCH_KEY.to_owned()], layout::analytics_pages_queue())
            }
            "outcomes" => {
                let keys = layout::FACTS_TO_ANALYTICS.map(ToOwned::to_owned);
                (layout::facts_exchange(), keys.into(), layout::analytics_orders_queue())
            }
            "changes" => {
                let keys = layout::FACTS_TO_INVALIDATION.map(ToOwned::to_owned);
                (layout::facts_exchange(), keys.into(), layout::invalidation_queue())
            }
            _ => {
                let key = layout::order_placed_key(&World::region());
                (layout::orders_exchange(), vec![key], World::checkout_queue())
            }
        };
        Self { exchange, keys, queue }
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
        let Flow { exchange, keys, queue } = flow;
        self.look.declare_queue(DUPLICATES).await?;
        for key in keys {
            self.look.bind(exchange.as_str(), DUPLICATES, key).await?;
        }
        let messages = self.broker.subscribe(&QueueName::new(DUPLICATES), PREFETCH).await?;
        for key in keys {
            self.look.unbind(exchange.as_str(), queue.as_str(), key).await?;
        }
        Ok(messages)
    }

    /// Nothing more comes to the harness; what has come is still there.
    pub(super) async fn divert_nothing(&self) -> Result<()> {
        self.look.declare_queue(DUPLICATES).await?;
        for name in Flow::NAMES {
            let Flow { exchange, keys, .. } = Flow::named(name);
            for key in &keys {
                self.look.unbind(exchange.as_str(), DUPLICATES, key).await?;
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_that_a_consumer_is_bound_to_can_be_duplicated() {
        let topology = layout::orders([&World::region()]).merged(layout::pages());
        let declared: BTreeSet<(String, String, String)> = topology
            .bindings
            .into_iter()
            .map(|bound| (bound.exchange.to_string(), bound.routing_key, bound.queue.to_string()))
            .collect();
        let mut flowing = BTreeSet::new();
        for Flow { exchange, keys, queue } in Flow::NAMES.map(Flow::named) {
            flowing.extend(keys.into_iter().map(|key| (exchange.to_string(), key, queue.to_string())));
        }
        assert_eq!(flowing, declared);
    }
}
