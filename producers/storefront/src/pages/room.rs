//! What renders may ask of one database: apart from the reads of status and the changes of stock, and bounded.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::DbErr;
use store::Fault;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::PublicReads;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// As many reads as may are under way.
    #[error("as many pages are read from the database as may be at once")]
    Busy,
    /// It gave no answer lately, and another read is finding out whether it does now.
    #[error("the database gives no answer")]
    Away,
    /// It took too long.
    #[error("the database did not answer within {0} ms")]
    TimedOut(u64),
    /// The database's own error.
    #[error("the database can't be read")]
    Database(#[from] DbErr),
    /// What was read can't be written down.
    #[error("what was read can't be written as JSON")]
    Unwritable(#[from] serde_json::Error),
}

/// The room of one database.
#[derive(Debug)]
pub(crate) struct Room {
    database: String,
    slots: Semaphore,
    wait: Duration,
    answer_within: Duration,
    away_after: u32,
    /// Reads in a row without an answer.
    unanswered: AtomicU32,
    /// Who finds out whether it is back.
    scout: Semaphore,
}

impl Room {
    pub(crate) fn new(database: &str, config: &PublicReads) -> Self {
        Self {
            database: database.to_owned(),
            slots: Semaphore::new(config.max_reads.clamp(1, Semaphore::MAX_PERMITS)),
            wait: config.read_wait(),
            answer_within: config.read_timeout(),
            away_after: config.away_after.max(1),
            unanswered: AtomicU32::new(0),
            scout: Semaphore::new(1),
        }
    }

    /// Runs `reading` here. While the database is away one read at a time tries; the others fail at once, so that the renders of
    /// another database find their turn.
    pub(crate) async fn read<T>(&self, reading: impl Future<Output = Result<T, DbErr>>) -> Result<T, ReadError> {
        let away = self.unanswered.load(Ordering::Relaxed) >= self.away_after;
        let _scout = if away { Some(self.scout.try_acquire().map_err(|_| ReadError::Away)?) } else { None };
        let _slot = timeout(self.wait, self.slots.acquire()).await.ok().and_then(Result::ok).ok_or(ReadError::Busy)?;
        match timeout(self.answer_within, reading).await {
            Ok(Ok(read)) => {
                self.answered();
                Ok(read)
            }
            Ok(Err(error)) => {
                if matches!(Fault::classify(&error), Fault::Infrastructure(_)) {
                    self.unanswered(&error.to_string());
                }
                Err(error.into())
            }
            Err(_) => {
                let error = ReadError::TimedOut(u64::try_from(self.answer_within.as_millis()).unwrap_or(u64::MAX));
                self.unanswered(&error.to_string());
                Err(error)
            }
        }
    }

    fn answered(&self) {
        if self.unanswered.swap(0, Ordering::Relaxed) >= self.away_after {
            tracing::info!(store.database = self.database, "pages are read from it again");
        }
    }

    fn unanswered(&self, error: &str) {
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) == self.away_after {
            let database = &self.database;
            tracing::warn!(store.database = database, error, "pages can't be read: serving those that are kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room() -> Room {
        Room::new(
            "main",
            &PublicReads { max_reads: 2, read_wait_ms: 10, read_timeout_ms: 100, ..PublicReads::default() },
        )
    }

    async fn hung() -> Result<(), DbErr> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_hangs_is_tried_by_one_read_at_a_time_and_by_all_once_it_answers() {
        let room = room();
        for _ in 0..3 {
            assert!(matches!(room.read(hung()).await, Err(ReadError::TimedOut(100))));
        }
        let trying = room.read(hung());
        let others = async {
            for _ in 0..100 {
                assert!(matches!(room.read(async { Ok(()) }).await, Err(ReadError::Away)));
            }
        };
        let (tried, ()) = tokio::join!(biased; trying, others);
        assert!(matches!(tried, Err(ReadError::TimedOut(_))));
        room.read(async { Ok(()) }).await.unwrap();
        let (one, other) = tokio::join!(room.read(async { Ok(()) }), room.read(async { Ok(()) }));
        assert!(one.is_ok() && other.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_beyond_the_limit_wait_for_their_turn_and_not_for_long() {
        let room = room();
        let (one, other, third) =
            tokio::join!(biased; room.read(hung()), room.read(hung()), room.read(async { Ok(()) }));
        assert!(matches!(third, Err(ReadError::Busy)));
        assert!(one.is_err() && other.is_err());
    }
}
