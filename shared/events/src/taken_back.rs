//! What takes an order, or a part of it, back.

use chrono::{DateTime, Utc};
use model::{Currency, IdempotencyKey, MarketId, OrderId, RegionNumber, Sku};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;
use crate::order::{Attribution, Quantity};

/// Why an order's units were given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// Its reservation ran out before it was paid.
    Expired,
    /// The shop cancelled it.
    Cancelled,
}

/// `order.released` 1: the order will not be fulfilled, and its units are for sale again. At most one for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderReleased {
    /// The order.
    pub order_id: OrderId,
    /// Its market.
    pub market: MarketId,
    /// Its region.
    pub region: RegionNumber,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
    /// When the release was committed, by the database's clock.
    pub released_at: DateTime<Utc>,
    /// Why.
    pub cause: ReleaseCause,
    /// Whether it was confirmed before, and so was told and counted as a sale: what follows is to be taken back then.
    pub was_confirmed: bool,
    /// Currency of the total.
    pub currency: Currency,
    /// What the customer was to pay, minor units.
    pub total_minor: i64,
    /// Units of all its lines.
    pub units: i64,
    /// Where the sale came from.
    #[serde(default)]
    pub attribution: Attribution,
}

impl Contract for OrderReleased {
    const KIND: &'static str = "order.released";
    const VERSION: u32 = 1;
}

impl OrderReleased {
    /// What it takes back of its order, by a name that no refund of it has.
    pub const TAKES_BACK: &'static str = "release";
}

/// A part of a line that was paid back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundedLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Whether the units are for sale again; else they are gone.
    pub restocked: bool,
    /// What was paid back for them, minor units, 0 or more.
    pub amount_minor: i64,
}

/// `order.refunded` 1: lines of a confirmed order were paid back, in whole or in part. An order may have several, each with
/// its own reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRefunded {
    /// The order.
    pub order_id: OrderId,
    /// Which of its refunds: the `Idempotency-Key` of the request.
    pub reference: IdempotencyKey,
    /// The order's market.
    pub market: MarketId,
    /// Its region.
    pub region: RegionNumber,
    /// When the ingress took the order.
    pub accepted_at: DateTime<Utc>,
    /// When the refund was committed, by the database's clock.
    pub refunded_at: DateTime<Utc>,
    /// Currency of the amounts.
    pub currency: Currency,
    /// At least one line; a SKU is in one at most.
    pub lines: Vec<RefundedLine>,
    /// Where the sale came from.
    #[serde(default)]
    pub attribution: Attribution,
}

impl Contract for OrderRefunded {
    const KIND: &'static str = "order.refunded";
    const VERSION: u32 = 1;
}

impl OrderRefunded {
    /// What it takes back of its order, by a name that is unique for the order.
    pub fn takes_back(&self) -> String {
        format!("refund/{}", self.reference)
    }
}
