//! Orders as the ingress would have published them.

use chrono::{DateTime, TimeDelta, Utc};
use events::{Attribution, Envelope, OrderLine, OrderPlaced, Pricing};
use model::{Currency, Fingerprint, ManualClock, OrderId, RegionNumber};
use worker::Item;

pub(crate) const REGION: RegionNumber = RegionNumber(1);

pub(crate) fn accepted_at() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
}

/// An order under `key` for `lines` of (SKU, units, unit price).
pub(crate) fn order(key: &str, lines: &[(&str, u32, i64)]) -> OrderPlaced {
    let market = "eu".parse().unwrap();
    let idempotency_key = key.parse().unwrap();
    let lines: Vec<OrderLine> = lines
        .iter()
        .map(|(sku, units, unit_price_minor)| OrderLine {
            sku: sku.parse().unwrap(),
            quantity: (*units).try_into().unwrap(),
            unit_price_minor: *unit_price_minor,
        })
        .collect();
    let mut order = OrderPlaced {
        order_id: OrderId::derive(REGION, &market, &idempotency_key),
        market,
        region: REGION,
        idempotency_key,
        fingerprint: Fingerprint::of([format!("{lines:?}").as_bytes()]),
        accepted_at: accepted_at(),
        reference: Some(format!("shop-{key}")),
        customer: Some("customer-1".parse().unwrap()),
        currency: Currency::from_code("EUR").unwrap(),
        lines,
        shipping_minor: 0,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: 0,
        pricing: Pricing::Shop,
        attribution: Attribution { campaign: Some("spring".to_owned()), anonymous_id: None },
    };
    order.total_minor = order.computed_total().unwrap().minor;
    order
}

/// An order of a browser key, whose page was shown `age` before it was accepted.
pub(crate) fn browser_order(key: &str, lines: &[(&str, u32, i64)], age: TimeDelta) -> OrderPlaced {
    OrderPlaced { pricing: Pricing::Catalogue { shown_at: accepted_at() - age }, ..order(key, lines) }
}

pub(crate) fn event(order: OrderPlaced) -> Envelope<OrderPlaced> {
    Envelope::new(&ManualClock::at(accepted_at()), "ingress", order)
}

pub(crate) fn item(order: OrderPlaced) -> Item<Envelope<OrderPlaced>> {
    let event = event(order);
    Item { id: event.id.to_message_id(), attempt: 0, redelivered: false, event }
}
