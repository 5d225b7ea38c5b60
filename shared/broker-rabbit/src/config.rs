//! Settings of a connection to RabbitMQ.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The part `[rabbit]` of the configuration. The URL is not here: it chooses the broker, and holds a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a connection may take from the TCP handshake to its last preparation, ms. 1 or more.
    pub connect_timeout_ms: u64,
    /// The shortest upper bound of the wait between two attempts to connect, ms. The wait itself is drawn from zero to
    /// the bound ("full jitter"), so that a fleet does not come back as one. 1 or more.
    pub reconnect_min_ms: u64,
    /// The longest upper bound of that wait, ms. The bound doubles with every failure.
    pub reconnect_max_ms: u64,
    /// Heartbeat, seconds: a peer that is silent for twice as long counts as dead. A `heartbeat` in the URL wins. 1 or
    /// more.
    pub heartbeat_s: u16,
    /// How long a publish waits for its confirm before its outcome is "unknown", ms.
    pub publish_timeout_ms: u64,
    /// How long the broker may owe an answer on the connection that publishes before publishes are refused as "unavailable" at
    /// once, until it answers, ms. 0: never, so that each waits for its own timeout.
    pub silent_after_ms: u64,
    /// How long a publish waits at most for others to leave with it while confirms are on their way, µs; what is not whole
    /// milliseconds is rounded up to them. It never waits where nothing is in flight.
    pub publish_linger_us: u64,
    /// How much longer confirms are awaited once the broker has raised an alarm, ms: those under way still come, those
    /// sent since do not.
    pub blocked_grace_ms: u64,
    /// How many publishes may await their confirm at once, over all callers. 1 to 65,535.
    pub max_in_flight: u32,
    /// How many KiB of bodies may await their confirm at once; a larger message waits until it is alone. 1 or more.
    pub max_in_flight_kib: u32,
    /// How long a publish waits for room among those in flight before it is refused as "saturated", ms.
    pub saturated_after_ms: u64,
    /// The largest body that is published, KiB. RabbitMQ 4 takes 16 MiB, and closes the channel on more.
    pub max_message_kib: u32,
    /// The largest frame of the connection that publishes, KiB, 8 to 128; a larger body is cut into several. lapin keeps
    /// buffers of 64 such frames for each connection, so that small ones save memory. Three quarters of it bound a
    /// message's headers, which are one frame.
    pub publish_frame_kib: u32,
    /// The largest frame of the connection that consumes, KiB, 8 to 128: anyone may put a message with headers of up to
    /// RabbitMQ's own bound (128) into a queue, and a smaller bound here would break the connection with each delivery of
    /// it. For a process that consumes no queue it may be as small as that of publishing.
    pub consume_frame_kib: u32,
    /// How long any other call to the broker may take (declare, depth, consume, cancel), ms.
    pub call_timeout_ms: u64,
    /// How long closing waits for confirms under way and for each of its other steps, ms.
    pub close_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            reconnect_min_ms: 200,
            reconnect_max_ms: 10_000,
            heartbeat_s: 10,
            publish_timeout_ms: 5_000,
            silent_after_ms: 1_000,
            publish_linger_us: 3_000,
            blocked_grace_ms: 250,
            max_in_flight: 4_096,
            max_in_flight_kib: 65_536,
            saturated_after_ms: 50,
            max_message_kib: 16_384,
            publish_frame_kib: 32,
            consume_frame_kib: 128,
            call_timeout_ms: 10_000,
            close_timeout_ms: 5_000,
        }
    }
}

impl Config {
    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn publish_timeout(&self) -> Duration {
        Duration::from_millis(self.publish_timeout_ms)
    }

    /// None: nobody asks.
    pub(crate) fn silent_after(&self) -> Option<Duration> {
        (self.silent_after_ms > 0).then(|| Duration::from_millis(self.silent_after_ms))
    }

    pub(crate) fn publish_linger(&self) -> Duration {
        Duration::from_micros(self.publish_linger_us)
    }

    pub(crate) fn blocked_grace(&self) -> Duration {
        Duration::from_millis(self.blocked_grace_ms)
    }

    pub(crate) fn saturated_after(&self) -> Duration {
        Duration::from_millis(self.saturated_after_ms)
    }

    /// The most bytes of headers that are published.
    pub(crate) fn max_headers(&self) -> usize {
        self.publish_frame_kib as usize * 1_024 / 4 * 3
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }

    pub(crate) fn close_timeout(&self) -> Duration {
        Duration::from_millis(self.close_timeout_ms)
    }
}
