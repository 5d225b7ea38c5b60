//! Orders that this process accepted a short while ago.

use std::sync::Arc;
use std::time::Duration;

use broker::PublishError;
use chrono::{DateTime, Utc};
use model::{Fingerprint, OrderId};
use moka::future::Cache;

/// What is remembered of an accepted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) accepted_at: DateTime<Utc>,
}

/// An order that is durable, and whether it was so before this request.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) order: Known,
    pub(crate) replayed: bool,
}

/// Orders by id, bounded in number and age. Not required for correctness: checkout recognises a repeat by the order's
/// id, and a conflict by its fingerprint.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    orders: Cache<OrderId, Known>,
}

impl Recent {
    pub(crate) fn new(count: u64, age: Duration) -> Self {
        let orders = Cache::builder().max_capacity(count).time_to_live(age).build();
        Self { orders }
    }

    /// The order `id`, published by `publish` where it is not known yet. Requests with the same id at the same time wait
    /// for the one that publishes; where that fails, all of them do, and nothing is remembered.
    pub(crate) async fn get_or_publish(
        &self,
        id: OrderId,
        publish: impl Future<Output = Result<Known, PublishError>>,
    ) -> Result<Accepted, Arc<PublishError>> {
        let entry = self.orders.entry(id).or_try_insert_with(publish).await?;
        Ok(Accepted { replayed: !entry.is_fresh(), order: entry.into_value() })
    }
}
