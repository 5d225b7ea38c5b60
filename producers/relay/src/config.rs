//! Limits of the relay.

use std::time::Duration;

use serde::Deserialize;

/// The part `[relay]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rows claimed and published together, 1 to 10,000; not above what the broker takes in flight.
    pub batch: u32,
    /// How long to wait after a batch that was not full: the longest that a message waits while there is traffic.
    pub poll_ms: u64,
    /// How long the wait grows while nothing comes, doubling: the longest that a message waits after silence.
    pub idle_poll_ms: u64,
    /// How long a claim may take from the claim to the confirms; after it, others may publish the same rows. Above the
    /// broker's publish timeout.
    pub lease_ms: u64,
    /// The longest pause between tries while the broker or the database fails; the first is `poll_ms`.
    pub max_backoff_ms: u64,
    /// An oldest row of this age raises the alarm.
    pub alarm_age_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // A row may tell of a whole batch of orders, some 250 KiB.
            batch: 64,
            poll_ms: 100,
            idle_poll_ms: 400,
            lease_ms: 30_000,
            max_backoff_ms: 5_000,
            alarm_age_ms: 30_000,
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// Which can't, and what it must be.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=10_000).contains(&self.batch) {
            return Err("relay.batch must be 1 to 10000".to_owned());
        }
        let times = [
            ("poll_ms", self.poll_ms, 1),
            ("idle_poll_ms", self.idle_poll_ms, self.poll_ms),
            ("lease_ms", self.lease_ms, 1_000),
            ("max_backoff_ms", self.max_backoff_ms, self.poll_ms),
            ("alarm_age_ms", self.alarm_age_ms, 1),
        ];
        match times.iter().find(|(_, ms, least)| !(*least..=3_600_000).contains(ms)) {
            Some((name, _, least)) => Err(format!("relay.{name} must be {least} to 3600000, an hour")),
            None => Ok(()),
        }
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }

    pub(crate) fn idle_poll(&self) -> Duration {
        Duration::from_millis(self.idle_poll_ms)
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn max_backoff(&self) -> Duration {
        Duration::from_millis(self.max_backoff_ms)
    }

    pub(crate) fn alarm_age(&self) -> Duration {
        Duration::from_millis(self.alarm_age_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_work_and_a_wrong_setting_is_named() {
        Config::default().check().unwrap();
        let none = Config { batch: 0, ..Config::default() };
        assert!(none.check().unwrap_err().contains("relay.batch"));
        let short = Config { idle_poll_ms: 10, ..Config::default() };
        assert!(short.check().unwrap_err().contains("relay.idle_poll_ms must be 100 to"));
    }
}
