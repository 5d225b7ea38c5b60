//! From single deliveries to batches: as many as there are up to a limit, or what has come within a few milliseconds.

use std::sync::Arc;
use std::time::Duration;

use broker::{Delivery, Settle, SettleError, Subscription};
use model::Message;
use tokio::time::{Instant, timeout_at};

use crate::config::Config;
use crate::crash::Record;
use crate::stats::Stats;

/// A delivery in this worker's hands. Dropped unsettled it goes back to the queue and is counted.
#[derive(Debug)]
pub(crate) struct Taken {
    delivery: Delivery,
    count_drop: CountDrop,
}

#[derive(Debug)]
struct CountDrop {
    stats: Arc<Stats>,
    settled: bool,
}

impl Taken {
    fn new(delivery: Delivery, stats: &Arc<Stats>) -> Self {
        stats.taken.one();
        if delivery.redelivered() {
            stats.redelivered.one();
        }
        Self { delivery, count_drop: CountDrop { stats: Arc::clone(stats), settled: false } }
    }

    pub(crate) fn message(&self) -> &Message {
        self.delivery.message()
    }

    pub(crate) fn redelivered(&self) -> bool {
        self.delivery.redelivered()
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let message = self.message();
        Record { id: &message.id, redeliveries: self.delivery.delivery_count(), suspicion: message.suspicion() }
    }

    pub(crate) async fn settle(mut self, how: Settle) -> Result<(), SettleError> {
        let settled = self.delivery.settle(how).await;
        // Only now: a settlement that a hard stop cuts off is a drop.
        self.count_drop.settled = true;
        settled
    }
}

impl Drop for CountDrop {
    fn drop(&mut self) {
        if !self.settled {
            self.stats.dropped.one();
        }
    }
}

/// What [`Intake::fill`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// There is a batch to take.
    Batch,
    /// The subscription ended, and there is nothing more to take.
    Ended,
}

/// Gathers the next batch of a subscription.
pub(crate) struct Intake {
    subscription: Subscription,
    stats: Arc<Stats>,
    messages: usize,
    bytes: usize,
    linger: Duration,
    gathered: Vec<Taken>,
    gathered_bytes: usize,
    /// Set by the first delivery of a batch.
    due: Option<Instant>,
}

impl Intake {
    pub(crate) fn new(subscription: Subscription, config: &Config, stats: &Arc<Stats>) -> Self {
        Self {
            subscription,
            stats: Arc::clone(stats),
            messages: config.batch,
            bytes: config.batch_bytes,
            linger: config.linger(),
            gathered: Vec::new(),
            gathered_bytes: 0,
            due: None,
        }
    }

    /// Waits until there is a batch, of `most` messages at most. Cancel-safe: what it has gathered stays here, and so does
    /// the deadline.
    pub(crate) async fn fill(&mut self, most: usize) -> Filled {
        let messages = self.messages.min(most);
        while self.gathered.len() < messages && (self.gathered.is_empty() || self.gathered_bytes < self.bytes) {
            let next = match (self.subscription.try_next(), self.due) {
                (Some(delivery), _) => Some(delivery),
                (None, None) => self.subscription.next().await,
                (None, Some(due)) => match timeout_at(due, self.subscription.next()).await {
                    Ok(next) => next,
                    Err(_elapsed) => return Filled::Batch,
                },
            };
            match next {
                Some(delivery) => self.add(delivery),
                None if self.gathered.is_empty() => return Filled::Ended,
                None => return Filled::Batch,
            }
        }
        Filled::Batch
    }

    fn add(&mut self, delivery: Delivery) {
        self.due.get_or_insert_with(|| Instant::now() + self.linger);
        self.gathered_bytes += delivery.message().body.len();
        self.gathered.push(Taken::new(delivery, &self.stats));
    }

    /// What was gathered; the next batch begins.
    pub(crate) fn take(&mut self) -> Vec<Taken> {
        self.due = None;
        self.gathered_bytes = 0;
        std::mem::take(&mut self.gathered)
    }

