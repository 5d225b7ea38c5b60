//! The operator API: what waits in the queues and why, pauses, budgets, parked messages, orders, and who did what.
//!
//! # Nouns
//! An *operator* is a person or a program with a token of its own; the file of operators holds names and hashes. An
//! *action* changes something, and leaves a row in the *audit trail*. A queue's *home* is the database that its pause and the
//! audit rows of it lie in: the region's for a checkout queue, that of analytics for any other. Its parked messages, and what
//! is done with them, lie where the parker keeps them (`parker.database`).
//!
//! # Guarantees
//! - **Nobody acts unnamed.** Every route but none needs a token; the extractor [`Operator`] is the only way to one, and
//!   [`audit::write`] takes one.
//! - **An action and its audit row commit together**, in the database that is acted upon. There is no action without its
//!   row, and no row of an action that did not happen.
//! - **Unknown is not zero.** What a broker, a worker or a database does not say is `null` in an answer, and is told in
//!   words; one that is silent delays no answer beyond its time limit, and hides none of the others.
//! - **A pause outlives every process.** It is a row; workers read it before they take their first message, and twice a
//!   second from then on. While its database can't be read, what was read last holds.
//! - **What customers wrote is not shown** unless it is asked for, and asking is an action.
//!
//! # Why a listener of its own
//! An ingress faces the world; this must not. It listens on loopback by default, and anywhere else only where the file
//! names an operator, so that no slip of a configuration opens it to strangers. It speaks plain HTTP: beyond the machine a
//! proxy that ends TLS belongs before it, since whoever reads the wire reads the token.
//!
//! # Why the verbs ask here
//! An embedded broker's file is held by one process, so a verb beside it can't look inside. Through the API the same verb
//! works on a shop in one process and on one of many.
//!
//! # Refused
//! Roles and permissions of operators (whoever may replay may also discard; a proxy can restrict paths), sessions and
//! passwords (a token is a machine's and a person's alike), an audit trail in a file (it would not commit with the action).
//!
//! # To add a route
//! A module with `routes() -> Router<Arc<State>>`, one line in `router.rs`, handlers that take an [`Operator`], and
//! [`audit::write`] in the transaction of whatever they change.

pub mod audit;
mod auth;
mod body;
mod budget;
mod config;
pub mod operators;
mod orders;
mod parked;
mod problems;
mod queues;
mod router;
mod run;
#[cfg(test)]
mod tests;

pub use auth::Operator;
pub use config::Config;
pub use operators::Operators;
pub use run::{Deps, Error, Ops, State, home_of};
