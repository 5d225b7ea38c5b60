//! The arithmetic of a queue that absorbs a spike. Pure: no clock, no IO; time comes in as a time since a start that the
//! caller chose.
//!
//! A [`Meter`] turns counts into rates, a [`Trend`] lengths into a net rate; [`Drain`] says when a queue will be empty. A
//! [`Roster`] keeps what workers say of themselves ([`Beat`]); [`Situation`] says all of it in the words that everyone
//! reads. [`Oldest`] says how old the oldest message is, also while nobody takes any. [`Policy`] decides which [`Class`] of
//! requests is not taken any more. What is not known is unknown, never zero, and decides nothing.
//!
//! # A steady database
//! A [`Budget`] is what a database is given per second. [`shares`] says who of those that use it has how much: equal parts,
//! checkout before analytics, and never more than the whole. An [`Allowance`] turns one's share into batches, by a
//! [`Bucket`] for rows and one for transactions. [`Steady`] takes some of the budget back while commits are slow.

mod allowance;
mod beat;
mod bucket;
mod budget;
mod class;
mod drain;
mod meter;
mod oldest;
pub mod shares;
mod shed;
mod situation;
mod steady;
mod trend;

pub use allowance::{Allowance, Next};
pub use beat::{Beat, LimitedBy, Roster, Seen};
pub use bucket::Bucket;
pub use budget::{Budget, BudgetError};
pub use class::Class;
pub use drain::{Drain, sentence};
pub use meter::Meter;
pub use oldest::{Age, Oldest};
pub use shares::{Claim, Rank};
pub use shed::{Decision, Limits, Load, Policy, Reason};
pub use situation::{Paused, Situation};
pub use steady::{Steadiness, Steady};
pub use trend::{Trend, come_back_after};
