//! What handles and deliveries ask of the writer thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use broker::{
    BrokerError, Delivery, Depth, ExchangeName, PublishError, QueueName, Settle, SettleError, Settler, Topology,
};
use futures::future::BoxFuture;
use model::{Message, headers};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::key::Key;
use crate::record::Record;

/// Tells one subscription from another for as long as the file is open.
pub(crate) type ConsumerId = u64;

/// One outcome per message, in order.
pub(crate) type Outcomes = Vec<Result<(), PublishError>>;

pub(crate) enum Command {
    Declare {
        topology: Topology,
        reply: oneshot::Sender<Result<(), BrokerError>>,
    },
    Publish(PublishBatch),
    Subscribe {
        queue: QueueName,
        prefetch: u16,
        deliveries: mpsc::Sender<Delivery>,
        reply: Reply,
    },
    Depths {
        queues: Vec<QueueName>,
        reply: oneshot::Sender<Result<Vec<Depth>, BrokerError>>,
    },
    Ack(Ticket),
    /// Back to its queue, one more delivery counted.
    Release(Ticket),
    Move {
        ticket: Ticket,
        to: Destination,
        record: Record,
        reply: oneshot::Sender<Result<(), SettleError>>,
    },
    Close,
}

pub(crate) type Reply = oneshot::Sender<Result<(), BrokerError>>;

pub(crate) struct PublishBatch {
    /// What the handle refused already keeps its place.
    pub(crate) entries: Vec<Result<Entry, PublishError>>,
    pub(crate) reply: oneshot::Sender<Outcomes>,
    /// Given back once the outcomes are known, also where nobody waits for them any more.
    pub(crate) permit: OwnedSemaphorePermit,
}

pub(crate) struct Entry {
    pub(crate) exchange: ExchangeName,
    pub(crate) routing_key: String,
    pub(crate) record: Record,
}

/// Where a retried or parked message goes: one transaction with the removal of the original.
pub(crate) enum Destination {
    Delayed(Duration),
    Parked,
}

/// One hand-out of one message. It exists once, so each is settled once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) key: Key,
    pub(crate) consumer: ConsumerId,
}

/// The settling side of a delivery.
pub(crate) struct Settling {
    pub(crate) ticket: Ticket,
    pub(crate) queue: Arc<QueueName>,
    pub(crate) writer: Sender<Command>,
}

impl Settling {
    fn send(&self, command: Command) -> Result<(), SettleError> {
        self.writer.send(command).map_err(|_closed| SettleError::Gone)
    }

    async fn move_to(&self, to: Destination, copy: &Message) -> Result<(), SettleError> {
        let (reply, moved) = oneshot::channel();
        self.send(Command::Move { ticket: self.ticket, to, record: Record::of(copy), reply })?;
        moved.await.unwrap_or(Err(SettleError::Gone))
    }
}

impl Settler for Settling {
    fn settle(self: Box<Self>, message: &Message, how: Settle) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(async move {
            match how {
                // Durable with the next commit, which nobody waits for (`gather.rs`): an ack that a kill undoes means that
                // the message comes again.
                Settle::Ack => self.send(Command::Ack(self.ticket)),
                Settle::Requeue => self.send(Command::Release(self.ticket)),
                Settle::Retry { after, reason } => {
                    let attempt = message.attempt().saturating_add(1).to_string();
                    let copy = with_headers(message, [(headers::ATTEMPT, attempt), (headers::REASON, reason)]);
                    self.move_to(Destination::Delayed(after), &copy).await
                }
                Settle::Park { reason } => {
                    let origin = self.queue.to_string();
                    let copy = with_headers(message, [(headers::REASON, reason), (headers::ORIGIN_QUEUE, origin)]);
                    self.move_to(Destination::Parked, &copy).await
                }
            }
        })
    }

    fn release(self: Box<Self>) {
        // A closed broker has put it back already.
        let _ = self.writer.send(Command::Release(self.ticket));
    }
}

fn with_headers(message: &Message, headers: [(&str, String); 2]) -> Message {
    let mut copy = message.clone();
    copy.headers.extend(headers.map(|(name, value)| (name.to_owned(), value)));
    copy
}
