//! Whether the prices that a browser posted are the shop's.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::{OrderPlaced, Pricing, Rejection};
use model::Sku;

/// One version of a SKU's price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    /// ISO 4217 code.
    pub(crate) currency: String,
    /// Price of one unit, minor units.
    pub(crate) unit_price_minor: i64,
    /// When the next version replaced it; `None` for the current one.
    pub(crate) superseded_at: Option<DateTime<Utc>>,
}

/// Prices by SKU.
pub(crate) type Prices = BTreeMap<Sku, Vec<Price>>;

/// Whether `order` needs to be held against the catalogue: a server key vouches for its prices itself.
pub(crate) fn is_checked(order: &OrderPlaced) -> bool {
    matches!(order.pricing, Pricing::Catalogue { .. })
}

/// The end of the oldest price that some of `orders` may still be held against: `grace` before the first of their pages was
/// shown. `None` where none is checked. Not before 1970, since databases do not reach as far back as a time in an event may.
pub(crate) fn honoured_since<'a>(
    orders: impl Iterator<Item = &'a OrderPlaced>,
    grace: TimeDelta,
) -> Option<DateTime<Utc>> {
    let shown = orders.filter_map(|order| match order.pricing {
        Pricing::Catalogue { shown_at } => Some(shown_at),
        Pricing::Shop => None,
    });
    Some(shown.min()?.checked_sub_signed(grace).map_or(DateTime::UNIX_EPOCH, |since| since.max(DateTime::UNIX_EPOCH)))
}

/// Refuses an order of a browser key in which a line has another price than the catalogue's current one, or than one
/// that was replaced less than `grace` before the page was shown (a cached page is that old at most). A price that was
/// replaced *after* the page was shown stands: the customer saw it, and the order may have waited in the queue since.
pub(crate) fn refusal(order: &OrderPlaced, prices: &Prices, grace: TimeDelta) -> Option<Rejection> {
    let Pricing::Catalogue { shown_at } = order.pricing else {
        return None;
    };
    let honoured = |price: &Price| match price.superseded_at {
        None => true,
        Some(end) => shown_at.checked_sub_signed(grace).is_none_or(|earliest| end >= earliest),
    };
    let mut changed: Vec<Sku> = order
        .lines
        .iter()
        .filter(|line| {
            !prices.get(&line.sku).is_some_and(|versions| {
                versions.iter().any(|price| {
                    price.currency == order.currency.code()
                        && price.unit_price_minor == line.unit_price_minor
                        && honoured(price)
                })
            })
        })
        .map(|line| line.sku.clone())
        .collect();
    changed.sort();
    changed.dedup();
    (!changed.is_empty()).then_some(Rejection::PriceChanged { skus: changed })
}
