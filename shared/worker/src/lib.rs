//! The consume loop that every consumer shares: from deliveries to batches, through a [`Handler`], to settlements.
//!
//! # Nouns
//! A *batch* is up to N messages, or what came within a few milliseconds of the first. A *verdict* is what the handler
//! says of one message, a *fate* what became of it all in all. *Poison* can never succeed; *infrastructure* is everything
//! that is not a message's fault. The *ladder* is the queue's list of retry delays. A *suspect* is a message that was
//! redelivered too often. The [`Breaker`] belongs to a database and is shared by all workers of a process that use it; so
//! does the [`Governor`], which keeps all workers of all processes together within the database's *budget*.
//!
//! # Guarantees
//! - **Acked means committed.** A delivery is acked after its batch's call returned `Done` for it, and by no other path.
//!   Whatever else happens (an error, a panic, a stop, a crash), it is retried, parked, or back in its queue.
//! - **One bad message harms no other.** A batch that fails for a message's sake is bisected; its neighbours are each
//!   committed exactly once. A message that takes the whole process down is found out and parked (`crash.rs` says how).
//! - **An outage costs nobody an attempt.** While the database is away deliveries are held, nothing is parked and nothing
//!   counted; one prober asks it, and recovery begins with one message and doubles. A long outage gives the deliveries
//!   back and drops the subscription until the database answers, so that the broker's consumer timeout never strikes.
//! - **A pause is obeyed** ([`Pauses`]): what is in hand is finished, or goes back where it waits for a database; then
//!   there is no subscription, nothing is held and no attempt is spent until the queue is resumed. A worker takes nothing
//!   before it knows that its queue is not paused.
//! - **A budget is kept.** While there is enough to do, the rows and transactions per second of all workers that use a
//!   database stay at its budget, second by second, however many they are; checkout before analytics (`governor.rs`).
//! - **A refused copy is no hot loop.** After the broker refused a retry or a park no batch is taken for a while.
//! - **Bounded.** Deliveries in hand never exceed the prefetch, batches in flight `parallel_batches`, and retries that
//!   wait for a broker under alarm a quarter of the prefetch.
//! - **A soft stop finishes what is in hand**, a hard one drops it; both leave every message settled or in its queue.
//!
//! # Why these decisions
//! - Poison is a closed list that the handler draws up ([`BatchError`]); the rest is infrastructure, because parking an
//!   order for a full disk would lose it for the customer.
//! - A hang is infrastructure if the database does not answer a probe either; else it is bisected and, alone, an attempt.
//! - A lock that outlives its retries sends the message round the ladder and never parks it.
//! - An unknown type or version goes round on the last rung for ever, with an alarm: in a rolling upgrade the release
//!   that knows it is on its way.
//!
//! # Refused
//! Order across batches (with `parallel_batches` of 1 a queue is handled in order but for retries); exactly-once
//! delivery (effects are made unique where they are stored); a dead-letter policy of the broker's (it would drop, or spend
//! neighbours' deliveries; it stays a backstop); giving up on a handler that blocks its thread (nothing can).
//!
//! # To add a consumer
//! A queue in `broker::layout`, a `Handler` whose `handle` is one transaction with a unique key and counts its rows, a
//! [`Worker`] with the breaker of its database and a seat of its governor.

mod alarm;
mod attempt;
mod batch;
mod breaker;
mod budget_meters;
mod config;
mod context;
mod crash;
mod error;
mod governor;
mod governor_config;
mod handler;
mod heartbeat;
mod held;
mod meters;
mod panic;
mod pause;
mod process;
mod refusals;
mod settle;
mod stats;
mod witness;
mod worker;

pub use breaker::Breaker;
pub use config::{BreakerConfig, Config};
pub use error::Error;
pub use governor::{Governor, GovernorSnapshot, Seat, SeatSnapshot};
pub use governor_config::GovernorConfig;
pub use handler::{BatchError, Handled, Handler, Item, Verdict};
pub use pause::{PauseConfig, Pauses};
pub use stats::{Stats, StatsSnapshot};
pub use witness::Witness;
pub use worker::{Worker, WorkerDeps};
