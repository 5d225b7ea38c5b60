//! A message on its way through a consumer, and how it ends.

use std::time::Duration;

use futures::future::BoxFuture;
use model::Message;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

/// How a delivery ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Its effect is committed.
    Ack,
    /// Again later, in the same queue, with [`model::headers::ATTEMPT`] counted up. The delay is rounded up to the
    /// queue's retry ladder ([`crate::QueueSpec::retry_delays`]), or its last rung.
    Retry {
        /// Not before this long from now.
        after: Duration,
        /// Why, for people ([`model::headers::REASON`]).
        reason: String,
    },
    /// To the queue's parked queue, for a person to look at.
    Park {
        /// Why, for people.
        reason: String,
    },
    /// Back to the queue as it was, at once, with no attempt counted: for a consumer that stops, or that never looked
    /// at it.
    Requeue,
}

/// A settlement that did not reach the broker. The delivery is back in its queue or will be: nothing is lost, and the
/// effect may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The connection that delivered it is gone; the broker delivers it again.
    #[error("the connection that delivered the message is gone; it will be delivered again")]
    Gone,
    /// The copy for retry or park was not confirmed; the original went back to the queue.
    #[error("the copy was not confirmed ({0}); the message went back to its queue")]
    Requeued(String),
}

/// The implementation's side of a delivery.
pub trait Settler: Send + Sync + 'static {
    /// Ends the delivery of `message`.
    fn settle(self: Box<Self>, message: &Message, how: Settle) -> BoxFuture<'_, Result<(), SettleError>>;

    /// The delivery was dropped unsettled: put it back and count it. Must not block.
    fn release(self: Box<Self>);
}

/// A message handed to this consumer alone until it is settled. Dropped unsettled it goes back to the queue.
pub struct Delivery {
    message: Message,
    redelivered: bool,
    handed_out: u32,
    /// Gone once settled, so that the drop that follows puts nothing back.
    settler: Option<Box<dyn Settler>>,
}

impl Delivery {
    /// For implementations: `delivery_count` is how often the broker handed it out before, where it counts; 1 or more
    /// implies `redelivered`.
    pub fn new(message: Message, redelivered: bool, delivery_count: u32, settler: Box<dyn Settler>) -> Self {
        Self { message, redelivered, handed_out: delivery_count, settler: Some(settler) }
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Whether the broker handed it out before, here or elsewhere, without a settlement.
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// How often the broker handed it out before; 0 also where it does not count.
    pub fn delivery_count(&self) -> u32 {
        self.handed_out
    }

    /// Ends the delivery.
    ///
    /// # Errors
    /// [`SettleError`]: the message is or will be back in its queue.
    pub async fn settle(mut self, how: Settle) -> Result<(), SettleError> {
        match self.settler.take() {
            Some(settler) => settler.settle(&self.message, how).await,
            // Not reached: only settling and dropping take the settler, and both consume the delivery.
            None => Err(SettleError::Gone),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            settler.release();
        }
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.message.id)
            .field("kind", &self.message.kind)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

/// Deliveries of one queue, across reconnects. Dropping it stops the consumer and puts back what it had buffered;
/// deliveries already taken can still be settled.
pub struct Subscription {
    // First, and so dropped first: the implementation hears of the end before it is given back what was buffered.
    _stop: DropGuard,
    deliveries: mpsc::Receiver<Delivery>,
}

impl Subscription {
    /// For implementations: `stop` is cancelled when the subscription is dropped, before the deliveries that it still holds
    /// are released. The channel should hold `prefetch`.
    pub fn new(deliveries: mpsc::Receiver<Delivery>, stop: DropGuard) -> Self {
        Self { _stop: stop, deliveries }
    }

    /// The next delivery; `None` once the broker was closed by this process. Cancel-safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// A delivery that is there already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.deliveries.try_recv().ok()
    }
}
