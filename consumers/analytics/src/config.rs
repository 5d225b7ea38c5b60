//! Settings of analytics.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// The part `[analytics]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How batches of page events are taken. A message holds up to 2,500 events and 512 KiB, so few messages make a large
    /// transaction, and the prefetch is small: what is handed out ahead waits in this process's memory (64: 32 MiB at most).
    pub pages: worker::Config,
    /// How outcomes of orders are taken. A message tells of up to 500 orders.
    pub orders: worker::Config,
    /// What is counted how finely, and how long a repeat is known.
    pub counting: Counting,
    /// How old ids are thrown away.
    pub sweeping: Sweeping,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pages: worker::Config {
                prefetch: 64,
                batch: 32,
                batch_bytes: 2 << 20,
                linger_ms: 20,
                ..worker::Config::default()
            },
            orders: worker::Config { prefetch: 64, batch: 16, linger_ms: 20, ..worker::Config::default() },
            counting: Counting::default(),
            sweeping: Sweeping::default(),
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// Which can't, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let workers = [("pages", &self.pages), ("orders", &self.orders)];
        workers
            .into_iter()
            .try_for_each(|(name, worker)| worker.check().map_err(|error| format!("analytics.{name}: {error}")))
    }
}

/// What is counted how finely, and how long a repeat is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Counting {
    /// How long a page event's id is kept, days. An event that was received longer ago is not counted any more, because
    /// nobody knows whether it was before.
    pub keep_ids_days: u16,
    /// Different paths per market and minute (and process); more are counted as `(other)`.
    pub max_paths: usize,
    /// Different campaigns per market and minute (and process); more are counted as `(other)`.
    pub max_campaigns: usize,
    /// Longest path, bytes; the rest is cut off.
    pub max_path_bytes: usize,
    /// Longest campaign, bytes; the rest is cut off.
    pub max_campaign_bytes: usize,
}

impl Default for Counting {
    fn default() -> Self {
        Self { keep_ids_days: 7, max_paths: 1_000, max_campaigns: 100, max_path_bytes: 256, max_campaign_bytes: 128 }
    }
}

impl Counting {
    pub(crate) fn keep_ids(&self) -> TimeDelta {
        TimeDelta::days(self.keep_ids_days.into())
    }
}

/// How ids of page events that are old enough are thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sweeping {
    /// Pause between two sweeps, seconds.
    pub interval_s: u64,
    /// Rows per transaction; a sweep runs as many as it needs.
    pub batch: u32,
}

impl Default for Sweeping {
    fn default() -> Self {
        Self { interval_s: 60, batch: 5_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_hold_few_page_batches_in_memory() {
        let config = Config::default();
        config.check().unwrap();
        // The ingress takes at most 512 KiB in a batch.
        assert!(usize::from(config.pages.prefetch) * (512 << 10) <= 32 << 20);
    }
}
