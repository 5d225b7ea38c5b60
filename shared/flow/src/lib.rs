//! The arithmetic of a queue that absorbs a spike. Pure: no clock, no IO; time comes in as whole seconds since a start
//! that the caller chose.
//!
//! A [`Meter`] turns counts into rates, [`Drain`] says when a queue will be empty, [`sentence`] says it in words. What
//! is not known is [`Drain::Unknown`], never zero.

mod drain;
mod meter;

pub use drain::{Drain, sentence};
pub use meter::Meter;
