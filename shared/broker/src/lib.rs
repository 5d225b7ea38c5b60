//! What Millpond asks of a broker, in bytes and headers alone: [`Broker`], [`Delivery`], [`Topology`]. Two crates
//! implement it, `broker-rabbit` and `broker-embedded`, and one conformance suite (feature `conformance`) holds both to
//! the same meaning.
//!
//! # Guarantees of every implementation
//! - **A confirmed publish is durable.** [`Broker::publish`] gives one outcome per message, in order; `Ok` means that the
//!   message survives a kill of the broker's process. [`PublishError::Unknown`] means just that: it may still arrive.
//! - **Delivery is at least once.** A delivery that is dropped unsettled, or whose connection dies, comes back with
//!   `redelivered` set.
//! - **Settling consumes the delivery**, so settling twice does not compile. An ack never covers a delivery that was not
//!   itself settled, whatever the order in which batches finish.
//! - **Retry and park lose nothing**: the copy is published with confirm before the original is acked. A retried message
//!   returns to its own queue and to no other.
//! - **A queue can be published to by its name** ([`Publish::to_queue`]): that one gets the message, and no other.
//! - **An unroutable publish is kept** in [`topology::UNROUTED`], alarmed, and never attributed to another publish.
//! - **Reconnecting is the implementation's business, for ever.** `declare` and `subscribe` wait for a broker that is
//!   away; `publish` does not wait: it answers [`PublishError::Unavailable`] at once, because its caller has a client
//!   to answer.
//! - **An announcement is a note that may be lost** ([`Broker::announce`]): it waits for nobody, is kept nowhere, and
//!   reaches everyone who listens and keeps up.
//!
//! # Refused
//! Transactions over several queues, priorities, per-message time to live (mixed ones expire only at a queue's head),
//! and exactly-once delivery: effects are made unique where they are stored.

pub mod announce;
mod broker;
#[cfg(feature = "conformance")]
pub mod conformance;
mod delivery;
pub mod layout;
pub mod topology;
mod unrouted;

pub use announce::Listener;
pub use broker::{Broker, BrokerError, BrokerInfo, BrokerState, Depth, Publish, PublishError};
pub use delivery::{Delivery, Settle, SettleError, Settler, Subscription};
pub use topology::{Binding, ExchangeName, QueueName, QueueSpec, Topology};
pub use unrouted::watch_unrouted;
