//! Orders that this process accepted a short while ago.

use std::sync::Arc;
use std::time::Duration;

use broker::PublishError;
use chrono::{DateTime, Utc};
use model::{Fingerprint, OrderId};
use quick_cache::sync::Cache;
use tokio::time::Instant;

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
///
/// Some 180 bytes an order (measured): thirty thousand of them are a tenth of the process.
#[derive(Debug, Clone)]
pub(crate) struct Recent {
    orders: Arc<Cache<OrderId, Remembered>>,
    age: Duration,
}

#[derive(Debug, Clone)]
struct Remembered {
    order: Known,
    since: Instant,
}

impl Recent {
    pub(crate) fn new(count: u64, age: Duration) -> Self {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self { orders: Arc::new(Cache::new(count)), age }
    }

    /// The order `id`, published by `publish` where it is not known yet. Requests with the same id at the same time wait
    /// for the one that publishes; where that fails nothing is remembered, and the next of them publishes for itself.
    pub(crate) async fn get_or_publish(
        &self,
        id: OrderId,
        publish: impl Future<Output = Result<Known, PublishError>>,
    ) -> Result<Accepted, PublishError> {
        loop {
            match self.orders.get_value_or_guard_async(&id).await {
                Ok(known) if known.since.elapsed() < self.age => {
                    return Ok(Accepted { replayed: true, order: known.order });
                }
                Ok(old) => {
                    self.orders.remove_if(&id, |found| found.since == old.since);
                }
                Err(first) => {
                    let order = publish.await?;
                    // It is refused where somebody removed the place meanwhile, which only costs the memory of it.
                    let _ = first.insert(Remembered { order: order.clone(), since: Instant::now() });
                    return Ok(Accepted { replayed: false, order });
                }
            }
        }
    }
}
