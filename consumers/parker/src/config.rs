//! Settings of the parker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The part `[parker]` of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The database for parked messages of queues that belong to no region, and for what no queue wanted; empty: that of
    /// analytics, where the effects of most of them lie.
    pub database: String,
    /// How parked messages are taken. A body is kept whole, so few are taken ahead.
    pub worker: worker::Config,
    /// Messages per second of a replay that names no rate, for each database; above 0.
    pub replay_per_s: f64,
    /// The highest rate that a replay may name.
    pub replay_max_per_s: f64,
    /// Messages claimed and published together, 1 to 10,000.
    pub replay_batch: u32,
    /// The pause between two looks for messages to replay, milliseconds; 1 or more.
    pub replay_poll_ms: u64,
    /// How long a claim on messages lasts; then another parker may publish them. Above the broker's publish timeout.
    pub replay_lease_ms: u64,
    /// The pause between two looks for effects, and at how much is parked, milliseconds; 1 or more.
    pub check_ms: u64,
    /// Messages whose effect is looked for in one look.
    pub check_batch: u32,
    /// A replayed message whose effect leaves nothing to look for is closed when it was not parked again for this long,
    /// seconds. Longer than the retry ladder takes to give up: 42 minutes with 8 attempts.
    pub close_after_s: u32,
    /// How long closed and discarded messages are kept, days.
    pub keep_ended_days: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database: String::new(),
            worker: worker::Config { prefetch: 64, batch: 32, ..worker::Config::default() },
            replay_per_s: 10.0,
            replay_max_per_s: 1_000.0,
            replay_batch: 100,
            replay_poll_ms: 500,
            replay_lease_ms: 60_000,
            check_ms: 5_000,
            check_batch: 200,
            close_after_s: 3_600,
            keep_ended_days: 30,
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// Which can't, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=10_000).contains(&self.replay_batch) {
            return Err("parker.replay_batch must be 1 to 10000".to_owned());
        }
        if !(1..=10_000).contains(&self.check_batch) {
            return Err("parker.check_batch must be 1 to 10000".to_owned());
        }
        let times = [
            ("replay_poll_ms", self.replay_poll_ms, 1),
            ("replay_lease_ms", self.replay_lease_ms, 1_000),
            ("check_ms", self.check_ms, 1),
        ];
        if let Some((name, _, least)) = times.iter().find(|(_, ms, least)| !(*least..=3_600_000).contains(ms)) {
            return Err(format!("parker.{name} must be {least} to 3600000, an hour"));
        }
        self.pace(None).map_err(|error| format!("parker.replay_per_s: {error}"))?;
        self.worker.check().map_err(|error| format!("parker.{error}"))
    }

    /// Microseconds between two messages of a replay at `per_second`, or at the configured rate.
    pub(crate) fn pace(&self, per_second: Option<f64>) -> Result<i64, String> {
        let (rate, most) = (per_second.unwrap_or(self.replay_per_s), self.replay_max_per_s);
        // A message in an hour is the slowest that makes sense, a million a second is what microseconds can tell.
        if !(most > 0.0 && most <= 1e6) {
            return Err("parker.replay_max_per_s must be above 0, and 1000000 at most".to_owned());
        }
        if !(1.0 / 3_600.0..=most).contains(&rate) {
            return Err(format!(
                "a replay takes 0.0003 to {most} messages a second (parker.replay_max_per_s), not {rate}"
            ));
        }
        Ok(i64::try_from(Duration::from_secs_f64(1.0 / rate).as_micros()).unwrap_or(i64::MAX).max(1))
    }

    pub(crate) fn replay_poll(&self) -> Duration {
        Duration::from_millis(self.replay_poll_ms)
    }

    pub(crate) fn replay_lease(&self) -> Duration {
        Duration::from_millis(self.replay_lease_ms)
    }

    pub(crate) fn check_every(&self) -> Duration {
        Duration::from_millis(self.check_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_work_and_a_wrong_setting_is_named() {
        Config::default().check().unwrap();
        let none = Config { replay_batch: 0, ..Config::default() };
        assert!(none.check().unwrap_err().contains("parker.replay_batch"));
        let never = Config { replay_per_s: 0.0, ..Config::default() };
        assert!(never.check().unwrap_err().contains("parker.replay_per_s: a replay takes 0.0003 to 1000"));
    }

    #[test]
    fn a_rate_is_a_time_between_messages() {
        let config = Config::default();
        assert_eq!(
            (config.pace(None), config.pace(Some(1_000.0)), config.pace(Some(0.5))),
            (Ok(100_000), Ok(1_000), Ok(2_000_000))
        );
        for rate in [f64::NAN, -1.0, 0.0, 1_001.0, f64::INFINITY] {
            assert!(config.pace(Some(rate)).is_err(), "{rate}");
        }
    }

    #[test]
    fn few_bodies_are_held_at_once() {
        let config = Config::default().worker;
        // What the embedded broker and RabbitMQ 4 take in one message.
        assert!(usize::from(config.prefetch) * (16 << 20) <= 1 << 30);
    }
}
