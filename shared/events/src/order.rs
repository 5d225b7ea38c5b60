//! Orders: `placed → reserved → paid → confirmed`, or `rejected`, `released`. A confirmed order stands until the shop itself
//! cancels it, which releases it.

use chrono::{DateTime, Utc};
use model::{
    Currency, CustomerRef, Fingerprint, IdempotencyKey, MarketId, Money, MoneyError, OrderId, RegionNumber, Sku,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;

/// How many units of one SKU a line asks for: 1 to [`Quantity::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

/// A number of units that no line may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {}", Quantity::MAX)]
pub struct QuantityError;

impl Quantity {
    /// The most units of one line: above any real basket, and far below what could overflow a sum.
    pub const MAX: u32 = 10_000;

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = QuantityError;
    fn try_from(units: u32) -> Result<Self, QuantityError> {
        if (1..=Self::MAX).contains(&units) { Ok(Self(units)) } else { Err(QuantityError) }
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> u32 {
        quantity.0
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// One line of an order, as the storefront posted it (duplicate SKUs are merged by checkout).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// What.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Price of one unit in minor units of the order's currency; 0 or more.
    pub unit_price_minor: i64,
}

/// Who vouches for the prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Pricing {
    /// A server key posted them: they stand.
    Shop,
    /// A browser key showed the customer prices of this version of the catalogue; checkout compares.
    Catalogue {
        /// When the page with these prices was shown, by the ingress's clock.
        shown_at: DateTime<Utc>,
    },
}

/// Where a sale came from, for the campaign's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Attribution {
    /// The campaign's name (`utm_campaign`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<String>,
    /// The visitor (Segment's `anonymousId`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<String>,
}

/// `order.placed` 1: an order that was answered 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    /// Computed from region, market and key.
    pub order_id: OrderId,
    /// The market that the API key names.
    pub market: MarketId,
    /// The region that owns the order.
    pub region: RegionNumber,
    /// The client's `Idempotency-Key`; operators find orders by it.
    pub idempotency_key: IdempotencyKey,
    /// Digest of the fields below; the same key with another one is a conflict, never a second order.
    pub fingerprint: Fingerprint,
    /// Stamped by the ingress.
    pub accepted_at: DateTime<Utc>,
    /// The shop's own number for it, shown to operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The customer, as the shop knows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerRef>,
    /// Currency of every amount.
    pub currency: Currency,
    /// At least one line.
    pub lines: Vec<OrderLine>,
    /// Shipping, computed by the shop; minor units, 0 or more.
    #[serde(default)]
    pub shipping_minor: i64,
    /// Tax on top of the prices, computed by the shop; minor units, 0 or more.
    #[serde(default)]
    pub tax_minor: i64,
    /// What is taken off, computed by the shop; minor units, 0 or more.
    #[serde(default)]
    pub discount_minor: i64,
    /// What the customer pays: lines + shipping + tax - discount, checked by the ingress.
    pub total_minor: i64,
    /// Who vouches for the prices.
    pub pricing: Pricing,
    /// Where the sale came from.
    #[serde(default)]
    pub attribution: Attribution,
}

impl OrderPlaced {
    /// Lines + shipping + tax - discount.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn computed_total(&self) -> Result<Money, MoneyError> {
        let amount = |minor| Money::new(minor, self.currency);
        let discount = amount(self.discount_minor.checked_neg().ok_or(MoneyError::Overflow)?);
        let mut total = amount(self.shipping_minor).checked_add(amount(self.tax_minor))?.checked_add(discount)?;
        for line in &self.lines {
            total = total.checked_add(amount(line.unit_price_minor).checked_mul(line.quantity.get())?)?;
        }
        Ok(total)
    }
}

impl Contract for OrderPlaced {
    const KIND: &'static str = "order.placed";
    const VERSION: u32 = 1;
}

/// `order.confirmed` 1: stock is allocated, the order stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: OrderId,
    /// Its market.
    pub market: MarketId,
    /// Its region.
    pub region: RegionNumber,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
    /// When it was committed, by the database's clock.
    pub confirmed_at: DateTime<Utc>,
    /// Currency of the amounts.
    pub currency: Currency,
    /// What the customer pays, minor units.
    pub total_minor: i64,
    /// The lines, merged by SKU.
    pub lines: Vec<OrderLine>,
    /// Where the sale came from.
    #[serde(default)]
    pub attribution: Attribution,
}

impl Contract for OrderConfirmed {
    const KIND: &'static str = "order.confirmed";
    const VERSION: u32 = 1;
}

/// `order.rejected` 1: the order will not be fulfilled, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    /// The order.
    pub order_id: OrderId,
    /// Its market.
    pub market: MarketId,
    /// Its region.
    pub region: RegionNumber,
    /// When the ingress took it.
    pub accepted_at: DateTime<Utc>,
    /// When the rejection was committed, by the database's clock.
    pub rejected_at: DateTime<Utc>,
    /// Why.
    pub reason: Rejection,
    /// Where it came from.
    #[serde(default)]
    pub attribution: Attribution,
}

