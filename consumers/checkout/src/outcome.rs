//! What becomes of the new orders of a batch: pure, over what the database said.

use std::collections::{BTreeMap, BTreeSet};

use broker::layout;
use chrono::{DateTime, TimeDelta, Utc};
use events::{
    Band, Contract, Envelope, OrderConfirmed, OrderLine, OrderOutcomes, OrderPlaced, OrderRejected, OrderState,
    Rejection, StockChanged,
};
use model::{EventId, OrderId, RegionName, RegionNumber, Sku, headers};
use store::outbox::Outgoing;

use crate::allocate::{Allocation, Basket, Outcome, allocate};
use crate::intake::Checked;
use crate::price::{self, Prices};
use crate::sql::{Created, Stock};

/// The `source` of the events.
const SOURCE: &str = "checkout";

/// An order that this transaction is the first to store.
#[derive(Debug)]
pub(crate) struct New<'a> {
    pub(crate) event: &'a Envelope<OrderPlaced>,
    pub(crate) basket: &'a Basket,
    /// Lines of the same SKU and price are one, in the order posted.
    pub(crate) lines: Vec<OrderLine>,
    /// By the database's clock.
    pub(crate) at: DateTime<Utc>,
    /// Until when its units are held for its payment; none: it needs none.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

impl<'a> New<'a> {
    pub(crate) fn of(order: &'a Checked<'a>, created: Created) -> Self {
        let lines = merged(&order.placed().lines);
        let Created { at, expires_at } = created;
        Self { event: order.event, basket: &order.basket, lines, at, expires_at }
    }

    pub(crate) fn placed(&self) -> &OrderPlaced {
        &self.event.data
    }

    pub(crate) fn id(&self) -> OrderId {
        self.placed().order_id
    }
}

/// The quantities' sum fits, because the basket's was checked.
fn merged(lines: &[OrderLine]) -> Vec<OrderLine> {
    let mut merged: Vec<OrderLine> = Vec::with_capacity(lines.len());
    for line in lines {
        let same = merged.iter_mut().find(|m| m.sku == line.sku && m.unit_price_minor == line.unit_price_minor);
        let sum = same.as_ref().and_then(|m| (m.quantity.get() + line.quantity.get()).try_into().ok());
        match (same, sum) {
            (Some(same), Some(sum)) => same.quantity = sum,
            _ => merged.push(line.clone()),
        }
    }
    merged
}

/// Allocates `stock` to `orders` in arrival order. An order whose shown prices are no longer the shop's takes part in
/// nothing; one with an unknown SKU is called that, whatever its prices.
pub(crate) fn decide(
    orders: &[New<'_>],
    stock: &BTreeMap<Sku, Stock>,
    prices: &Prices,
    grace: TimeDelta,
) -> Allocation {
    let refused: Vec<Option<Rejection>> = orders
        .iter()
        .map(|order| {
            let known = order.basket.iter().all(|(sku, _)| stock.contains_key(sku));
            known.then(|| price::refusal(order.placed(), prices, grace)).flatten()
        })
        .collect();
    let available = stock.iter().map(|(sku, stock)| (sku.clone(), stock.available())).collect();
    let taking = orders.iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(order, _)| order.basket);
    let Allocation { outcomes, taken } = allocate(taking, &available);
    let mut allocated = outcomes.into_iter();
    let outcomes =
        refused.into_iter().filter_map(|refused| refused.map(Outcome::Rejected).or_else(|| allocated.next())).collect();
    Allocation { outcomes, taken }
}

/// The state that `outcome` is stored and shown as: an order that got its units waits for its payment until `expires_at`,
/// where there is to be one.
pub(crate) fn state(outcome: &Outcome, expires_at: Option<DateTime<Utc>>) -> OrderState {
    match outcome {
        Outcome::Confirmed => {
            expires_at.map_or(OrderState::Confirmed, |expires_at| OrderState::Reserved { expires_at })
        }
        Outcome::Rejected(reason) => OrderState::Rejected { reason: reason.clone() },
    }
}

