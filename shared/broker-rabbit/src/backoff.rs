//! The wait between two attempts: exponential, with full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    pub(crate) fn new(config: &Config) -> Self {
        let min = Duration::from_millis(config.reconnect_min_ms.max(1));
        Self { min, max: Duration::from_millis(config.reconnect_max_ms).max(min), bound: min }
    }

    /// The next wait, anything up to a bound that doubles.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = rand::random_range(Duration::ZERO..=self.bound);
        self.bound = self.bound.saturating_mul(2).min(self.max);
        wait
    }

    /// After a success that lasted. One that did not is a failure: a broker that accepts and then drops connections is
    /// not to be hammered.
    pub(crate) fn reset_after(&mut self, lasted: Duration) {
        if lasted >= self.max {
            self.bound = self.min;
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
        for bound in [100, 200, 350, 350].map(Duration::from_millis) {
            assert_eq!(backoff.bound, bound);
            assert!(backoff.next_wait() <= bound);
        }
        backoff.reset_after(Duration::from_millis(349));
        assert_eq!(backoff.bound, Duration::from_millis(350), "a connection that died at once is no success");
        backoff.reset_after(Duration::from_millis(350));
        assert_eq!(backoff.bound, Duration::from_millis(100));
    }
}
