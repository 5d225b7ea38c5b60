//! Millpond's own exchanges, queues and routing keys: the one place where producers and consumers agree on names.
//!
//! | exchange | routing key | queue | on |
//! |---|---|---|---|
//! | `millpond.orders.v1` | `order.placed.<region>` | `millpond.checkout.<region>.v1` | the orders broker |
//! | `millpond.facts.v1` | `order.outcomes`, `order.confirmed`, `order.rejected`, `order.released`, `order.refunded` | `millpond.analytics.orders.v1` | the orders broker |
//! | `millpond.facts.v1` | `product.changed`, `stock.changed`, `stock.shortfall` | `millpond.invalidation.v1` | the orders broker |
//! | `millpond.pages.v1` | `page.batch` | `millpond.analytics.pages.v1` | the events broker |
//!
//! To add a consumer: a queue function here, its bindings in [`orders`] or [`pages`], and the row above. To change a
//! queue's arguments: a new version in its name, declared beside the old one until that is drained.

use model::RegionName;

use crate::topology::{ExchangeName, QueueName, QueueSpec, Topology};

/// Routing keys of what the outbox says of orders, and the ingress never does: how they ended, and what was taken back.
pub const FACTS_TO_ANALYTICS: [&str; 5] =
    ["order.outcomes", "order.confirmed", "order.rejected", "order.released", "order.refunded"];
/// Routing keys of what the outbox says of the catalogue and of stock.
pub const FACTS_TO_INVALIDATION: [&str; 3] = ["product.changed", "stock.changed", "stock.shortfall"];
/// A batch of page events.
pub const PAGE_BATCH_KEY: &str = "page.batch";

/// Where the ingress publishes orders.
pub fn orders_exchange() -> ExchangeName {
    ExchangeName::new("millpond.orders.v1")
}

/// Where the relay publishes what the outbox holds; the routing key is the event's type.
pub fn facts_exchange() -> ExchangeName {
    ExchangeName::new("millpond.facts.v1")
}

/// Where the ingress publishes page events.
pub fn pages_exchange() -> ExchangeName {
    ExchangeName::new("millpond.pages.v1")
}

/// The routing key of a placed order.
pub fn order_placed_key(region: &RegionName) -> String {
    format!("order.placed.{region}")
}

/// Orders of a region, for checkout alone.
pub fn checkout_queue(region: &RegionName) -> QueueName {
    QueueName::new(format!("millpond.checkout.{region}.v1"))
}

/// Outcomes of orders, for analytics.
pub fn analytics_orders_queue() -> QueueName {
    QueueName::new("millpond.analytics.orders.v1")
}

/// Page events, for analytics.
pub fn analytics_pages_queue() -> QueueName {
    QueueName::new("millpond.analytics.pages.v1")
}

/// Changes that make cached pages old.
pub fn invalidation_queue() -> QueueName {
    QueueName::new("millpond.invalidation.v1")
}

/// Everything on the orders broker.
pub fn orders<'a>(regions: impl IntoIterator<Item = &'a RegionName>) -> Topology {
    let checkout = regions.into_iter().fold(Topology::default(), |topology, region| {
        let key = order_placed_key(region);
        topology.with_queue(&orders_exchange(), QueueSpec::new(checkout_queue(region)), [key.as_str()])
    });
    checkout.with_queue(&facts_exchange(), QueueSpec::new(analytics_orders_queue()), FACTS_TO_ANALYTICS).with_queue(
        &facts_exchange(),
        QueueSpec::new(invalidation_queue()),
        FACTS_TO_INVALIDATION,
    )
}

/// Everything on the events broker.
pub fn pages() -> Topology {
    Topology::default().with_queue(&pages_exchange(), QueueSpec::new(analytics_pages_queue()), [PAGE_BATCH_KEY])
}
