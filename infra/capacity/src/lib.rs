//! What the system can carry, measured from outside: planned [`Shape`]s of load, an open-loop [`generate`], a
//! [`Journal`] of every attempt and answer, and [`verify`], the oracle that holds the journal against the databases.
//!
//! # Guarantees
//! - **Open loop.** Arrival times are planned before the run; a slow answer does not slow the next request, and latency
//!   counts from the planned time (Gil Tene's "coordinated omission" is thereby avoided).
//! - **The journal knows more than the system.** An attempt is written before its request is sent, its answer before it
//!   is counted. `lost` and `duplicated` come from this journal held against the database, never from the system's own
//!   counters.
//! - Bounded: at most [`Config::max_in_flight`] requests wait for answers. One that finds no place waits, and the wait
//!   counts as latency.
//!
//! # Refused
//! A closed loop (it measures its own patience), and sampling the journal (a lost order hides in what was not sampled).

mod client;
mod generator;
mod journal;
mod live;
mod shape;
mod verify;

pub use client::{Answer, Client};
pub use generator::{Config, Outcome, generate};
pub use journal::{Attempt, Entry, Journal, JournalError, read};
pub use live::Live;
pub use shape::{Phase, Shape};
pub use verify::{Finding, verify};
