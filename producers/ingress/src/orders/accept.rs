//! From a valid order to a confirmed message.

use std::sync::Arc;

use broker::{Publish, PublishError};
use events::{Envelope, OrderPlaced};

use super::recent::{Accepted, Known};
use crate::run::{MarketEntry, Shared, publish_one};

/// Publishes `placed`, or joins or repeats the publish that this process knows of.
pub(super) async fn accept(
    shared: Arc<Shared>,
    market: Arc<MarketEntry>,
    placed: OrderPlaced,
    traceparent: Option<String>,
) -> Result<Accepted, Arc<PublishError>> {
    let id = placed.order_id;
    let publish = async {
        let known = Known { fingerprint: placed.fingerprint, accepted_at: placed.accepted_at };
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
