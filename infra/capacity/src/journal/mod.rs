//! The generator's own record: what it attempted, and what it was told. JSON lines, in this order of events:
//!
//! - `run` once: the run's name and seed.
//! - `reserved`: attempts below this number may have been sent. It is on disk **before** the first of them is sent, some
//!   tens of thousands at a time, so that the disk limits no rate.
//! - `attempt` and `events` before a request is sent, `answer` after it, `not_sent` for an arrival that never was.
//! - `ended` once, where the generator came to its end.
//!
//! Lines of requests are written in groups, every 50 ms or earlier. So a generator that is killed leaves attempts
//! without a line, but none beyond what is reserved: they are known to be uncertain, as a request without an answer is.

mod read;
mod write;

use std::path::PathBuf;

use model::OrderId;
use serde::{Deserialize, Serialize};

pub use read::read;
pub use write::Journal;
pub(crate) use write::{Pen, Record};

/// An order about to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Position in the run, from 0.
    pub n: u64,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// What it buys.
    pub sku: String,
    /// How many units.
    pub quantity: u32,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum Entry {
    /// The first line.
    Run {
        /// Begins every idempotency key and message id, followed by `-` and the number.
        run: String,
        /// What randomness began with.
        seed: u64,
    },
    /// Attempts below this number may have been sent.
    Reserved {
        /// The first number that may not.
        to: u64,
    },
    /// Written before an order is sent.
    Attempt(Attempt),
    /// Written before page events are sent.
    Events {
        /// Position in the run, from 0.
        n: u64,
        /// Begins their message ids; `-0`, `-1` … follow.
        ids: String,
        /// How many.
        count: u32,
    },
    /// Written when a request was answered, or given up.
    Answer {
        /// The attempt's position.
        n: u64,
        /// HTTP status; `None` where no answer came: the order may exist or not.
        status: Option<u16>,
        /// The order's id, where the answer named one.
        order_id: Option<OrderId>,
        /// Microseconds from the planned time to the answer.
        latency_us: u64,
    },
    /// An arrival that was not sent: the waiting room was full, or there was no connection.
    NotSent {
        /// Its position.
        n: u64,
    },
    /// The last line: the generator ended by itself, and what has no line was not sent.
    Ended,
}

/// How the journal reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// Reservations before they are used, everything else every 100 ms: what an oracle needs that outlives a power cut.
    #[default]
    Group,
    /// When the operating system likes: it outlives a kill of the generator, not of the machine. For measuring a disk
    /// that the journal shouldn't share.
    Never,
}

/// Why the journal can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error("the journal {path} can't be used")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a journal.
    #[error("line {line} of the journal {path} is not an entry: {reason}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What the parser said.
        reason: String,
    },
    /// Its writer stopped after an earlier failure.
    #[error("the journal's writer has stopped")]
    Stopped,
}
