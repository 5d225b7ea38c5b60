//! Committed outcomes on their way into the cache. The cache only saves the reader a query, so nothing waits for it
//! here: a queue that is full (a Redis that hangs) drops what does not fit, and the row says the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache::{Cache, OrderStatus};
use events::OrderState;
use tokio::sync::mpsc;

use crate::intake::Checked;

/// Where a batch leaves its outcomes after the commit.
#[derive(Debug, Clone)]
pub(crate) struct StatusQueue {
    sender: mpsc::Sender<Vec<OrderStatus>>,
    dropped: Arc<AtomicU64>,
}

impl StatusQueue {
    /// Leaves `statuses`; never waits.
    pub(crate) fn offer(&self, statuses: Vec<OrderStatus>) {
        let count = statuses.len() as u64;
        if self.sender.try_send(statuses).is_err() {
            let before = self.dropped.fetch_add(count, Ordering::Relaxed);
            if before == 0 {
                tracing::warn!("the status cache can't keep up: statuses are read from the database instead");
            }
        }
    }
}

/// What an order will be told as once all goes well: nobody knows that before the commit (`failpoint`).
pub(crate) fn hoped(order: &Checked<'_>) -> OrderStatus {
    let placed = order.placed();
    OrderStatus {
        order_id: placed.order_id,
        version: 1,
        fingerprint: placed.fingerprint,
        accepted_at: placed.accepted_at,
        state: OrderState::Confirmed,
    }
}

/// The queue's other end.
pub(crate) struct StatusWriter {
    cache: Arc<Cache>,
    receiver: mpsc::Receiver<Vec<OrderStatus>>,
    dropped: Arc<AtomicU64>,
}

/// A queue of `batches` batches in front of `cache`.
pub(crate) fn queue(cache: Arc<Cache>, batches: usize) -> (StatusQueue, StatusWriter) {
    let (sender, receiver) = mpsc::channel(batches.max(1));
    let dropped = Arc::<AtomicU64>::default();
    (StatusQueue { sender, dropped: Arc::clone(&dropped) }, StatusWriter { cache, receiver, dropped })
}

impl StatusWriter {
    /// Writes until the last [`StatusQueue`] is gone and the queue is empty. Every write is bounded by the cache.
    pub(crate) async fn run(mut self) {
        while let Some(statuses) = self.receiver.recv().await {
            self.cache.put_statuses(&statuses).await;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        tracing::debug!(dropped, "no more statuses for the cache");
    }
}
