//! Parked messages as rows: what consumers gave up on is moved from the parked queues into a table, where operators look at
//! it, replay it and discard it, and where it is closed once its effect exists.
//!
//! # Nouns
//! A message's *home* is the queue whose consumer parked it. A *group* is the messages of one home, type and reason, the
//! reason without what differs between messages ([`reason_key`]). A *replay* puts messages back into their home queue at a
//! rate; each time a message is replayed it carries the next number ([`model::headers::REPLAYED`]). A *trace* is what an
//! effect leaves in a database. The [`Desk`] is where operators act.
//!
//! # Guarantees
//! - **A parked message is in its queue or in the table, never in neither**: it is acked after the commit of its row. While
//!   the database is away it is held, and goes back to the queue.
//! - **Everything can be kept**: a message without an id, with the id of another, with a foreign or broken body, with headers
//!   too large for a copy. Bodies are whole, bounded by what the broker takes, so a replay is the message that was parked.
//! - **One row for one message**, however often it is parked and by however many parkers: it is counted up.
//! - **A replay goes to the home queue alone**, with its attempts forgotten, at least once: a claim is a lease by the
//!   database's time, and a parker that dies gives it up. That an effect happens once is its own unique key's work. Any
//!   number of parkers together keep a replay's rate. What is taken out of one is open again.
//! - **A row is never stuck**: what was parked again is open again; a copy of an earlier replay changes nothing while a later
//!   one is on its way.
//! - **A row closes when its effect exists**, whoever brought that about: the order's row, every event of a page batch counted,
//!   every outcome, release and refund counted. Where an effect leaves no trace (a purge), a replayed row closes when it
//!   stayed quiet for longer than the retry ladder lasts.
//! - **An operator sees shapes, not people**: samples keep field names and mask what is not known to be harmless ([`redact`]).
//! - **What an operator does is written down in the transaction that does it** ([`Audit`]).
//!
//! # Why these decisions
//! - What no queue wanted (`millpond.unrouted`) is parked, too, under that name, with an error in the log for each batch and
//!   in the metric for as long as it is open. Left in its queue it would be an alarm without a remedy: nobody sees what it is,
//!   and somebody has to move it by hand. Its home is the queue that had parked it, else the one that the layout has for its
//!   type; where there are several, it can only be discarded.
//! - A breaker of its own for each queue: a parked message that the database will not have must not hold up checkout.
//! - Parking does not count against a database's budget: it is little, or something is very wrong.
//!
//! # Refused
//! Reading from the parked queues in place (on quorum queues a look is a delivery); editing a message before its replay (then
//! nobody knows what was accepted); showing whole bodies.

mod arrival;
mod config;
mod desk;
mod effects;
mod homes;
mod members;
mod meters;
mod park;
mod reason;
pub mod redact;
mod replay;
mod row;
mod run;
mod upkeep;
mod view;

pub use config::Config;
pub use desk::{Audit, Deed, Desk, DeskError, Selection};
pub use members::{Member, Messages, Page};
pub use reason::{reason_key, without_quoted};
pub use run::{Deps, Error, run};
pub use view::{Group, Listing, Shown, Silent};

#[cfg(test)]
mod tests;
