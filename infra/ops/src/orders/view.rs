//! An order as an operator sees it.

use chrono::{DateTime, Utc};
use model::OrderId;
use serde::Serialize;

/// Shown in place of what a customer wrote.
const REDACTED: &str = "(redacted)";

/// A stored order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OrderView {
    pub(crate) order_id: OrderId,
    pub(crate) region: String,
    pub(crate) database: String,
    pub(crate) market: String,
    pub(crate) key: String,
    pub(crate) reference: Option<String>,
    /// `null` where the shop named none, `(redacted)` where it was not asked for.
    pub(crate) customer: Option<String>,
    pub(crate) state: String,
    /// Why it was rejected.
    pub(crate) reason: Option<serde_json::Value>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) version: i64,
    pub(crate) currency: String,
    pub(crate) shipping_minor: i64,
    pub(crate) tax_minor: i64,
    pub(crate) discount_minor: i64,
    pub(crate) total_minor: i64,
    pub(crate) lines: Vec<Line>,
    /// Whether the rest of the world was told.
    pub(crate) outbox: Outbox,
    /// Oldest first.
    pub(crate) timeline: Vec<Moment>,
}

impl OrderView {
    pub(super) fn redact(&mut self) {
        if let Some(customer) = &mut self.customer {
            REDACTED.clone_into(customer);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// From 1, in the order posted.
    pub(crate) no: i32,
    pub(crate) sku: String,
    pub(crate) quantity: i32,
    pub(crate) unit_price_minor: i64,
}

/// What became of the events that tell of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outbox {
    /// They wait for the relay.
    Waiting,
    /// None waits.
    Told,
    /// So much waits that not all of it was looked at.
    Unknown,
}

/// Something that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: DateTime<Utc>,
    /// In words.
    pub(crate) what: String,
    /// The parked message that it tells of.
    #[serde(flatten)]
    pub(crate) message: Option<Named>,
}

/// A parked message by the two names that the verbs take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    /// Its home queue, or `millpond.unrouted`.
    pub(crate) queue: String,
    pub(crate) message_id: String,
}

/// An order that no database holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// The id that it has, if there is such an order.
    pub(crate) order_id: OrderId,
    pub(crate) region: String,
    /// Where it would wait; what is parked names its own queue.
    pub(crate) queue: String,
    /// Messages that wait there; `null` where the broker does not say.
    pub(crate) ready: Option<u64>,
    /// Its parked messages.
    pub(crate) parked: Vec<Moment>,
}
