//! The wait between two attempts: exponential, with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Backoff {
    min_ms: u64,
    max_ms: u64,
    bound_ms: u64,
}

impl Backoff {
    pub(crate) fn new(config: &Config) -> Self {
        let min_ms = config.reconnect_min_ms.max(1);
        Self { min_ms, max_ms: config.reconnect_max_ms.max(min_ms), bound_ms: min_ms }
    }

    /// The next wait, anything up to a bound that doubles.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = rand::random_range(0..=self.bound_ms);
        self.bound_ms = self.bound_ms.saturating_mul(2).min(self.max_ms);
        Duration::from_millis(wait)
    }

    /// After a success that lasted. One that did not is a failure: a broker that accepts and then drops connections is
    /// not to be hammered.
    pub(crate) fn reset_after(&mut self, lasted: Duration) {
        if lasted >= Duration::from_millis(self.max_ms) {
            self.bound_ms = self.min_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_never_exceeds_its_bound_and_the_bound_doubles_up_to_the_maximum() {
        let config = Config { reconnect_min_ms: 100, reconnect_max_ms: 350, ..Config::default() };
        let mut backoff = Backoff::new(&config);
        for bound in [100, 200, 350, 350] {
            assert_eq!(backoff.bound_ms, bound);
            assert!(backoff.next_wait() <= Duration::from_millis(bound));
        }
        backoff.reset_after(Duration::from_millis(349));
        assert_eq!(backoff.bound_ms, 350, "a connection that died at once is no success");
        backoff.reset_after(Duration::from_millis(350));
        assert_eq!(backoff.bound_ms, 100);
    }
}
