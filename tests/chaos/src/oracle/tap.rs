//! A queue of the oracle's own, bound to whatever is told of orders, and an ear at it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use broker::{Broker, QueueName, Settle, layout};
use broker_rabbit::Rabbit;
use testkit::vhost::Vhost;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::told::Told;

/// Where it hears.
pub const QUEUE: &str = "oracle.told";
const PREFETCH: u16 = 200;
/// Nothing came for so long: that was all.
const QUIET_FOR: Duration = Duration::from_secs(2);

/// Declares the queue and binds it; the exchange has to be there, and what it told before is not heard.
///
/// # Errors
/// The management API's.
pub async fn lay(vhost: &Vhost) -> Result<()> {
    vhost.declare_queue(QUEUE).await?;
    for key in layout::FACTS_TO_ANALYTICS {
        vhost.bind(layout::facts_exchange().as_str(), QUEUE, key).await?;
    }
    Ok(())
}

/// Hears until `stop`; across whatever happens to the broker.
///
/// # Errors
/// Where the queue is not there.
pub async fn listen(broker: &dyn Broker, told: &Mutex<Told>, stop: CancellationToken) -> Result<()> {
    let mut messages = broker.subscribe(&QueueName::new(QUEUE), PREFETCH).await?;
    while let Some(Some(delivery)) = stop.run_until_cancelled(messages.next()).await {
        told.lock().unwrap_or_else(PoisonError::into_inner).hear(delivery.message());
        // One whose ack is lost is heard again, as by every other consumer.
        let _ = delivery.settle(Settle::Ack).await;
    }
    Ok(())
}

/// Hears what waits, too, until nothing more comes.
///
/// # Errors
/// Where the queue is not there.
pub async fn drain(url: &str, told: &mut Told) -> Result<()> {
    let rabbit = Rabbit::connect(url, "millpond oracle", broker_rabbit::Config::default())?;
    let mut messages = rabbit.subscribe(&QueueName::new(QUEUE), PREFETCH).await?;
    while let Ok(Some(delivery)) = timeout(QUIET_FOR, messages.next()).await {
        told.hear(delivery.message());
        delivery.settle(Settle::Ack).await?;
    }
    drop(messages);
    rabbit.close().await;
    Ok(())
}
