//! What travels through a broker: bytes and headers, whatever the broker.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use crate::ids::MessageId;

/// Names of the headers that Millpond itself reads.
pub mod headers {
    /// How many times a consumer has failed on this message so far (absent: 0). Our own count, because the broker's
    /// differs between versions.
    pub const ATTEMPT: &str = "x-mp-attempt";
    /// Why the message was parked or sent round again; for people.
    pub const REASON: &str = "x-mp-reason";
    /// The queue that a parked message came from.
    pub const ORIGIN_QUEUE: &str = "x-mp-origin-queue";
    /// Of a replayed message: the how many-eth replay of it this is, from 1. Absent where it was never replayed.
    pub const REPLAYED: &str = "x-mp-replayed";
    /// Of a message that came back so often that it may take processes down with it: how many redeliveries are held against
    /// it, whatever the broker has counted since. Whoever wrote it let it live on once more.
    pub const SUSPICION: &str = "x-mp-suspicion";
    /// The version of the payload, a number.
    pub const VERSION: &str = "x-mp-version";
    /// How many page events a batch holds, a number.
    pub const EVENT_COUNT: &str = "x-mp-event-count";
    /// W3C Trace Context.
    pub const TRACEPARENT: &str = "traceparent";
}

/// A message as a broker carries it. In AMQP the first four fields are the properties `message_id`, `type`,
/// `timestamp` and `content_type`; the delivery mode is persistent unless [`Message::transient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Identifies the message; a copy (retry, park, replay) keeps it.
    pub id: MessageId,
    /// The event type, such as `order.placed`.
    pub kind: String,
    /// When it was published (AMQP keeps seconds).
    pub timestamp: DateTime<Utc>,
    /// Media type of the body.
    pub content_type: String,
    /// Everything else, by name. Names are lower-case; values are text.
    pub headers: BTreeMap<String, String>,
    /// Whether it may be lost in a broker restart: heartbeats only.
    pub transient: bool,
    /// The payload.
    pub body: Bytes,
}

impl Message {
    /// How often a consumer has failed on this message ([`headers::ATTEMPT`]); 0 for a fresh one or an unreadable count.
    pub fn attempt(&self) -> u32 {
        self.number(headers::ATTEMPT).unwrap_or(0)
    }

    /// Which replay of the message this is ([`headers::REPLAYED`]); 0 for one that was never replayed.
    pub fn replay(&self) -> u32 {
        self.number(headers::REPLAYED).unwrap_or(0)
    }

    /// Redeliveries that are held against it already ([`headers::SUSPICION`]); 0 for one that nobody suspects.
    pub fn suspicion(&self) -> u32 {
        self.number(headers::SUSPICION).unwrap_or(0)
    }

    /// The payload's version ([`headers::VERSION`]).
    pub fn version(&self) -> Option<u32> {
        self.number(headers::VERSION)
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.headers.get(name).and_then(|text| text.parse().ok())
    }
}