impl Contract for OrderRejected {
    const KIND: &'static str = "order.rejected";
    const VERSION: u32 = 1;
}

/// One SKU that was short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shortage {
    /// What.
    pub sku: Sku,
    /// Units that the order asked for.
    pub requested: u32,
    /// Units that were available.
    pub available: u32,
}

/// Why an order was rejected. A stored outcome: the same order is rejected for the same reason for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "code")]
pub enum Rejection {
    /// Not enough stock for every line; all or nothing.
    OutOfStock {
        /// The SKUs that were short.
        short: Vec<Shortage>,
    },
    /// SKUs that the region does not sell.
    UnknownSku {
        /// Those.
        skus: Vec<Sku>,
    },
    /// The shown price is no longer valid, and its grace is over.
    PriceChanged {
        /// The SKUs whose price differs.
        skus: Vec<Sku>,
    },
    /// The key was used before for another order; that one stands.
    IdempotencyConflict,
    /// The payment provider declined.
    PaymentDeclined,
    /// The reservation ran out before it was paid.
    Expired,
}

impl Rejection {
    /// The reason's permanent code, as it is stored and as the API shows it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OutOfStock { .. } => "out_of_stock",
            Self::UnknownSku { .. } => "unknown_sku",
            Self::PriceChanged { .. } => "price_changed",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::PaymentDeclined => "payment_declined",
            Self::Expired => "expired",
        }
    }
}

/// Where an order is in its life. Without a payment provider it goes from placed straight to confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum OrderState {
    /// Accepted, not yet looked at by checkout.
    Placed,
    /// Stock is held until the time given.
    Reserved {
        /// By the database's clock.
        expires_at: DateTime<Utc>,
    },
    /// Paid, not yet confirmed.
    Paid,
    /// It stands.
    Confirmed,
    /// It will not be fulfilled.
    Rejected {
        /// Why.
        reason: Rejection,
    },
    /// Stock was given back after a cancellation or an expiry.
    Released,
}

impl OrderState {
    /// The state's permanent name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved { .. } => "reserved",
            Self::Paid => "paid",
            Self::Confirmed => "confirmed",
            Self::Rejected { .. } => "rejected",
            Self::Released => "released",
        }
    }

    /// Whether nothing follows by itself, so that whoever waits may go. A confirmed order may yet be cancelled by the shop.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Confirmed | Self::Rejected { .. } | Self::Released)
    }

    /// Whether nothing can follow, whatever anybody does.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Rejected { .. } | Self::Released)
    }

    /// Whether `next` may follow this state.
    pub fn may_become(&self, next: &Self) -> bool {
        use OrderState::{Confirmed, Paid, Placed, Rejected, Released, Reserved};
        matches!(
            (self, next),
            (Placed, Reserved { .. } | Confirmed | Rejected { .. })
                | (Reserved { .. }, Paid | Rejected { .. } | Released)
                | (Paid, Confirmed | Rejected { .. } | Released)
                | (Confirmed, Released)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> impl Strategy<Value = OrderState> {
        prop_oneof![
            Just(OrderState::Placed),
            Just(OrderState::Reserved { expires_at: DateTime::UNIX_EPOCH }),
            Just(OrderState::Paid),
            Just(OrderState::Confirmed),
            Just(OrderState::Rejected { reason: Rejection::IdempotencyConflict }),
            Just(OrderState::Released),
        ]
    }

    proptest! {
        #[test]
        fn nothing_follows_a_final_state_and_a_cancellation_alone_a_terminal_one(from in states(), to in states()) {
            prop_assert!(!(from.is_final() && from.may_become(&to)));
            let cancelled = (from.clone(), to.clone()) == (OrderState::Confirmed, OrderState::Released);
            prop_assert!(!from.is_terminal() || from.may_become(&to) == cancelled);
        }
    }

    #[test]
    fn a_state_is_written_with_its_data() {
        let state = OrderState::Rejected {
            reason: Rejection::OutOfStock {
                short: vec![Shortage { sku: "MUG".parse().unwrap(), requested: 2, available: 1 }],
            },
        };
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(
            json,
            r#"{"state":"rejected","reason":{"code":"out_of_stock","short":[{"sku":"MUG","requested":2,"available":1}]}}"#
        );
        assert_eq!(serde_json::from_str::<OrderState>(&json).unwrap(), state);
    }

    #[test]
    fn a_quantity_of_nothing_or_of_too_much_is_refused() {
        assert!(serde_json::from_str::<Quantity>("0").is_err());
        assert!(serde_json::from_str::<Quantity>("10001").is_err());
        assert!(serde_json::from_str::<Quantity>("10000").is_ok());
    }
}
