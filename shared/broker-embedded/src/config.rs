//! Limits of the embedded broker.

use serde::{Deserialize, Serialize};

/// Limits and sizes; the default suits a shop on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Messages that wait for their confirm at once; beyond it a publish is `Saturated`. A batch larger than this
    /// never fits. 1 to 1,000,000.
    pub max_in_flight: u32,
    /// How long a publish waits for its confirm, milliseconds; then its outcome is `Unknown`.
    pub publish_timeout_ms: u64,
    /// The largest message, body and headers, bytes; beyond it a publish is `TooLarge`. `RabbitMQ` 4 takes as much.
    pub max_message_bytes: usize,
    /// Messages that one queue holds, ready, delivered or waiting for a retry; beyond it a publish is `Refused`.
    pub max_queue_messages: u64,
    /// Bytes in use in the file; beyond it publishes are `Refused`, while retries, parking and acks go on. Leave some
    /// tens of megabytes of the disk for the write-ahead log beside it.
    pub max_file_bytes: u64,
    /// Pages of the file kept in memory, bytes.
    pub cache_bytes: u64,
    /// Commands that share one commit and so one fsync. More give no more throughput, and a longer wait for each.
    pub max_commit_commands: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_in_flight: 16_384,
            publish_timeout_ms: 10_000,
            max_message_bytes: 16 << 20,
            max_queue_messages: 10_000_000,
            max_file_bytes: 16 << 30,
            cache_bytes: 64 << 20,
            max_commit_commands: 4_096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_an_error_and_a_missing_one_has_its_default() {
        let config: Config = serde_json::from_str(r#"{"max_in_flight": 7}"#).unwrap();
        assert_eq!(config, Config { max_in_flight: 7, ..Config::default() });
        assert!(serde_json::from_str::<Config>(r#"{"max_inflight": 7}"#).is_err());
    }
}
