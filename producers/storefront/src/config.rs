//! Settings of the storefront.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The storefront's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The longest for one look into a database, milliseconds; then the answer is 503.
    pub lookup_timeout_ms: u64,
    /// Looks into one database at once by single requests; above it the answer is 503 at once. Below the connections of
    /// the pool there is nothing to gain, far above it requests only wait.
    pub max_lookups: usize,
    /// Event streams at once; above it the answer is 503. Below `http.max_connections`, or streams could take them all.
    pub max_streams: usize,
    /// The longest life of a stream, seconds; the browser then opens the next one by itself.
    pub stream_max_s: u64,
    /// Pause between two comments that keep proxies from closing a silent stream, seconds.
    pub heartbeat_s: u64,
    /// Pause between two looks for the orders that streams wait for, milliseconds: one query per database, however many
    /// wait.
    pub poll_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lookup_timeout_ms: 2_000,
            max_lookups: 64,
            max_streams: 5_000,
            stream_max_s: 600,
            heartbeat_s: 15,
            poll_ms: 500,
        }
    }
}

impl Config {
    pub(crate) fn lookup_timeout(&self) -> Duration {
        Duration::from_millis(self.lookup_timeout_ms)
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.max(1))
    }
}
