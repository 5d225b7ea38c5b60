//! Settings of analytics.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

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
