//! The broker that needs no server: queues in one local `SQLite` file, held by one process.
//!
//! # Nouns
//! [`Embedded`] is the handle. Behind it one *writer* thread owns the file and every queue. It takes the commands that
//! gathered while it worked (publishes, settlements, subscriptions), does them in one transaction — a *turn* — and answers
//! after the commit. A *key* is a message's row id: its queue's number and its place in that queue.
//!
//! # Guarantees
//! - **A publish that returned `Ok` is on the disk**: the commit that holds it has been synced (WAL, `synchronous=FULL`).
//!   One fsync serves everyone who waits for it, so the rate grows with the number of publishers. Where several were answered
//!   at once, as many are awaited for 0.3 ms, so that they share the next one too; one that publishes alone waits for nobody.
//! - **Delivery is at least once.** What was handed out is noted in the file before it is sent, in the same commit that
//!   is due anyway: after a kill it comes back with `redelivered` set and its delivery counted, which is how a message
//!   that takes the process down with it is found out. A dropped delivery goes back to its old place.
//! - **Settling an ack does not wait for the disk.** It becomes durable with the next commit. Acks alone wait up to 3 ms for
//!   something to share it with, unless a consumer has room for a quarter of its prefetch and messages wait for it. An ack
//!   that a kill overtakes means that the message comes again. Retry and park do wait: they are one transaction with the
//!   removal of the original, so there is no moment with two copies or none.
//! - **A backlog costs disk, not memory.** Queues remember positions; bodies are read when they are handed out. Space of
//!   acked messages is used again, and given back to the file system when nothing else is to do.
//! - **A full disk loses nothing that was confirmed, and holds up everything else.** The failed transaction is undone,
//!   publishes are [`broker::PublishError::Blocked`] for a second, then one is tried again. A delivery is noted before it
//!   is handed out and an ack is a write too: deliveries wait as well until there is room.
//!
//! # Why
//! Why `SQLite`, and what redb and fjall did in the same test, is in `infra/decisions/0001-embedded-broker-store.md`.
//! One thread, because a file has one writer anyway: with all state in it there are no locks to order, and the commit is
//! the only moment at which anything becomes true.
//!
//! # Refused
//! A second process on the same file (there is a server for that: `RabbitMQ`); replication; an in-memory mode (a temporary
//! directory does as well and tests the same code); several files for several queues (each would pay its own fsync).

mod command;
mod config;
mod declare;
mod embedded;
mod file;
mod gather;
mod hand_out;
mod key;
mod queue;
mod record;
mod router;
mod shared;
mod store;
mod turn;
mod writer;

pub use config::Config;
pub use embedded::Embedded;
