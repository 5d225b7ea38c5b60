//! Databases: which one holds which region, how to work on it without harming the others that do, its schema, the
//! outbox, what becomes of stock and orders after the sale ([`stock`]), its read replicas ([`replica`]), and the leases on its
//! budget. A role's own SQL lives with the role.
//!
//! # Nouns
//! A [`Database`] is a `PostgreSQL` database or a SQLite file. A [`Region`] of the shop lives in one; several may share it,
//! so every table of a region's own data has the region's number in its key, or (orders) in the id. [`Databases`] is what
//! the configuration names. A [`Database`] stands for its primary; a [`Reader`] reads lists, history and sums from a [`Replica`] that
//! is not too far behind, else there. A [`Fault`] says what a failed statement means for the message behind it.
//!
//! # Guarantees
//! - Opening touches nothing: a role starts while its database is away, and [`Database::wait_until_ready`] says so once.
//! - At most `max_connections` are used, a transaction waits its turn in order of arrival, and no wait is without a limit.
//! - Every call ends: one that gets no answer is an error after `answer_timeout_ms`, and its connection leaves the pool.
//! - Poison is a closed list ([`Fault`]); what is not on it is waited out.
//! - [`migrate`] may be run by any number of processes at once: each step runs once. It never touches a schema that is
//!   newer than itself; a role works on one, with a warning, so that an upgrade can widen the schema first.
//! - A replica is read only while it is known to hold what was committed `max_lag_ms` ago, and one that fails costs a reader
//!   no error ([`replica`]).
//! - The shares of a database's budget that are leased ([`governor`]) never add up to more than the whole.
//! - A committed outbox row is claimed by one relay at a time, and a row that commits late is not passed by, because there
//!   is no cursor that could be ahead of it.
//!
//! # Why SQLite has one writer
//! SQLite lets one connection write; a second one waits by polling, and may lose its turn for as long as the file is
//! busy. One write connection behind a fair semaphore gives turns in order, and `BEGIN IMMEDIATE` takes the lock before
//! the first read, so a transaction never fails half way for want of it. Readers are beside it and wait for nobody (WAL).
//! `synchronous = FULL` keeps what was committed through a power cut, which is what an acked order needs.
//!
//! # Refused
//! A repository trait per table (the two databases differ in their best SQL, and a trait hides which one is at work), a
//! pool's own defaults (30 s of waiting is an outage of its own), migrations at start-up (they are a step of their own).
//!
//! # To add a table
//! A new step in `migration/`, at the end of the list; an entity beside the others; its constraints' names in
//! [`fault::POISON_CONSTRAINTS`] if a message's data can violate them.

mod answers;
pub mod bind;
mod bounded;
pub mod catalogue;
mod config;
mod database;
pub mod entity;
mod error;
pub mod fault;
pub mod governor;
mod migration;
mod open;
pub mod outbox;
pub mod pause;
mod ready;
mod regions;
pub mod replica;
mod rows;
pub mod stock;
mod sweep;
#[cfg(test)]
mod tests;
pub mod trials;

pub use bounded::Bounded;
pub use config::{Backend, Config, DatabaseConfig, RegionConfig};
pub use database::{Connections, Database, Transaction};
pub use error::Error;
pub use fault::Fault;
pub use migration::{Schema, migrate, schema};
pub use regions::{Databases, Region};
pub use replica::{Position, Reader, Reads, Replica, ReplicaState, ReplicationConfig, Target};
pub use rows::Rows;
