//! The arithmetic of a queue that absorbs a spike. Pure: no clock, no IO; time comes in as whole seconds or as a duration
//! since a start that the caller chose.
//!
//! A [`Meter`] turns counts into rates, [`Drain`] says when a queue will be empty, [`sentence`] says it in words. What
//! is not known is [`Drain::Unknown`], never zero.
//!
//! # A steady database
//! A [`Budget`] is what a database is given per second. [`shares`] says who of those that use it has how much: equal parts,
//! checkout before analytics, and never more than the whole. An [`Allowance`] turns one's share into batches, by a
//! [`Bucket`] for rows and one for transactions. [`Steady`] takes some of the budget back while commits are slow.

mod allowance;
mod bucket;
mod budget;
mod drain;
mod meter;
pub mod shares;
mod steady;

pub use allowance::{Allowance, Next};
pub use bucket::Bucket;
pub use budget::{Budget, BudgetError};
pub use drain::{Drain, sentence};
pub use meter::Meter;
pub use shares::{Claim, Class};
pub use steady::{Steadiness, Steady};
