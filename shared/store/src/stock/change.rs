//! What may be asked for, and what is answered.

use chrono::{DateTime, Utc};
use events::OrderState;
use model::{Fingerprint, OrderId, Sku};
use serde::Serialize;

/// What a shop asks for. Equal changes have equal fingerprints, however their requests were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// So many units are in the warehouse, promised ones included: 0 or more. A SKU that is new here begins with it.
    Count {
        /// Of what.
        sku: Sku,
        /// Units.
        on_hand: i64,
    },
    /// Goods came in.
    Restock {
        /// What.
        sku: Sku,
        /// Units, 1 or more.
        units: i64,
    },
    /// The shop lets Millpond sell so many units of its own more. A SKU that is new here begins with it.
    Give {
        /// Of what.
        sku: Sku,
        /// Units, 1 or more.
        units: i64,
    },
    /// The shop takes units back that are not promised.
    Take {
        /// Of what.
        sku: Sku,
        /// Units, 1 or more; none: all that are available.
        units: Option<i64>,
    },
    /// A reservation was paid.
    Pay {
        /// Which.
        order: OrderId,
    },
    /// All units of an order that it has left went out.
    Ship {
        /// Which.
        order: OrderId,
    },
    /// An order that was not shipped is no more.
    Cancel {
        /// Which.
        order: OrderId,
    },
    /// Lines of an order were paid back, in whole or in part.
    Refund {
        /// Which.
        order: OrderId,
        /// At least one line; a SKU at most once.
        lines: Vec<RefundLine>,
    },
}

/// A part of an order that is paid back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefundLine {
    /// What.
    pub sku: Sku,
    /// Units, 1 to [`events::Quantity::MAX`].
    pub quantity: events::Quantity,
    /// Whether the units are for sale again; else they are gone.
    pub restock: bool,
    /// What was paid back for them, minor units of the order's currency, 0 or more.
    pub amount_minor: i64,
}

/// A row of stock, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StockAnswer {
    /// What.
    pub sku: Sku,
    /// Units in the warehouse, promised ones included.
    pub on_hand: i64,
    /// Units promised to orders.
    pub reserved: i64,
    /// Units for sale.
    pub available: i64,
    /// Promised units that were not found.
    pub shortfall: i64,
    /// Counts up with every change.
    pub version: i64,
    /// By how many units `on_hand` was changed; none where nobody changed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<i64>,
}

/// An order, as a change of it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrderAnswer {
    /// Which.
    pub order_id: OrderId,
    /// Its state now.
    #[serde(flatten)]
    pub state: OrderState,
    /// Counts up with every change of state.
    pub version: i64,
    /// When it was shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<DateTime<Utc>>,
    /// What this request refunded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refunded: Vec<RefundLine>,
}

/// An order's committed state, for whoever keeps statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNow {
    /// Which.
    pub order_id: OrderId,
    /// The row's version.
    pub version: i64,
    /// Digest of what was ordered.
    pub fingerprint: Fingerprint,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
    /// Its state.
    pub state: OrderState,
}

/// A change that is committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The answer: a [`StockAnswer`] or an [`OrderAnswer`], the same for every repeat.
    pub answer: serde_json::Value,
    /// Whether an earlier request with this key did it.
    pub replayed: bool,
    /// The order's new state, where this request gave it one.
    pub order: Option<OrderNow>,
}
