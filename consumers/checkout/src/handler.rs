//! The consumer of one region's orders.

use chrono::TimeDelta;
use events::{DecodeError, Envelope, OrderPlaced};
use model::Message;
use store::{Fault, Region};
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::batch::{self, Effect};
use crate::config::OutcomeSource;
use crate::intake::{self, Checked, Refusal};
use crate::status::{self, StatusQueue};

/// Turns placed orders into confirmed or rejected ones: see the crate's guarantees.
#[derive(Debug)]
pub(crate) struct Checkout {
    pub(crate) region: Region,
    pub(crate) source: OutcomeSource,
    pub(crate) price_grace: TimeDelta,
    pub(crate) statuses: StatusQueue,
}

impl Handler for Checkout {
    type Event = Envelope<OrderPlaced>;

    fn decode(&self, message: &Message) -> Result<Self::Event, DecodeError> {
        Envelope::from_message(message)
    }

    async fn handle(&self, batch: &[Item<Self::Event>]) -> Result<Handled, BatchError> {
        let mut verdicts = vec![Verdict::Done; batch.len()];
        let mut orders: Vec<Checked<'_>> = Vec::with_capacity(batch.len());
        let mut elsewhere = 0_u32;
        for (index, item) in batch.iter().enumerate() {
            failpoint::poison(item.event.data.reference.as_deref().unwrap_or_default());
            match intake::check(&item.event, self.region.number) {
                Ok(order) => orders.push(order),
                Err(Refusal::Elsewhere(reason)) => {
                    elsewhere += 1;
                    verdicts[index] = Verdict::Later(reason);
                }
                Err(Refusal::Never(reason)) => verdicts[index] = Verdict::Poison(reason),
            }
        }
        if elsewhere > 0 {
            tracing::error!(
                region = %self.region.name,
                region.number = %self.region.number,
                orders = elsewhere,
                "orders in this region's queue carry another region's number, and are retried for a while: compare the \
                 regions' numbers in the configuration of the ingress with those here"
            );
        }
        let effect = match self.source {
            OutcomeSource::Own => self.store(&orders).await?,
        };
        Ok(Handled { verdicts, rows: effect.rows as u64, commit: effect.commit })
    }

    async fn probe(&self) -> Result<(), String> {
        self.region.database.probe().await.map_err(|error| error.to_string())
    }
}

impl Checkout {
    async fn store(&self, orders: &[Checked<'_>]) -> Result<Effect, BatchError> {
        if orders.is_empty() {
            return Ok(Effect::default());
        }
        if failpoint::broken!(CacheBeforeCommit) {
            self.statuses.offer(orders.iter().map(status::hoped).collect());
        }
        let mut effect = batch::store(&self.region, orders, self.price_grace).await.map_err(|error| {
            match Fault::classify(&error) {
                Fault::Poison(reason) => BatchError::Poison(reason),
                Fault::Contention(reason) => BatchError::Contention(reason),
                Fault::Infrastructure(reason) => BatchError::Infrastructure(reason),
            }
        })?;
        for order in &effect.conflicts {
            tracing::warn!(
                order.id = %order,
                region = %self.region.name,
                "an idempotency key was used again for another order: the first one stands"
            );
        }
        if !effect.stored.is_empty() {
            self.statuses.offer(std::mem::take(&mut effect.stored));
        }
        Ok(effect)
    }
}
