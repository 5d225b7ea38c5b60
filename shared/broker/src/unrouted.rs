//! The alarm on unroutable messages.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, BrokerError};
use crate::topology::QueueName;

/// Looks at [`crate::topology::UNROUTED`] every `interval` until `stop`, and calls `alarm` with the count whenever it
/// is not zero: one message there means that a binding is missing. A broker that is away is not an alarm here.
pub async fn watch_unrouted(
    broker: &dyn Broker,
    interval: Duration,
    stop: CancellationToken,
    mut alarm: impl FnMut(u64) + Send,
) {
    let queues = [QueueName::unrouted()];
    while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        match broker.depths(&queues).await {
            Ok(depths) => {
                let waiting: u64 = depths.iter().map(|depth| depth.ready).sum();
                if waiting > 0 {
                    alarm(waiting);
                }
            }
            Err(BrokerError::Closed) => return,
            Err(error) => tracing::debug!(%error, "the depth of {} is not known", queues[0]),
        }
    }
}
