//! Purges what was rendered from a product or from its stock when that changes: bumps the generations of its tags, and tells
//! every process that keeps pages.
//!
//! # Nouns
//! A [`Change`] is what the catalogue or checkout says has changed, with the version that it has now. A *tag* names what
//! was rendered from it: `product:eu:MUG`, `stock:eu:MUG`, `collection:eu:mugs`, `catalogue:eu`. See the crate `cache` for
//! both. An *announcement* says which tags were purged; [`hear`] is the other end of it.
//!
//! # Guarantees
//! - **A change that was acked is purged**, at least once, before it is acked.
//! - **An older change purges nothing**, nor does a repeated one: the version is compared and the tag is bumped in one
//!   step, for each tag by itself.
//! - **Who keeps pages is told, whoever dies**: of a change that is delivered again everybody is told once more, though its
//!   purge may be done. A CDN that was to be told when the process was killed is not: its pages live as long as they said.
//! - **At most one purge per tag and second** (`coalesce_ms`) by each process that runs this role: the first change is purged
//!   at once, those of the following second together when it is over. An import of a thousand products purges a list that
//!   shows them once a second.
//! - **A cache that is away loses no purge**: the changes are held, then wait in their queue, until it answers. What it
//!   forgot meanwhile counts as purged anyway; what it did *not* forget is why the purges must not be dropped. Processes are
//!   told all the same, as they render anew on their own while it is away.
//!
//! # Refused
//! Deleting cached entries (readers would all render at once; a bumped generation lets them serve the old one while one
//! renders), and a version per product alone (a change that was overtaken may name a collection that no other does). A queue
//! for each process's announcements (what it missed it finds out by the generations, a second later).

mod announce;
mod cdn;
mod change;
mod coalesce;
mod handler;
mod hear;
mod run;
mod slots;
#[cfg(test)]
mod tests;

pub use cdn::{CdnConfig, CdnError, CdnKind};
pub use change::Change;
pub use hear::{Hearing, Refresh, hear};
pub use run::{Config, Deps, Error, run};
