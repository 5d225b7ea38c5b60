//! What must hold of an order before the database is asked: the ingress made sure of all of it, so an order that fails
//! here was put into the queue by something else, or by an ingress that numbers the regions differently.

use events::{Envelope, OrderPlaced, Pricing, Quantity};
use model::{OrderId, RegionNumber};

use crate::allocate::Basket;

/// An order that may be stored.
#[derive(Debug)]
pub(crate) struct Checked<'a> {
    /// The event.
    pub(crate) event: &'a Envelope<OrderPlaced>,
    /// Its lines, merged.
    pub(crate) basket: Basket,
}

impl Checked<'_> {
    pub(crate) fn placed(&self) -> &OrderPlaced {
        &self.event.data
    }
}

/// Why an order is not stored, in words for an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It carries another region's number. Almost surely the ingress and this worker are configured with different numbers
    /// for one region, which is mended in a configuration and not in the order: it is worth waiting for.
    Elsewhere(String),
    /// It can never become an order.
    Never(String),
}

/// Checks an event for the worker of `region`.
///
/// # Errors
/// The [`Refusal`].
pub(crate) fn check(event: &Envelope<OrderPlaced>, region: RegionNumber) -> Result<Checked<'_>, Refusal> {
    let order = &event.data;
    if order.region != region || order.order_id.region() != region {
        return Err(Refusal::Elsewhere(format!(
            "the order belongs to region {} (its id to {}), this worker serves region {region}: compare the regions' \
             numbers in the configuration of the ingress with those here",
            order.region,
            order.order_id.region()
        )));
    }
    check_contents(event, region).map_err(Refusal::Never)
}

fn check_contents(event: &Envelope<OrderPlaced>, region: RegionNumber) -> Result<Checked<'_>, String> {
    let order = &event.data;
    if order.order_id != OrderId::derive(region, &order.market, &order.idempotency_key) {
        return Err("the order id was not computed from region, market and key".to_owned());
    }
    if order.lines.is_empty() {
        return Err("the order has no lines".to_owned());
    }
    check_amounts(order)?;
    let basket = Basket::merged(order.lines.iter().map(|line| (line.sku.clone(), line.quantity.get())));
    if let Some((sku, units)) = basket.iter().find(|(_, units)| *units > Quantity::MAX) {
        let most = Quantity::MAX;
        return Err(format!("the lines of {sku} ask for {units} units together, at most {most} are sold at once"));
    }
    Ok(Checked { event, basket })
}

fn check_amounts(order: &OrderPlaced) -> Result<(), String> {
    let amounts = [order.shipping_minor, order.tax_minor, order.discount_minor, order.total_minor];
    let prices = order.lines.iter().map(|line| line.unit_price_minor);
    if amounts.into_iter().chain(prices).any(|minor| minor < 0) {
        return Err("an amount is below 0".to_owned());
    }
    if matches!(order.pricing, Pricing::Catalogue { .. }) && order.discount_minor != 0 {
        return Err("a browser key can't grant a discount".to_owned());
    }
    match order.computed_total() {
        Ok(total) if total.minor == order.total_minor => Ok(()),
        Ok(total) => Err(format!("the total is {}, its parts sum up to {}", order.total_minor, total.minor)),
        Err(error) => Err(format!("the total can't be computed: {error}")),
    }
}
