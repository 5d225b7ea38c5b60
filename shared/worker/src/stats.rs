//! What a worker has done so far, for dashboards and tests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::meters::Meters;

macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {
        /// Counters of one worker since it was made. Reading is cheap; counts of different names are not of one moment.
        #[derive(Debug, Default)]
        pub struct Stats {
            $(pub(crate) $name: Counter,)+
            /// Set by a worker that is measured.
            pub(crate) meters: OnceLock<Meters>,
            /// One more than the age of the oldest message taken since it was last asked for, ms; 0: none was.
            pub(crate) oldest: AtomicU64,
        }

        /// [`Stats`] at one time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
        pub struct StatsSnapshot {
            $($(#[$meta])* pub $name: u64,)+
        }

        impl Stats {
            /// The counts now.
            pub fn snapshot(&self) -> StatsSnapshot {
                StatsSnapshot { $($name: self.$name.get(),)+ }
            }
        }
    };
}

counters! {
    /// Messages taken from the broker.
    taken,
    /// Of those, handed out before without a settlement.
    redelivered,
    /// Messages acked: their effect is committed.
    handled,
    /// Messages sent to the retry ladder.
    retried,
    /// Messages parked.
    parked,
    /// Messages put back as they were, by a stop or by a long outage.
    requeued,
    /// Deliveries dropped without a settlement, by a hard stop; they are back in the queue.
    dropped,
    /// Settlements that did not reach the broker; those messages come again.
    settle_failures,
    /// Calls of the handler.
    batches,
    /// Messages in those calls; divided by `batches` it is the mean batch size.
    batch_messages,
    /// Calls that failed and were split in two.
    bisections,
    /// Calls that panicked.
    panics,
    /// Calls that were given up on after their timeout.
    hangs,
    /// Calls that met a lock.
    contentions,
    /// Calls that met infrastructure, each of which opens the breaker or keeps it open.
    infrastructure,
    /// Messages that can't be read.
    malformed,
    /// Deliveries of a type or version that this build does not know.
    unknown,
    /// Messages handled apart from others because they had been redelivered too often.
    apart,
}

impl StatsSnapshot {
    /// Messages taken and not settled yet. The counters are not read at one moment: it may be off by those of the
    /// meantime, but never below zero.
    pub fn in_hand(&self) -> u64 {
        let settled = self.handled + self.retried + self.parked + self.requeued + self.settle_failures + self.dropped;
        self.taken.saturating_sub(settled)
    }
}

impl Stats {
    /// A message that was published so long ago was just taken for the first time.
    pub(crate) fn note_age(&self, age: Duration) {
        let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX - 1);
        self.oldest.fetch_max(ms + 1, Ordering::Relaxed);
    }

    /// The age of the oldest since the last call, ms.
    pub(crate) fn take_oldest_ms(&self) -> Option<u64> {
        self.oldest.swap(0, Ordering::Relaxed).checked_sub(1)
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
