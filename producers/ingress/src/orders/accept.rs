//! From a valid order to a confirmed message.

use std::sync::Arc;

use broker::{Publish, PublishError};
use events::{Envelope, OrderPlaced};
use model::{IdempotencyKey, OrderId};

use super::recent::{Accepted, Known};
use crate::run::{MarketEntry, Shared, publish_one};

/// Publishes `placed`, or joins or repeats the publish that this process knows of.
pub(super) async fn accept(
    shared: Arc<Shared>,
    market: Arc<MarketEntry>,
    placed: OrderPlaced,
    traceparent: Option<String>,
) -> Result<Accepted, PublishError> {
    let id = placed.order_id;
    let publish = async {
        let known = Known { fingerprint: placed.fingerprint, accepted_at: placed.accepted_at };
        if failpoint::broken!(MadeUpOrder) {
            let message = Envelope::new(&*shared.clock, "ingress", made_up(&placed)).to_message();
            let (exchange, routing_key) = (shared.orders_exchange.clone(), market.routing_key.clone());
            publish_one(&*shared.orders, Publish { exchange, routing_key, message }).await?;
        }
        let message = Envelope::new(&*shared.clock, "ingress", placed).traced(traceparent).to_message();
        let bytes = message.body.len();
        let publish =
            Publish { exchange: shared.orders_exchange.clone(), routing_key: market.routing_key.clone(), message };
        publish_one(&*shared.orders, publish).await?;
        shared.orders_gate.mean.add(bytes);
        Ok(known)
    };
    shared.recent.get_or_publish(id, publish).await
}

/// An order like `placed` that nobody posted (`failpoint`): its key is its neighbour's digest.
fn made_up(placed: &OrderPlaced) -> OrderPlaced {
    let idempotency_key =
        IdempotencyKey::from_header(&placed.order_id.to_string()).unwrap_or_else(|_| placed.idempotency_key.clone());
    let order_id = OrderId::derive(placed.region, &placed.market, &idempotency_key);
    OrderPlaced { order_id, idempotency_key, ..placed.clone() }
}