    /// Stops consuming.
    pub(crate) fn close(mut self) -> Closed {
        let gathered = self.take();
        let ahead = std::iter::from_fn(|| self.subscription.try_next());
        let ahead = ahead.map(|delivery| Taken::new(delivery, &self.stats)).collect();
        Closed { gathered, ahead }
    }
}

/// What a subscription that was closed leaves in the worker's hands.
#[derive(Debug)]
pub(crate) struct Closed {
    /// The batch that was being gathered.
    pub(crate) gathered: Vec<Taken>,
    /// What the broker had sent ahead and nobody looked at. Handed out like the rest, so giving it back is remembered:
    /// the broker counts it, and nothing else would tell it from what a crash brings back.
    pub(crate) ahead: Vec<Taken>,
}

#[cfg(test)]
mod tests {
    use broker::Settler;
    use bytes::Bytes;
    use chrono::DateTime;
    use futures::future::BoxFuture;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;

    struct Nowhere;

    impl Settler for Nowhere {
        fn settle(self: Box<Self>, _message: &Message, _how: Settle) -> BoxFuture<'_, Result<(), SettleError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn release(self: Box<Self>) {}
    }

    fn delivery(bytes: usize) -> Delivery {
        let message = Message {
            id: "m".parse().unwrap(),
            kind: "thing.happened".to_owned(),
            timestamp: DateTime::UNIX_EPOCH,
            content_type: "text/plain".to_owned(),
            headers: std::collections::BTreeMap::default(),
            transient: false,
            body: Bytes::from(vec![b'x'; bytes]),
        };
        Delivery::new(message, false, 0, Box::new(Nowhere))
    }

    fn intake(config: &Config) -> (mpsc::Sender<Delivery>, Intake, Arc<Stats>) {
        let (sender, receiver) = mpsc::channel(100);
        let stats = Arc::<Stats>::default();
        let subscription = Subscription::new(receiver, CancellationToken::new().drop_guard());
        (sender, Intake::new(subscription, config, &stats), stats)
    }

    async fn send(sender: &mpsc::Sender<Delivery>, count: usize, bytes: usize) {
        for _ in 0..count {
            sender.send(delivery(bytes)).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_linger_and_a_part_of_one_does() {
        let (sender, mut intake, _) = intake(&Config { batch: 10, linger_ms: 50, ..Config::default() });
        send(&sender, 14, 1).await;
        let start = Instant::now();
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 10));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 4));
        assert!(start.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_ends_with_the_message_that_reaches_its_bytes() {
        let (sender, mut intake, _) = intake(&Config { batch: 10, batch_bytes: 1_000, ..Config::default() });
        send(&sender, 6, 400).await;
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 3));
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn gathering_that_is_interrupted_loses_nothing_and_keeps_its_deadline() {
        let (sender, mut intake, stats) = intake(&Config { batch: 10, linger_ms: 50, ..Config::default() });
        send(&sender, 2, 1).await;
        let start = Instant::now();
        for _ in 0..4 {
            let cut_off = timeout_at(Instant::now() + Duration::from_millis(10), intake.fill(usize::MAX)).await;
            assert!(cut_off.is_err());
        }
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 2));
        assert!(start.elapsed() < Duration::from_millis(70), "the deadline did not move");
        assert_eq!(stats.snapshot().dropped, 2, "what a caller drops is counted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_is_closed_leaves_what_was_sent_ahead_to_be_given_back() {
        let (sender, mut intake, stats) = intake(&Config { batch: 10, linger_ms: 50, ..Config::default() });
        send(&sender, 15, 1).await;
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 10));
        let cut_off = timeout_at(Instant::now() + Duration::from_millis(1), intake.fill(usize::MAX)).await;
        assert!(cut_off.is_err());
        send(&sender, 3, 1).await;
        let Closed { gathered, ahead } = intake.close();
        assert_eq!((gathered.len(), ahead.len(), stats.snapshot().taken), (5, 3, 18));
        assert!(sender.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_the_end_is_a_last_batch() {
        let (sender, mut intake, _) = intake(&Config::default());
        send(&sender, 2, 1).await;
        drop(sender);
        assert_eq!((intake.fill(usize::MAX).await, intake.take().len()), (Filled::Batch, 2));
        assert_eq!(intake.fill(usize::MAX).await, Filled::Ended);
    }
}
