//! A token bucket that may owe: work is paid for before it is done by an estimate, and settled afterwards.

use std::time::Duration;

/// Tokens that come in at a rate and are kept up to a limit. Times are since a start that the caller chose, and a time
/// before an earlier one counts as that.
#[derive(Debug, Clone)]
pub struct Bucket {
    per_s: f64,
    limit: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// An empty bucket that nothing flows into.
    pub fn new(at: Duration) -> Self {
        Self { per_s: 0.0, limit: 0.0, level: 0.0, at }
    }

    /// From now on `per_s` tokens per second come in, and at most `limit` are kept. What came in until now stays, but
    /// for what is above the limit; so do debts.
    pub fn set(&mut self, per_s: f64, limit: f64, at: Duration) {
        self.advance(at);
        self.per_s = per_s.max(0.0);
        self.limit = limit.max(0.0);
        self.level = self.level.min(self.limit);
    }

    /// Tokens that come in per second.
    pub fn per_s(&self) -> f64 {
        self.per_s
    }

    /// What there is; below zero it is owed.
    pub fn level(&mut self, at: Duration) -> f64 {
        self.advance(at);
        self.level
    }

    /// Takes `tokens` whether they are there or not.
    pub fn spend(&mut self, tokens: f64, at: Duration) {
        self.advance(at);
        self.level -= tokens.max(0.0);
    }

    /// Gives `tokens` back that were taken and not used.
    pub fn give_back(&mut self, tokens: f64, at: Duration) {
        self.advance(at);
        self.level = (self.level + tokens.max(0.0)).min(self.limit);
    }

    /// How long until `tokens` are there (or as many as are ever kept); `None` where nothing comes in.
    pub fn wait(&mut self, tokens: f64, at: Duration) -> Option<Duration> {
        self.advance(at);
        let missing = tokens.min(self.limit) - self.level;
        if self.per_s <= 0.0 {
            return None;
        }
        if missing <= 0.0 {
            return Some(Duration::ZERO);
        }
        // A debt beyond all measure waits for the next change of the rate.
        Duration::try_from_secs_f64(missing / self.per_s).ok()
    }

    fn advance(&mut self, at: Duration) {
        let seconds = at.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(at);
        self.level = (self.level + self.per_s * seconds).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn silence_is_saved_up_to_the_limit_and_debts_are_paid_by_waiting() {
        let mut bucket = Bucket::new(ms(0));
        bucket.set(100.0, 5.0, ms(0));
        assert!((bucket.level(ms(10_000)) - 5.0).abs() < 1e-9);
        bucket.spend(15.0, ms(10_000));
        let wait = bucket.wait(4.0, ms(10_000)).unwrap();
        assert!(wait.abs_diff(ms(140)) < Duration::from_micros(1), "{wait:?}");
        bucket.give_back(7.0, ms(10_000));
        let wait = bucket.wait(4.0, ms(10_000)).unwrap();
        assert!(wait.abs_diff(ms(70)) < Duration::from_micros(1), "{wait:?}");
    }

    #[test]
    fn an_empty_rate_never_comes_to_anything() {
        let mut bucket = Bucket::new(ms(0));
        bucket.set(0.0, 5.0, ms(0));
        assert_eq!(bucket.wait(1.0, ms(60_000)), None);
    }

    proptest! {
        /// The promise of a token bucket: in any stretch of time no more than the limit and the rate together, whoever
        /// asks how often; only debts (a batch that was dearer than estimated) go beyond, and are paid back.
        #[test]
        fn what_is_spent_stays_below_the_limit_and_the_rate_together(
            steps in prop::collection::vec((0_u64..200, 1_u32..50), 1..200), per_s in 1_u32..1_000, limit in 1_u32..100,
        ) {
            let (per_s, limit) = (f64::from(per_s), f64::from(limit));
            let mut bucket = Bucket::new(ms(0));
            bucket.set(per_s, limit, ms(0));
            let (mut at, mut spent) = (0_u64, 0.0);
            for (pause, tokens) in steps {
                at += pause;
                let tokens = f64::from(tokens);
                if bucket.level(ms(at)) >= tokens {
                    bucket.spend(tokens, ms(at));
                    spent += tokens;
                }
                prop_assert!(spent <= limit + per_s * ms(at).as_secs_f64() + 1e-6);
            }
        }

        #[test]
        fn after_the_wait_the_tokens_are_there(debt in 0_u32..1_000, per_s in 1_u32..1_000, wanted in 1_u32..50) {
            let mut bucket = Bucket::new(ms(0));
            bucket.set(f64::from(per_s), 50.0, ms(0));
            bucket.spend(f64::from(debt), ms(0));
            let wait = bucket.wait(f64::from(wanted), ms(0)).unwrap();
            prop_assert!(bucket.level(wait) >= f64::from(wanted) - 1e-3);
        }
    }
}
