//! The unsettled deliveries of one channel, and the task that tells the broker about those that are settled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::low_water::{Frames, LowWater};

/// What went wrong quietly, over the life of a [`crate::Rabbit`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Deliveries dropped unsettled.
    pub(crate) dropped: AtomicU64,
    /// Settlements that were accepted from their caller and then did not reach the broker.
    pub(crate) lost_settlements: AtomicU64,
}

pub(crate) struct Window {
    channel: Channel,
    water: Mutex<LowWater>,
    /// Held while frames are chosen and written: a flush that awaits its nacks would else send its multiple ack after
    /// that of a later one, and name a tag that the broker no longer knows, which closes the channel.
    sending: tokio::sync::Mutex<()>,
    /// Something was settled.
    settled: Notify,
    /// Nothing more can be settled.
    gone: CancellationToken,
    /// Dropped unsettled since the last flush; told once for all of them.
    forgotten: AtomicU64,
    counters: Arc<Counters>,
}

impl Window {
    pub(crate) fn new(channel: Channel, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            channel,
            water: Mutex::default(),
            sending: tokio::sync::Mutex::default(),
            settled: Notify::new(),
            gone: CancellationToken::new(),
            forgotten: AtomicU64::new(0),
            counters,
        })
    }

    pub(crate) fn deliver(&self, tag: u64) {
        self.water().deliver(tag);
    }

    /// `false` where the channel is gone; the broker delivers the message again.
    pub(crate) fn ack(&self, tag: u64) -> bool {
        self.settle(|water| water.ack(tag))
    }

    /// `false` where the channel is gone; the message is back in its queue anyway.
    pub(crate) fn nack(&self, tag: u64) -> bool {
        self.settle(|water| water.nack(tag))
    }

    /// As [`Window::nack`], for a delivery that its consumer forgot.
    pub(crate) fn release(&self, tag: u64) {
        if self.nack(tag) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn settle(&self, how: impl FnOnce(&mut LowWater)) -> bool {
        let mut water = self.water();
        if self.gone.is_cancelled() {
            return false;
        }
        how(&mut water);
        drop(water);
        self.settled.notify_one();
        true
    }

    /// From now on nothing is settled here.
    pub(crate) fn end(&self) {
        let _held = self.water();
        self.gone.cancel();
    }

    /// Resolves once every delivery is settled and told, or the window has ended. [`Window::keep_flushing`] has been
    /// stopped: one of the two hears of a settlement.
    pub(crate) async fn drained(&self) {
        // What was settled since then, by somebody whom nobody heard.
        self.flush().await;
        while !self.gone.is_cancelled() && self.water().unsettled() > 0 {
            let one_more = self.settled.notified();
            tokio::select! {
                () = one_more => self.flush().await,
                () = self.gone.cancelled() => return,
            }
        }
        self.flush().await;
    }

    /// Tells the broker what is settled, until `stop` or the end of the window. What is settled while frames are being
    /// written, or in the same turn of the scheduler, goes together.
    ///
    /// Nothing that is settled after `stop` is told here: a dropped subscription pulls it before it puts back what it had
    /// buffered, and that goes back once the broker knows of the cancel. Else it would be handed out again at once, and
    /// come back behind its neighbours.
    pub(crate) async fn keep_flushing(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = self.gone.cancelled() => return,
                () = stop.cancelled() => return,
                () = self.settled.notified() => {}
            }
            tokio::task::yield_now().await;
            let in_order = self.sending.lock().await;
            let frames = {
                let mut water = self.water();
                // Under the lock that settling takes: what is there now was settled before the stop.
                if stop.is_cancelled() {
                    return;
                }
                water.take()
            };
            self.tell(frames).await;
            drop(in_order);
        }
    }

    pub(crate) async fn flush(&self) {
        let _in_order = self.sending.lock().await;
        let frames = self.water().take();
        self.tell(frames).await;
    }

    async fn tell(&self, frames: Frames) {
        let settlements = frames.nacks.len() + frames.acks.len() + usize::from(frames.up_to.is_some());
        if settlements == 0 {
            return;
        }
        let forgotten = self.forgotten.swap(0, Ordering::Relaxed);
        if forgotten > 0 {
            tracing::warn!(forgotten, "{forgotten} deliveries were dropped unsettled; they go back to their queue");
        }
        if let Err(error) = self.send(frames).await {
            // The channel is gone: the broker delivers again, and effects are unique where they are stored.
            self.end();
            self.counters.lost_settlements.fetch_add(settlements as u64, Ordering::Relaxed);
            tracing::debug!(%error, settlements, "settlements did not reach the broker; it will deliver again");
        }
    }

    async fn send(&self, frames: Frames) -> lapin::Result<()> {
        let Frames { nacks, acks, up_to } = frames;
        // Requeue: without it a nack is a dead letter.
        let requeue = BasicNackOptions { requeue: true, multiple: false };
        let sent = join_all(nacks.into_iter().map(|tag| self.channel.basic_nack(tag, requeue))).await;
        sent.into_iter().collect::<lapin::Result<()>>()?;
        let single = BasicAckOptions { multiple: false };
        let sent = join_all(acks.into_iter().map(|tag| self.channel.basic_ack(tag, single))).await;
        sent.into_iter().collect::<lapin::Result<()>>()?;
        match up_to {
            Some(tag) => self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await,
            None => Ok(()),
        }
    }

    fn water(&self) -> MutexGuard<'_, LowWater> {
        self.water.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