/// The events that tell how `orders` ended: as few as their sizes allow. One that waits for its payment has not ended yet.
pub(crate) fn announce(region: RegionNumber, orders: &[(&New<'_>, &Outcome)], at: DateTime<Utc>) -> Vec<Outgoing> {
    let mut events = Vec::new();
    let (mut gathered, mut lines) = (OrderOutcomes::new(region), 0);
    let ended =
        |(order, outcome): &&(&New<'_>, &Outcome)| **outcome != Outcome::Confirmed || order.expires_at.is_none();
    for (order, outcome) in orders.iter().filter(ended) {
        let full = gathered.len() == OrderOutcomes::MAX_ORDERS || lines + order.lines.len() > OrderOutcomes::MAX_LINES;
        if full && !gathered.is_empty() {
            events.push(outcomes(at, std::mem::replace(&mut gathered, OrderOutcomes::new(region))));
            lines = 0;
        }
        lines += order.lines.len();
        add(&mut gathered, order, outcome);
    }
    if !gathered.is_empty() {
        events.push(outcomes(at, gathered));
    }
    events
}

fn add(outcomes: &mut OrderOutcomes, order: &New<'_>, outcome: &Outcome) {
    let placed = order.placed();
    match outcome {
        Outcome::Confirmed => outcomes.confirmed.push(OrderConfirmed {
            order_id: placed.order_id,
            market: placed.market.clone(),
            region: placed.region,
            accepted_at: placed.accepted_at,
            confirmed_at: order.at,
            currency: placed.currency,
            total_minor: placed.total_minor,
            lines: order.lines.clone(),
            attribution: placed.attribution.clone(),
        }),
        Outcome::Rejected(reason) => outcomes.rejected.push(OrderRejected {
            order_id: placed.order_id,
            market: placed.market.clone(),
            region: placed.region,
            accepted_at: placed.accepted_at,
            rejected_at: order.at,
            reason: reason.clone(),
            attribution: placed.attribution.clone(),
        }),
    }
    if let Some(traceparent) = &order.event.traceparent {
        outcomes.traceparents.insert(placed.order_id, traceparent.clone());
    }
}

fn outcomes(at: DateTime<Utc>, outcomes: OrderOutcomes) -> Outgoing {
    let count = outcomes.len();
    let mut event = message(at, outcomes);
    event.message.headers.insert(headers::EVENT_COUNT.to_owned(), count.to_string());
    event
}

/// One event for each SKU whose availability crossed a band; a batch that crosses two is one change.
pub(crate) fn crossings(
    region: &RegionName,
    stock: &BTreeMap<Sku, Stock>,
    taken: &BTreeMap<Sku, i64>,
    at: DateTime<Utc>,
) -> Vec<Outgoing> {
    taken
        .iter()
        .filter_map(|(sku, units)| {
            let stock = stock.get(sku)?;
            let before = Band::of(stock.available(), stock.low_threshold);
            let band = Band::of(stock.available() - units, stock.low_threshold);
            let changed = StockChanged { region: region.clone(), sku: sku.clone(), band, version: stock.version + 1 };
            (band != before).then(|| message(at, changed))
        })
        .collect()
}

/// The SKUs of all `orders`, sorted.
pub(crate) fn skus<'a>(orders: impl IntoIterator<Item = &'a New<'a>>) -> BTreeSet<&'a Sku> {
    orders.into_iter().flat_map(|order| order.basket.iter().map(|(sku, _)| sku)).collect()
}

fn message<P: Contract>(at: DateTime<Utc>, data: P) -> Outgoing {
    let event = Envelope { id: EventId::at(at), source: SOURCE.to_owned(), occurred_at: at, traceparent: None, data };
    Outgoing::event(layout::facts_exchange().as_str(), &event)
}
