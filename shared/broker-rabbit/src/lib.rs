//! RabbitMQ (3.10 to 4.x) as a [`broker::Broker`]: quorum queues, confirmed publishes, and a reconnect that never gives
//! up. [`Rabbit::connect`] is the way in.
//!
//! # Nouns
//! - A **link** is one connection that comes back for ever. There are two, because an alarm that stops publishes on a
//!   connection stops its acks, too. A **session** is a link's connection until it fails; it is then dropped whole.
//! - The **lane** is the publishing channel, in confirm mode. A **flight** is one caller's messages whose confirms are
//!   awaited; the **gatherer** is the task that sends for all callers, so that what is published at once leaves at once.
//! - A **window** is a consumer channel's unsettled deliveries; its **low-water mark** is the highest tag with no
//!   unsettled one at or below it.
//!
//! # Guarantees
//! - **`Ok` is a confirm of that very message**, on a channel in confirm mode, from a quorum queue: nothing else counts.
//!   What was sent and not confirmed in time is [`broker::PublishError::Unknown`].
//! - **Nothing in flight is without bound**: lapin's own queues are, so permits for messages and for bytes are held from
//!   before the send until lapin has let go of the message, also where the caller has not waited for it.
//! - **Publishing never waits for a broker**: without a connection it answers at once, under an alarm too.
//! - **A multiple ack never passes the low-water mark**, so it can't cover a delivery that somebody still works on. What
//!   is acked beyond the mark goes as single acks, at once.
//! - **Exchanges and queues come back by themselves** after a reconnect and when a queue is deleted under its consumer.
//! - **Arguments hold what correctness needs** ([`broker::topology`] in RabbitMQ's words): an AMQP client can't set
//!   policies, and limits (length, deliveries) are the operator's, by policy. An operator's delivery limit parks.
//! - **Announcements stand before nothing**: transient, unconfirmed, on a third connection that is made for the first who
//!   speaks or listens.
//!
//! # What is not relied on
//! lapin's auto-recovery and its attribution of returned messages; `mandatory` (a tripwire here: every exchange has an
//! alternate); RabbitMQ's own delivery count, which differs between versions.
//!
//! # Refused
//! Several publishing channels (no faster, and they would lose the order between batches); a pool of connections; peeking
//! with `basic.get`, which counts as a delivery.

mod backoff;
mod config;
mod consumer;
mod fault;
mod flight;
mod gather;
mod lane;
mod link;
mod low_water;
mod probe;
mod publisher;
mod rabbit;
mod settler;
mod silence;
mod telemetry;
mod topology;
mod window;
mod wire;

pub use config::Config;
pub use low_water::{Frames, LowWater};
pub use rabbit::Rabbit;
