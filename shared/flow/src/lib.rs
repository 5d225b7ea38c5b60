//! The arithmetic of a queue that absorbs a spike. Pure: no clock, no IO; time comes in as a time since a start that the
//! caller chose.
//!
//! A [`Meter`] turns counts into rates, a [`Trend`] lengths into a net rate; [`Drain`] says when a queue will be empty. A
//! [`Roster`] keeps what workers say of themselves ([`Beat`]); [`Situation`] says all of it in the words that everyone
//! reads. [`Policy`] decides which [`Class`] of requests is not taken any more. What is not known is unknown, never zero,
//! and decides nothing.

mod beat;
mod class;
mod drain;
mod meter;
mod shed;
mod situation;
mod trend;

pub use beat::{Beat, LimitedBy, Roster, Seen};
pub use class::Class;
pub use drain::{Drain, sentence};
pub use meter::Meter;
pub use shed::{Decision, Limits, Load, Policy, Reason};
pub use situation::Situation;
pub use trend::{Trend, come_back_after};
