//! Purges what was rendered from a product or from its stock when that changes, by bumping the generations of its tags.
//!
//! # Nouns
//! A [`Change`] is what the catalogue or checkout says has changed, with the version that it has now. A *tag* names what
//! was rendered from it: `product:eu:MUG`, `stock:eu:MUG`, `collection:eu:mugs`. See the crate `cache` for both.
//!
//! # Guarantees
//! - **A change that was acked is purged**, at least once, before it is acked.
//! - **An older change purges nothing**, nor does a repeated one: the version is compared and the tag is bumped in one
//!   step, for each tag by itself.
//! - **Changes are coalesced**: one purge per thing and tag for a whole batch, however many changes it holds.
//! - **A cache that is away loses no purge**: the changes are held, then wait in their queue, until it answers. What it
//!   forgot meanwhile counts as purged anyway; what it did *not* forget is why the purges must not be dropped.
//!
//! # Refused
//! Deleting cached entries (readers would all render at once; a bumped generation lets them serve the old one while one
//! renders), and a version per product alone (a change that was overtaken may name a collection that no other does).

mod change;
mod handler;
mod run;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use handler::Invalidation;
pub use run::{Config, Deps, Error, run};
