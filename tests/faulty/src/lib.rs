//! A broker and processes in memory that fail between any two steps, for tests that hold real code to a model.
//!
//! # Nouns
//! The [`Server`] is one queue with its retry ladder and its parked queue. A *process* is a real [`worker::Worker`] over a
//! [`Client`], which is the [`broker::Broker`] of that process alone; its number is a [`Life`], and no life comes back. A
//! [`Step`] is a place in the code where something may happen, a [`Fault`] what does. The [`World`] is all of it on a clock
//! that stands still while anybody works: hours of retries pass in milliseconds, and one seed gives one history.
//!
//! # What goes wrong here
//! - A process dies before or after any step. From that moment nothing that it does has an effect, and what it held is back
//!   at the head of the queue with its count of deliveries raised.
//! - A connection is cut: settlements that had not reached the server are lost, deliveries in hand are stale.
//! - Copies for retry and park are refused, or stored and their confirm lost. An alarm stops them for a while.
//! - Messages are duplicated and overtake each other.
//!
//! # What does not
//! A confirmed message is never lost by the server: that is a broker's own promise, and the conformance suite's to prove.
//!
//! # What is real
//! The worker, whole, and `broker_rabbit::LowWater`, which decides what a multiple ack may cover. The server takes acks as
//! RabbitMQ does: one with `multiple` settles everything below it, and one for an unknown tag closes the channel.

mod client;
mod histories;
mod mischief;
mod notes;
mod plan;
mod server;
mod settler;
mod state;
mod still;
mod world;

pub use client::Client;
pub use histories::histories;
pub use mischief::{Mischief, mischief};
pub use notes::Notes;
pub use plan::{Armed, Fault, Step};
pub use server::Server;
pub use state::{End, How, Judge, Life, Parked};
pub use still::{StandStill, stand_still};
pub use world::{Make, Shape, World};
