//! Counts page events and order outcomes into minutes, each once, for the campaign's live numbers.
//!
//! # Nouns
//! A *page event* is known by its source (the write key's name) and its `messageId`. An *outcome* is an order confirmed or
//! rejected. A *rollup* is a row per market, minute, path and campaign; a [`Sketch`] estimates the visitors of a minute
//! and campaign, and sketches merge into hours, days and whole campaigns.
//!
//! # Guarantees
//! - **Counted once.** The unique key and the rollups commit together. A redelivered message, a batch that a client sent
//!   twice, and the same event in two messages at two workers count once.
//! - **Revenue comes from outcomes alone**, never from what a browser says, and once per order: the first outcome of an
//!   order id. A rejection of a *different* post under a used key is not an outcome of the order. A cancellation and each
//!   refund take back from the minute of the sale, once each, in whatever order they are told.
//! - **No deadlock by design.** Every transaction takes its rows in the same order: ids, rollups, visitors, progress,
//!   each sorted.
//! - **Bounded.** A minute has at most so many paths and campaigns per process ([`Counting`]); more are `(other)`.
//! - **Honest about time.** `analytics_progress` says for each feed (`pages/eu`, `orders/eu`) through which time was
//!   counted: for pages when the ingress received them, for orders when they were decided.
//!
//! # An old replay
//! Ids are kept for seven days. An event that was received longer ago (a parked message replayed late) is settled and not
//! counted: better a known gap than a number that may be double. The ids of orders are kept for ever.
//!
//! # Refused
//! Unique visitors kept as rows, client time as the minute (it is anybody's), revenue from `Order Completed` page events,
//! partitions (the unique key would not hold across them).

mod config;
mod labels;
mod orders;
mod pages;
mod run;
mod sketch;
mod sql;
mod sweep;
#[cfg(test)]
mod tests;
mod visitors;

pub use config::{Config, Counting, Sweeping};
pub use orders::{Orders, Outcome};
pub use pages::Pages;
pub use run::{Deps, Error, run};
pub use sketch::Sketch;
