//! What a consumer writes: decode one message, handle a batch.

use std::time::Duration;

use events::DecodeError;
use model::{Message, MessageId};

/// A decoded delivery.
#[derive(Debug)]
pub struct Item<E> {
    /// The message's id: the same for every delivery and copy of it.
    pub id: MessageId,
    /// How often a consumer failed on it before.
    pub attempt: u32,
    /// Whether the broker handed it out before without a settlement.
    pub redelivered: bool,
    /// What it says.
    pub event: E,
}

/// What became of one message of a batch that as a whole succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its effect is committed (or was before): ack.
    Done,
    /// It can never have an effect, for this reason: park.
    Poison(String),
    /// Not now, for a reason that belongs to this message alone: retry later, an attempt is counted.
    Later(String),
}

/// What became of a batch that as a whole succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// One per item, in the order given.
    pub verdicts: Vec<Verdict>,
    /// Rows inserted, updated or deleted: what counts for the database's budget.
    pub rows: u64,
    /// How long the commit took, where there was one: by it the governor sees a database that gets slower.
    pub commit: Option<Duration>,
}

impl From<Vec<Verdict>> for Handled {
    /// Of a handler that writes into no database.
    fn from(verdicts: Vec<Verdict>) -> Self {
        Self { verdicts, rows: 0, commit: None }
    }
}

/// Why a whole batch failed; the transaction was rolled back (or its fate is unknown, which redelivery and the unique
/// keys decide).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Some message of the batch is data that can never be stored: a class 22 exception, a named constraint. The batch
    /// is bisected until the one is found; alone it is parked.
    #[error("poison: {0}")]
    Poison(String),
    /// A lock, a deadlock, a serialisation failure: the same batch again, soon.
    #[error("contention: {0}")]
    Contention(String),
    /// Everything else. The batch is held, the breaker opens, no attempt is spent and nothing is parked.
    #[error("infrastructure: {0}")]
    Infrastructure(String),
}

/// A consumer of one queue.
pub trait Handler: Send + Sync + 'static {
    /// What it consumes.
    type Event: Send + Sync + 'static;

    /// Reads one message. Pure and quick.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] parks the message, [`DecodeError::Unknown`] retries it later with an alarm.
    fn decode(&self, message: &Message) -> Result<Self::Event, DecodeError>;

    /// Does the work of a batch, in order of delivery, and commits it. One verdict per item, in the order given, and how
    /// many rows that wrote. May be called again with the same items or a part of them; effects are made unique by the
    /// handler's own keys. A panic counts as one attempt of every item, after bisecting.
    ///
    /// # Errors
    /// [`BatchError`], with nothing committed or the fate unknown.
    fn handle(&self, batch: &[Item<Self::Event>]) -> impl Future<Output = Result<Handled, BatchError>> + Send;

    /// Whether the infrastructure behind the handler answers again, asked while the breaker is open.
    ///
    /// # Errors
    /// Why it does not, in words.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send;
}
