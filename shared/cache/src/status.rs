//! What the cache knows of an order.

use chrono::{DateTime, Utc};
use events::OrderState;
use model::{Fingerprint, OrderId};
use serde::{Deserialize, Serialize};

/// An order as it was committed. Only committed state is ever written here: "queued" is what the *absence* of a row
/// means, so it can't overwrite anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The order.
    pub order_id: OrderId,
    /// The row's version, from 1, counted up by every change of the order; below 2⁵³ (Redis compares as a double).
    pub version: i64,
    /// Digest of what was ordered; a token with another one belongs to a conflicting second post.
    pub fingerprint: Fingerprint,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
    /// Where it is in its life, with the reason where it was rejected.
    #[serde(flatten)]
    pub state: OrderState,
}
