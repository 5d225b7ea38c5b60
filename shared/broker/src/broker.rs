//! The one trait whose futures are boxed, so that the binary can choose the broker at run time.

use bytes::Bytes;
use futures::future::BoxFuture;
use model::Message;

use crate::announce::Listener;
use crate::delivery::Subscription;
use crate::topology::{self, ExchangeName, QueueName, Topology};

/// A connection to a broker (in fact several: one publishes, one consumes, because an alarm that stops publishes on a
/// connection stops its acks too, and one announces). Cheap to share behind an `Arc`.
pub trait Broker: Send + Sync + 'static {
    /// Declares exchanges, queues, retry ladders, parked queues and bindings; idempotent. Waits for a broker that is
    /// away.
    ///
    /// # Errors
    /// [`BrokerError::Conflict`] where the broker holds a part of it with other arguments: a configuration error that
    /// waiting can't mend. [`BrokerError::Closed`] after [`Broker::close`].
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>>;

    /// Publishes a batch and waits for every confirm: one outcome per message, in the order given. Bounded by the
    /// implementation's publish timeout and in-flight limit.
    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>>;

    /// Starts consuming with at most `prefetch` unsettled deliveries (1 to 65,535). Resolves once the consumer is
    /// registered; from then on the subscription survives reconnects.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchQueue`] for a queue that was never declared, [`BrokerError::Closed`] after close.
    fn subscribe<'a>(&'a self, queue: &'a QueueName, prefetch: u16)
    -> BoxFuture<'a, Result<Subscription, BrokerError>>;

    /// How many messages wait in each of `queues`, in the order given. Does not wait for a broker that is away.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`], [`BrokerError::NoSuchQueue`].
    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>>;

    /// Tells everyone who listens to `topic`, in this process and in others: a heartbeat, a purge of what processes keep
    /// themselves. Fire and forget, at most [`crate::announce::MAX_ANNOUNCEMENT`] bytes: nothing is stored or confirmed,
    /// nothing waits, and without a connection it is dropped. Costs no publish anything.
    fn announce(&self, topic: &str, payload: Bytes);

    /// Hears what is announced under `topic` from about now on, one's own included. Survives reconnects; what is announced
    /// meanwhile, or faster than the listener takes it, is lost to it.
    fn listen(&self, topic: &str) -> Listener;

    /// Whether a publish would be tried now. Cheap enough to ask on every request.
    fn state(&self) -> BrokerState;

    /// What is on the other end, for `doctor`. Does not wait for a broker that is away.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] with the reason in words.
    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>>;

    /// Stops consuming, waits for confirms in flight, flushes acks and closes; idempotent.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A message and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The exchange; its alternate keeps what no queue wants.
    pub exchange: ExchangeName,
    /// Matched exactly against the bindings.
    pub routing_key: String,
    /// The message.
    pub message: Message,
}

impl Publish {
    /// `message` for `queue` alone, which was declared: nobody else who is bound to its type gets it. For a queue that is not
    /// there it is unroutable like any other.
    pub fn to_queue(queue: &QueueName, message: Message) -> Self {
        let exchange = ExchangeName::new(topology::QUEUES);
        Self { exchange, routing_key: queue.as_str().to_owned(), message }
    }
}

/// Why a message is not known to be durable. Every one but [`PublishError::Unroutable`] and
/// [`PublishError::TooLarge`] is worth a retry with the same message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// There is no connection; nothing was sent.
    #[error("the broker is not connected")]
    Unavailable,
    /// The broker has a resource alarm (memory, disk) and takes no publishes; nothing was sent.
    #[error("the broker takes no publishes: {0}")]
    Blocked(String),
    /// As many confirms are awaited as the configuration allows; nothing was sent.
    #[error("too many publishes are in flight")]
    Saturated,
    /// The broker refused it (a full queue with `reject-publish`); it is not stored.
    #[error("the broker refused the message: {0}")]
    Refused(String),
    /// Sent, but the connection died or the time ran out before the confirm. It may be stored or not.
    #[error("the broker did not confirm in time; the message may have been stored")]
    Unknown,
    /// It came back: neither a queue nor an alternate exchange took it. The topology is damaged.
    #[error("no queue and no alternate exchange took the message")]
    Unroutable,
    /// Larger than the broker takes.
    #[error("the message is larger than the broker takes: {0}")]
    TooLarge(String),
}

/// Why anything but a publish failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// Not reachable now.
    #[error("the broker is not reachable: {0}")]
    Unavailable(String),
    /// Declared already, with other arguments. The message says what to do.
    #[error("the broker's topology conflicts with what Millpond needs: {0}")]
    Conflict(String),
    /// Never declared, or deleted.
    #[error("the queue {0} does not exist")]
    NoSuchQueue(QueueName),
    /// [`Broker::close`] was called.
    #[error("the connection to the broker was closed by this process")]
    Closed,
    /// The URL or another setting can't work.
    #[error("the broker can't be used as configured: {0}")]
    Configuration(String),
    /// It belongs to one process, and another one has it. The message says what to do.
    #[error("the broker can't be used by this process: {0}")]
    Held(String),
}

/// What a publish would meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerState {
    /// Connected and taking publishes.
    Ready,
    /// Connected, with a resource alarm: publishes are refused at once, deliveries go on.
    Blocked,
    /// Not connected; reconnecting.
    Disconnected,
}

/// A queue's length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Depth {
    /// The queue.
    pub queue: QueueName,
    /// Messages that wait for a consumer (those held unsettled by one are not counted).
    pub ready: u64,
    /// Consumers registered.
    pub consumers: u32,
}

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInfo {
    /// The product: `RabbitMQ`, `embedded`.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Plain sentences about what it does not protect from, for `doctor`.
    pub warnings: Vec<String>,
}
