//! Why a worker ends although nobody asked it to.

use broker::{BrokerError, QueueName};

/// What waiting can't mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A setting that can't work, and what to do.
    #[error("{0}")]
    Config(String),
    /// The queue can't be consumed: it was never declared, or the broker was closed.
    #[error("queue {queue} can't be consumed")]
    Subscribe {
        /// Which.
        queue: QueueName,
        /// Why.
        source: BrokerError,
    },
    /// The broker was closed under a worker that nobody had stopped.
    #[error("the subscription to queue {0} ended although the worker was not asked to stop")]
    Ended(QueueName),
    /// The loop itself panicked; its deliveries are back in the queue.
    #[error("the worker of queue {queue} panicked outside its handler: {message}")]
    Panicked {
        /// Which.
        queue: QueueName,
        /// What the panic said.
        message: String,
    },
}
