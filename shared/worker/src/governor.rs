//! One governor per database: its consumers, in whatever process, write together no more than the database's budget.
//!
//! Each consumer has a [`Seat`]: a lease on a share of the budget, kept in the database itself (see `store::governor`; a
//! SQLite file's in memory, as one process has it alone), and the [`flow::Allowance`] that makes batches of it. `core.rs` is
//! the state of a seat without a clock and without IO; here are the waiting and the lease's renewal.
//!
//! # What a row is
//! A row that a batch of checkout or analytics inserted, updated or deleted, by the count of the handler, which is exact.
//! A call that failed counts as what it was estimated at: the database did the work. Each call of a handler is one
//! transaction. Not counted: leases (a transaction a second for each consumer), probes, sweeps, and the relay, which
//! deletes each row of the outbox once; as those rows come in at a governed rate, they go out at one.
//!
//! # How exact it is
//! Shares never add up to more than the whole, so all consumers together stay at the budget, but for: a batch that was
//! dearer than estimated (the excess is owed and waited for), the time in which a lowered budget reaches everybody (one
//! renewal), batches under way when a lease runs out or for which a consumer was already waiting then, and a database that
//! crashed, which may have forgotten the last renewals. They are below it for a moment when a consumer comes (until
//! the others have renewed) and for up to a lease when one dies.
//!
//! A database that can't be reached renews no lease. A seat keeps its share until its own lease runs out, counted from
//! before the renewal was sent, and then takes no batches until it has a new one.
//!
//! # Without a budget
//! Nothing is leased, counted or waited for: a batch costs one look at a flag. Now and then the database is asked, beside
//! the batches, whether a budget was written into it.

mod core;
mod ledger;
mod seat;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use flow::{Budget, Rank};
use serde::Serialize;
use store::Database;

use self::ledger::Ledger;
use self::seat::Inner;
pub use self::seat::Seat;
pub(crate) use self::seat::Spending;
use crate::governor_config::GovernorConfig;

/// The governor of one database, for all its consumers in this process.
#[derive(Debug)]
pub struct Governor {
    ledger: Arc<Ledger>,
    config: GovernorConfig,
    seats: Mutex<Vec<Weak<Inner>>>,
}

/// [`Governor`] at one time, in plain numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GovernorSnapshot {
    /// The database's name.
    pub database: String,
    /// Its consumers in this process.
    pub seats: Vec<SeatSnapshot>,
}

/// One consumer's share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeatSnapshot {
    /// What it consumes.
    pub name: String,
    /// Whose work that is: `checkout` or `analytics`.
    pub rank: &'static str,
    /// The budget of the whole database, as it is written in the configuration.
    pub budget: Budget,
    /// The part of it that is given out while commits are slow, 0 to 1; the lowest that any consumer asks for.
    pub factor: f64,
    /// This consumer's part of what is given out, 0 to 1.
    pub share: f64,
    /// What that comes to; none where rows are not limited.
    pub rows_per_s: Option<f64>,
    /// What that comes to; none where transactions are not limited.
    pub transactions_per_s: Option<f64>,
    /// Leases on the database, this one included; 0 without a budget.
    pub leases: usize,
    /// Rows written under a budget.
    pub rows: u64,
    /// Transactions under a budget.
    pub transactions: u64,
    /// Seconds that it has waited for its share, in all.
    pub waited_s: f64,
    /// It could do more than its share: the budget is what limits it.
    pub limited: bool,
    /// What a commit takes in good times, milliseconds; none while that is not known.
    pub commit_baseline_ms: Option<f64>,
}

impl Governor {
    /// A governor for `database`, with the budget of its configuration or the one written into it. Asks nothing yet.
    pub fn new(database: Arc<Database>, config: GovernorConfig) -> Self {
        Self { ledger: Arc::new(Ledger::new(database)), config, seats: Mutex::default() }
    }

    /// A consumer's place, which leases nothing before the worker that it is given to runs. `name` is for people.
    pub fn seat(&self, rank: Rank, name: impl Into<String>) -> Seat {
        let inner = Arc::new(Inner::new(Arc::clone(&self.ledger), self.config.clone(), rank, name.into()));
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(&inner));
        Seat::new(inner)
    }

    /// What its seats hold and have done.
    pub fn snapshot(&self) -> GovernorSnapshot {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = seats.iter().filter_map(Weak::upgrade).map(|seat| seat.snapshot()).collect();
        GovernorSnapshot { database: self.ledger.database().name().to_owned(), seats }
    }
}
