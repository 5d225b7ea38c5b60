//! Checkout turns placed orders into confirmed or rejected ones: one transaction of the region's database per batch.
//!
//! # Nouns
//! A *batch* is what the consume loop hands over at once. A *basket* is an order's lines, merged by SKU. *Stock* has
//! units `on_hand` and, of these, units `reserved` for orders; what is left over is available. A confirmed order holds its
//! units reserved until they are shipped (`on_hand` and `reserved` fall together) or it is released. A *movement* is the
//! row that says who reserved what.
//!
//! # Guarantees
//! - **An order takes effect once**, however often, wherever and in whatever company it is delivered. Its id is a primary
//!   key, and everything that it causes (outcome, lines, stock, movements, events) commits with the insert of that key.
//!   A delivery that finds its id taken causes nothing. A commit whose answer was lost is decided by the redelivery.
//! - **Nothing is oversold.** The stock rows of a batch are locked before they are read, and the table refuses
//!   `reserved` above `on_hand` whatever this code does.
//! - **First come, first served, all or nothing**, in the order of delivery (`allocate`).
//! - **An outcome stands**: a rejected order stays rejected when stock comes back; the customer was told.
//! - **One event per order and outcome**, in the outbox, and one `stock.changed` where availability crossed a band.
//! - Times are the database's.
//! - **What is reserved and not paid is given back** ([`Config::reserve_s`], 0 by default: an order is confirmed at once). A
//!   sweeper beside each consumer releases what is overdue by the database's clock; what follows then is told in
//!   [`store::stock`], and is not this crate's.
//!
//! # The same key, another order
//! The id is made of market and idempotency key, so a second order under one key meets the first one's row. The first
//! stands, and nothing is written for the second: its status token carries its own fingerprint, and whoever reads the
//! status compares that with the stored one, and answers `rejected: idempotency_conflict` where they differ. Two such
//! orders in one batch are no different.
//!
//! # Why a batch
//! A flash sale is one row that everybody wants. The row is locked and updated once per batch instead of once per order,
//! and the lock is held for five statements: orders and lines are inserted, and prices read, before it is taken.
//! Orders are inserted as confirmed, since most are and nobody sees them before the commit; one update turns the
//! rejected ones.
//!
//! Every statement writes in key order (ids, SKUs), so workers that share rows wait for each other and never in a circle:
//! any number of processes may serve one region.
//!
//! # Whose prices
//! A server key vouches for the prices it posts. A browser key's are held against the catalogue's versions in the same
//! database: the current one, or one that was replaced no longer than [`Config::price_grace_s`] before the page was shown.
//!
//! # Refused
//! An order of another region is retried with a reason, and every batch that holds one logs an error: almost surely the
//! ingress and checkout were given different numbers for one region, and orders that customers were promised are not to be
//! parked for that. Each retry counts as an attempt, so an order is parked after all once the configuration has stayed
//! wrong for [`worker::Config::park_after_attempts`] of them (8 by default); it is replayed from there. (Regions do not move
//! yet; once they do, this is where their orders are forwarded.)
//!
//! An order that no ingress would have published is parked at once: a wrong id, a wrong total, a browser's discount.
//! Reading stock without its lock and hoping (optimistic versions): on a hot row nearly every
//! attempt would be in vain. A transaction per order: measured at less than a twentieth of the rate of batches of 200.

pub mod allocate;
mod batch;
mod config;
mod handler;
mod intake;
mod outcome;
mod price;
mod run;
mod sql;
mod status;
mod sweep;

pub use config::{Config, Expiry, OutcomeSource};
pub use run::{Deps, Error, run};

#[cfg(test)]
mod tests;
