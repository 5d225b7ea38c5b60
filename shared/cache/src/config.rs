//! Settings of the cache.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::pages::PagesConfig;

/// Where the cache lives, and how long anybody waits for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `memory:` (this process alone), or `redis://…`, `rediss://…` (Redis or Valkey, shared by all replicas). It may hold
    /// a password.
    pub url: SecretString,
    /// In front of every key in Redis, so that several shops share one server.
    pub key_prefix: String,
    /// The longest that a caller waits for one call, milliseconds. Redis in the same room answers in one; above this it
    /// is quicker to ask the database.
    pub command_timeout_ms: u64,
    /// The longest for one attempt to connect, milliseconds. Nobody waits for it but the first [`crate::Cache::open`].
    pub connect_timeout_ms: u64,
    /// How many calls in a row may run out of time before the breaker opens: the connection is given up, every call is
    /// a miss at once, and a connection that answers a PING closes it again. 1 or more.
    pub breaker_failures: u32,
    /// First pause between attempts to connect, milliseconds; it doubles, with jitter.
    pub reconnect_min_ms: u64,
    /// Longest pause between attempts to connect, milliseconds; they go on for ever.
    pub reconnect_max_ms: u64,
    /// How many entries of each kind (status, tag, aggregate) `memory:` keeps; the least used go first.
    pub capacity: u64,
    /// How long an order's status is kept, seconds. It is read from the database after that.
    pub status_ttl_s: u64,
    /// How long a tag's generation and an aggregate's version are kept after their last change, seconds. Longer than any
    /// cached page lives; a tag that is gone counts as just purged.
    pub tag_ttl_s: u64,
    /// Rendered pages.
    pub pages: PagesConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: SecretString::from("memory:"),
            key_prefix: "mp:".to_owned(),
            command_timeout_ms: 50,
            connect_timeout_ms: 1_000,
            breaker_failures: 3,
            reconnect_min_ms: 100,
            reconnect_max_ms: 5_000,
            capacity: 100_000,
            status_ttl_s: 24 * 3_600,
            tag_ttl_s: 7 * 24 * 3_600,
            pages: PagesConfig::default(),
        }
    }
}

impl Config {
    pub(crate) fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.command_timeout_ms)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}
