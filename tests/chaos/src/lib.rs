//! Faults injected into a running shop, and the verdict on what it left behind.
//!
//! # Nouns
//! - A [`plan::Plan`] says which faults begin when and last how long: a pure function of a seed and a length.
//! - A [`class::Class`] is a kind of fault, a [`fault::Fault`] is one: it begins and ends, and its end undoes it.
//! - A [`world::World`] is the shop under test: its servers, its processes, the proxies between them.
//! - Beside the load a [`client::Client`] orders until it is answered, cancels and refunds; and the shop's own systems count, lend
//!   and take back units, change a price, and take payments in a second market, which holds units for them.
//! - [`run::run`] plays the plan under load, brings the shop to rest and asks the [`oracle`], which judges what is left by
//!   the journals of those who posted.
//! - A [`report::Report`] holds all of it: faults, recovery times, courses, the verdict, and what could not be injected.
//!
//! # Guarantees
//! - **Real.** Processes are the binary itself, one for each role; servers are the real ones. Nothing is mocked.
//! - **Repeatable as far as it can be.** The same seed plans the same faults at the same times. What a fault meets in
//!   the system differs from run to run.
//! - **Every class equally often**, in rounds, so that a run of any length has seen all of them.
//! - **Nothing passes in silence.** A fault that could not be injected or undone is named in the report, and the run is
//!   incomplete: its exit status is 2. Where a promise was broken it is 1.
//! - **Nothing stays behind.** Everything is private to the run, in one folder, and goes with it; each fault is undone also
//!   where the run is interrupted.
//!
//! # What it can't do
//! A power cut: SIGKILL leaves what the kernel has. The loss of a node of several: there is one of each. And the deletion
//! of a queue with orders in it, which loses them by definition; it is deleted when it is empty, and orders that come
//! meanwhile wait unrouted until an operator (here the harness) brings them home.
//!
//! # To add a class
//! Its line in `class.rs`, a `Fault` in a file below `fault/`, its arm in `fault::make`; the compiler names the rest.

pub mod after_sale;
pub mod class;
pub mod client;
pub mod course;
pub mod fault;
pub mod load;
pub mod oracle;
pub mod plan;
pub mod proxy;
pub mod recovery;
pub mod report;
mod reservations;
pub mod run;
pub mod server;
mod shopkeeping;
pub mod warehouse;
mod watch;
pub mod world;
