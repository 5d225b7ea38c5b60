//! A broker that says nothing: it is connected, has no alarm, and confirms nothing of what was sent.
//!
//! It hangs, or the line to it does; the connection's heartbeats find out in some twenty seconds. Until then whoever publishes
//! would wait for the publish timeout, and learn that nothing is known. So once nothing was heard for
//! [`Config::silent_after_ms`] of what was sent meanwhile, no more is sent: an answer at once that says "not
//! sent" is worth more than a late one that says "unknown". Now and then one is sent nevertheless, as what was sent before may
//! never be confirmed by a broker that is well again; rarely, as it waits for the publish timeout where the broker is not.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::config::Config;

/// Publish timeouts from one that is sent nevertheless to the next.
const TIMEOUTS_APART: u64 = 2;

/// No publish awaits a word of the broker's.
const NONE: u64 = 0;

/// Since when the broker has said nothing of what it was sent.
pub(crate) struct Silence {
    after_ms: u64,
    again_ms: u64,
    began: Instant,
    /// When the first publish was sent of which, and since which, nothing was heard, ms; or [`NONE`].
    since: AtomicU64,
    /// When a publish was last let through although there was silence, ms.
    tried: AtomicU64,
}

impl Silence {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            after_ms: config.silent_after_ms.max(1),
            again_ms: config.publish_timeout_ms.saturating_mul(TIMEOUTS_APART).max(1),
            began: Instant::now(),
            since: AtomicU64::new(NONE),
            tried: AtomicU64::new(NONE),
        }
    }

    /// Something is sent that the broker will say a word of.
    pub(crate) fn sent(&self) {
        // Whoever comes second finds the time of the first.
        let _ = self.since.compare_exchange(NONE, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The broker has said a word of something, or its connection is over.
    pub(crate) fn heard(&self) {
        self.since.store(NONE, Ordering::Relaxed);
    }

    /// Whether a publish is to be sent now.
    pub(crate) fn lets_through(&self) -> bool {
        let since = self.since.load(Ordering::Relaxed);
        if since == NONE {
            return true;
        }
        let now = self.now();
        if now.saturating_sub(since) < self.after_ms {
            return true;
        }
        let tried = self.tried.load(Ordering::Relaxed);
        let due = tried.max(since).saturating_add(self.again_ms) <= now;
        due && self.tried.compare_exchange(tried, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Milliseconds since this began, and never [`NONE`].
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    async fn pass(ms: u64) {
        advance(Duration::from_millis(ms)).await;
    }

    fn silence() -> Silence {
        Silence::new(&Config { silent_after_ms: 1_000, publish_timeout_ms: 5_000, ..Config::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_nothing_hears_nothing_and_may_publish() {
        let silence = silence();
        pass(10_000).await;
        assert!(silence.lets_through());
        silence.sent();
        silence.heard();
        pass(10_000).await;
        assert!(silence.lets_through());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_word_one_is_sent_in_two_timeouts_and_after_a_word_all() {
        let silence = silence();
        silence.sent();
        pass(999).await;
        silence.sent();
        assert!(silence.lets_through());
        pass(1).await;
        assert!(!silence.lets_through());
        pass(9_000).await;
        for _each in 0..3 {
            assert!(silence.lets_through(), "one that tries");
            silence.sent();
            assert!(!silence.lets_through());
            pass(9_999).await;
            assert!(!silence.lets_through());
            pass(1).await;
        }
        silence.heard();
        assert!(silence.lets_through() && silence.lets_through());
    }
}
