//! Counts per second, and the rates read from them.

use std::collections::VecDeque;

/// Counts events in one-second buckets and forgets those older than its window.
#[derive(Debug, Clone)]
pub struct Meter {
    window: usize,
    /// The second that the newest bucket counts.
    newest: u64,
    /// Oldest first; never empty, never longer than the window.
    buckets: VecDeque<u64>,
    peak: u64,
    total: u64,
}

impl Meter {
    /// A meter that remembers `window` seconds (at least 1).
    pub fn new(window: usize) -> Self {
        Self { window: window.max(1), newest: 0, buckets: VecDeque::from([0]), peak: 0, total: 0 }
    }

    /// Counts `events` in the given second. A second before the newest one (a clock that went back) counts as the
    /// newest.
    pub fn record(&mut self, second: u64, events: u64) {
        self.advance(second);
        if let Some(bucket) = self.buckets.back_mut() {
            *bucket += events;
            self.peak = self.peak.max(*bucket);
        }
        self.total += events;
    }

    /// Moves on to `second` without counting, so that silence shows as zeros.
    pub fn advance(&mut self, second: u64) {
        let steps = second.saturating_sub(self.newest);
        if steps > self.window as u64 {
            self.buckets.clear();
            self.buckets.push_back(0);
        } else {
            for _ in 0..steps {
                if self.buckets.len() == self.window {
                    self.buckets.pop_front();
                }
                self.buckets.push_back(0);
            }
        }
        self.newest = self.newest.max(second);
    }

    /// Mean events per second over the last `seconds` complete seconds (the newest one still fills up); `None` before
    /// the first is complete.
    pub fn per_second(&self, seconds: usize) -> Option<f64> {
        let complete = self.buckets.len() - 1;
        let taken = seconds.min(complete);
        if taken == 0 {
            return None;
        }
        let sum: u64 = self.buckets.iter().skip(complete - taken).take(taken).sum();
        Some(exact(sum) / exact(taken as u64))
    }

    /// The buckets, oldest first, the one that still fills up last.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
        self.buckets.iter().copied()
    }

    /// The fullest second ever.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Everything ever counted.
    pub fn total(&self) -> u64 {
        self.total
    }
}

/// A count as a float; counts above 2^53 are beyond any queue.
#[expect(clippy::cast_precision_loss, reason = "counts of messages stay far below 2^53")]
pub(crate) fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_complete_seconds_and_silence_counts_as_zero() {
        let mut meter = Meter::new(10);
        meter.record(0, 30);
        assert_eq!(meter.per_second(5), None, "the first second is not complete");
        meter.record(1, 10);
        assert_eq!(meter.per_second(5), Some(30.0));
        meter.advance(4);
        assert_eq!(meter.per_second(4), Some(10.0));
        meter.advance(1_000);
        assert_eq!(meter.buckets().sum::<u64>(), 0);
        assert_eq!((meter.peak(), meter.total()), (30, 40));
    }

    proptest! {
        #[test]
        fn the_window_is_never_exceeded_and_nothing_is_counted_twice(
            events in prop::collection::vec((0_u64..40, 0_u64..100), 0..60),
        ) {
            let mut meter = Meter::new(8);
            for (second, count) in &events {
                meter.record(*second, *count);
            }
            prop_assert!(meter.buckets().len() <= 8);
            prop_assert!(meter.buckets().sum::<u64>() <= meter.total());
            prop_assert_eq!(meter.total(), events.iter().map(|(_, count)| count).sum::<u64>());
        }
    }
}
