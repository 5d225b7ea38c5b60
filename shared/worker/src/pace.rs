//! A ceiling on how many messages a worker takes per second.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When the next batch may begin. Silence is not saved up: after it one batch begins at once, and no more than that.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Time of one message; none without a ceiling.
    each: Option<Duration>,
    due: Instant,
}

impl Pace {
    pub(crate) fn new(max_per_s: u32, now: Instant) -> Self {
        Self { each: (max_per_s > 0).then(|| Duration::from_secs(1) / max_per_s), due: now }
    }

    /// Waits until the next batch may begin. Cancel-safe.
    pub(crate) async fn ready(&self) {
        if self.each.is_some() {
            sleep_until(self.due).await;
        }
    }

    /// A batch of `messages` begins.
    pub(crate) fn spend(&mut self, messages: usize, now: Instant) {
        if let Some(each) = self.each {
            self.due = self.due.max(now) + each * u32::try_from(messages).unwrap_or(u32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_holds_over_batches_and_silence_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(100, start);
        for _ in 0..3 {
            pace.ready().await;
            pace.spend(50, Instant::now());
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1), "the third batch begins when 100 messages are paid for");

        tokio::time::advance(Duration::from_mins(1)).await;
        let after_silence = Instant::now();
        for _ in 0..2 {
            pace.ready().await;
            pace.spend(50, Instant::now());
        }
        assert_eq!(after_silence.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_ceiling_nothing_waits() {
        let start = Instant::now();
        let mut pace = Pace::new(0, start);
        pace.spend(1_000_000, start);
        pace.ready().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
