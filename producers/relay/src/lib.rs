//! Outbox to broker: what committed is published, and only what the broker confirmed is deleted.
//!
//! # Guarantees
//! - A committed outbox row is published at least once, whenever this process or another dies: the row goes with the
//!   confirm and not before. Its message id is the event's, so a consumer knows a repeat.
//! - Any number of relays may run at once; none publishes what another has claimed.
//! - A database or broker that is away delays its own messages alone: each database has a loop of its own, and a broker
//!   that takes no publishes holds no claim in any of them.
//! - An old row is an alarm ([`Config::alarm_age_ms`]): the outbox is the first place where a stuck broker is seen.
//!
//! # Refused
//! A cursor over ids (it passes by what commits late, see `store::outbox`), publishing within the transaction that writes
//! the row (a broker can't roll back), and order between messages: events carry the version of what they speak of.

mod alarm;
mod config;
mod meters;
mod pump;
mod run;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use run::{Deps, Error, run};
