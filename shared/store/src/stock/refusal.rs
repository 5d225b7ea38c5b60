//! Why a change was not made.

use chrono::{DateTime, Utc};
use model::Sku;
use sea_orm::DbErr;

/// Why a change was not made; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may not be made.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key was used for another change, which stands.
    #[error("this Idempotency-Key was used for another change; that one stands. A new change needs a new key")]
    KeyReused,
    /// The row of stock is not what the change was made for; nothing was changed.
    #[error("the stock is not in the version that this change was made for")]
    Precondition {
        /// The version that it is in; none where the region has none.
        current: Option<i64>,
    },
    /// The database's. Where the connection was lost at the commit the change may have been made: the same key tells.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// A change that may not be made, in words for whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The region has no stock of it.
    #[error("there is no stock of {0} in this market: count it first (PUT /v1/stock/{0})")]
    UnknownSku(Sku),
    /// The market has no such order, or not yet.
    #[error(
        "this market has no such order; one that was accepted a moment ago may still wait in its queue: try again in a while"
    )]
    UnknownOrder,
    /// Its reservation ran out, or it was cancelled.
    #[error(
        "the order was released at {0}: its reservation ran out or it was cancelled, and its units are for sale again. A \
         payment for it is to be voided; a new order needs a new key"
    )]
    Released(DateTime<Utc>),
    /// It never came to be.
    #[error("the order was rejected ({0}); nothing was reserved for it")]
    Rejected(String),
    /// It stands already.
    #[error("the order is confirmed already: there is nothing to pay")]
    Confirmed,
    /// It waits for its payment.
    #[error("the order is {0} and not confirmed yet: pay it first (POST /v1/orders/…/pay), or cancel it")]
    NotConfirmed(String),
    /// Its units have left.
    #[error("the order was shipped at {0}: refund its lines instead (POST /v1/orders/…/refunds)")]
    Shipped(DateTime<Utc>),
    /// A part of it was paid back.
    #[error("lines of the order were refunded: refund the rest instead (POST /v1/orders/…/refunds)")]
    PartlyRefunded,
    /// Every unit was refunded.
    #[error("all units of the order were refunded: there is nothing left to ship")]
    NothingLeft,
    /// A refund of more units than the order has left.
    #[error("the order has {left} units of {sku} left to refund, not {wanted}")]
    TooManyUnits {
        /// What.
        sku: Sku,
        /// Units asked for.
        wanted: i64,
        /// Units ordered and not refunded yet.
        left: i64,
    },
    /// A refund of more than the order cost.
    #[error("the order has {left} minor units left to pay back, not {wanted}")]
    TooMuchMoney {
        /// Asked for.
        wanted: i64,
        /// The total less what was paid back.
        left: i64,
    },
    /// More units would leave than the last count found.
    #[error(
        "{on_hand} units of {sku} are on hand by the last count, {wanted} would leave: count again, or restock first"
    )]
    NotOnHand {
        /// What.
        sku: Sku,
        /// Units that would leave.
        wanted: i64,
        /// Units there.
        on_hand: i64,
    },
    /// Promised units can't be taken back.
    #[error("{available} units of {sku} are not promised to orders and may be taken back, not {wanted}")]
    Promised {
        /// What.
        sku: Sku,
        /// Units asked for.
        wanted: i64,
        /// Units for sale.
        available: i64,
    },
    /// More units than can be counted.
    #[error("{0} would have more units than can be counted")]
    TooMany(Sku),
    /// The change was made under this key so long ago that its answer was thrown away.
    #[error(
        "this change was made before under the same Idempotency-Key, so long ago that its answer is not kept any more"
    )]
    KeyOfThePast,
}

impl Refusal {
    /// The refusal's permanent code, which clients branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownSku(_) => "unknown_sku",
            Self::UnknownOrder => "unknown_order",
            Self::Released(_) => "order_released",
            Self::Rejected(_) => "order_rejected",
            Self::Confirmed => "order_confirmed",
            Self::NotConfirmed(_) => "order_not_confirmed",
            Self::Shipped(_) => "order_shipped",
            Self::PartlyRefunded => "order_partly_refunded",
            Self::NothingLeft => "nothing_left",
            Self::TooManyUnits { .. } => "too_many_units",
            Self::TooMuchMoney { .. } => "too_much_money",
            Self::NotOnHand { .. } => "not_on_hand",
            Self::Promised { .. } => "units_are_promised",
            Self::TooMany(_) => "too_many_on_hand",
            Self::KeyOfThePast => "made_before",
        }
    }

    /// Whether it is that there is no such thing, and not that it may not be changed so.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::UnknownSku(_) | Self::UnknownOrder)
    }
}
