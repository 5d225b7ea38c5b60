//! The oracle: what the generator knows, held against what the databases hold. It trusts no counter of the system.
//!
//! Orders are read in the order of their ids, some thousands at a time, with their lines and the movements of stock that
//! carry their id, and page events by their ids in the same way; what remains in memory is a few bytes for each attempt of
//! the journal and a sum for each article. Each order and each request of page events is judged by its own answer: no
//! surplus makes up for a loss.

mod audit;
mod breach;
mod claims;
mod events;
mod settled;
mod stored;

use std::collections::{BTreeMap, HashSet};

use sea_orm::DbErr;
use serde::Serialize;
use store::Databases;
use uuid::Uuid;

pub use breach::{Breach, Breaches, Guarantee};
pub use claims::{Claims, ClaimsError};

use audit::Audit;
use events::Seen;

/// What was found. `lost`, `duplicated`, `unexpected`, `oversold` and `unbalanced` are 0, or something is broken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// Orders that were answered 202.
    pub accepted: u64,
    /// Accepted orders in state `confirmed`.
    pub confirmed: u64,
    /// Accepted orders in state `rejected`.
    pub rejected: u64,
    /// Accepted orders in state `released`: cancelled, or not paid in time.
    pub released: u64,
    /// Accepted orders that wait for their payment (`reserved`, `paid`).
    pub reserved: u64,
    /// Accepted orders by state, rejected ones with their reason.
    pub states: BTreeMap<String, u64>,
    /// Orders whose outcome the generator does not know (a 5xx, no answer, a generator that was killed) and that exist.
    pub unknown_stored: u64,
    /// Those that do not. Either is fine.
    pub unknown_absent: u64,
    /// Page events that were answered 2xx.
    pub events_accepted: u64,
    /// Page events of the run that analytics took, each id once.
    pub events_counted: u64,
    /// Accepted orders in no state that anybody decided, or in none at all; confirmed ones without the line that was
    /// asked for; accepted page events that were not counted.
    pub lost: u64,
    /// Units of an order that were taken more than once (counted by order and SKU); keys that are stored or were answered
    /// with more than one order; page events that were counted more than once, each under its path.
    pub duplicated: u64,
    /// Orders under a key of this run that nobody sent, or that were refused; page events that nobody sent.
    pub unexpected: u64,
    /// Units promised beyond what there was.
    pub oversold: u64,
    /// Articles whose row of stock is not the sum of its movements.
    pub unbalanced: u64,
    /// Accepted orders that wait in a parked queue or row, where the caller knows of them.
    pub parked: u64,
    /// What is behind these numbers, by the guarantee that it breaks.
    pub breaches: Breaches,
}

/// What a caller knows beside the journals.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// Orders that are visibly parked: not done, and not lost.
    pub parked: HashSet<Uuid>,
    /// Every other key that was posted to these databases; `None` where orders of strangers are expected.
    pub keys: Option<HashSet<String>>,
}

impl Beside {
    fn expects(&self, key: &str) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.contains(key))
    }
}

impl Finding {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.unexpected == 0 && self.oversold == 0 && self.unbalanced == 0
    }
}

/// Holds a journal against every region's database. Call it when nothing is under way any more ([`settled`]). Orders of
/// others are held to the ledger like all, and are not expected to be attempted.
///
/// # Errors
/// The database's.
pub async fn verify(claims: &Claims, databases: &Databases) -> Result<Finding, DbErr> {
    verify_beside(std::slice::from_ref(claims), &Beside::default(), databases).await
}

/// As [`verify`], of several journals, and with what is known beside them.
///
/// # Errors
/// The database's.
pub async fn verify_beside(journals: &[Claims], beside: &Beside, databases: &Databases) -> Result<Finding, DbErr> {
    let mut audit = Audit::new(journals, beside);
    for database in databases.databases() {
        stored::orders(database, &mut audit).await?;
        stored::stock(database, &mut audit).await?;
    }
    for claims in journals.iter().filter(|claims| claims.sent_events()) {
        let mut seen = Seen::new(claims);
        stored::event_ids(databases.analytics(), &mut seen).await?;
        audit.events(&seen, &stored::events_counted(databases.analytics(), claims.run()).await?);
    }
    Ok(audit.finish())
}

/// Whether everything that the journal's run set off has probably come to rest: the outboxes are empty, and a sample of
/// accepted orders, the last ones among them, and every accepted page event have arrived. [`verify`] then says it for
/// certain.
///
/// # Errors
/// The database's.
pub async fn settled(claims: &Claims, databases: &Databases) -> Result<bool, DbErr> {
    settled::settled(claims, databases).await
}

#[cfg(test)]
mod tests;
