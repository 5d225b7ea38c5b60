//! The mean size of what was published.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that the mean looks back on: at so many, both sums are halved, and what is old fades.
const MESSAGES: u64 = 10_000;

/// Sums of what was published. What waits in a queue is what was published last, so its mean size is about theirs; each
/// message weighs as much as any other, so that a handful of large ones says nothing of thousands that are small.
#[derive(Debug, Default)]
pub(crate) struct Mean {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Mean {
    /// A message of so many bytes was published.
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        // One alone finds the last place taken, so one alone halves.
        if self.messages.fetch_add(1, Ordering::Relaxed) + 1 == MESSAGES {
            self.bytes.fetch_sub(self.bytes.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            self.messages.fetch_sub(MESSAGES / 2, Ordering::Relaxed);
        }
    }

    /// Bytes of a message; none where nothing was published. It is an estimate: others may publish as it is read.
    pub(crate) fn bytes(&self) -> Option<u64> {
        self.bytes.load(Ordering::Relaxed).checked_div(self.messages.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OverloadConfig;

    #[test]
    fn a_burst_of_a_few_large_messages_among_many_small_ones_shuts_nothing() {
        let mean = Mean::default();
        assert_eq!(mean.bytes(), None);
        (0..9_000).for_each(|_| mean.add(1_000));
        (0..20).for_each(|_| mean.add(500_000));
        let waiting = 9_020 * mean.bytes().unwrap();
        assert!((18_000_000..=19_000_000).contains(&waiting), "{waiting}");
        assert!(waiting < OverloadConfig::default().events.waiting_bytes);
    }

    #[test]
    fn what_is_old_fades() {
        let mean = Mean::default();
        (0..MESSAGES).for_each(|_| mean.add(100_000));
        assert_eq!(mean.bytes(), Some(100_000));
        (0..MESSAGES * 10).for_each(|_| mean.add(1_000));
        assert!(mean.bytes().unwrap() < 1_100, "{mean:?}");
    }
}
