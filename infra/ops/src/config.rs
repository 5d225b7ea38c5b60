//! Settings of the operator API.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The part `[ops]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port; port 0 takes a free one. Anything but loopback needs an operator in the file.
    pub bind: SocketAddr,
    /// The operators' file (`millpond keys operator` writes it).
    pub operators_file: PathBuf,
    /// How often that file is looked at, milliseconds.
    pub operators_reload_ms: u64,
    /// How long one database may take for its part of an answer, milliseconds; the answer then says that it did not.
    pub database_timeout_ms: u64,
    /// How long a request's body may take to arrive, milliseconds.
    pub body_timeout_ms: u64,
    /// A request's body at most, bytes.
    pub body_bytes: usize,
    /// How often the queues are looked at, milliseconds. 100 or more.
    pub look_ms: u64,
    /// How long a worker's last heartbeat is believed, milliseconds. Some times the worker's `heartbeat_ms`.
    pub heartbeat_expires_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8090)),
            operators_file: PathBuf::from("operators.toml"),
            operators_reload_ms: 1_000,
            database_timeout_ms: 2_000,
            body_timeout_ms: 10_000,
            body_bytes: 65_536,
            look_ms: 1_000,
            heartbeat_expires_ms: 5_000,
        }
    }
}

impl Config {
    /// How long one database may take for its part of an answer.
    pub(crate) fn database_timeout(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms)
    }

    pub(crate) fn look(&self) -> Duration {
        Duration::from_millis(self.look_ms.max(100))
    }
}
