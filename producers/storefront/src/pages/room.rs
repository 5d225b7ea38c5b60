//! What renders may ask of one database: apart from the reads of status and the changes of stock, and bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::DbErr;
use service::Tasks;
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
    /// A bug; logged with its text.
    #[error("reading panicked")]
    Panicked,
    /// What was read can't be written down.
    #[error("what was read can't be written as JSON")]
    Unwritable(#[from] serde_json::Error),
}

/// The room of one database.
#[derive(Debug)]
pub(crate) struct Room {
    database: String,
    slots: Arc<Semaphore>,
    wait: Duration,
    answer_within: Duration,
    away_after: u32,
    /// Reads in a row without an answer.
    unanswered: AtomicU32,
    /// Who finds out whether it is back.
    scout: Arc<Semaphore>,
    tasks: Tasks,
}

impl Room {
    pub(crate) fn new(database: &str, config: &PublicReads, tasks: &Tasks) -> Arc<Self> {
        Arc::new(Self {
            database: database.to_owned(),
            slots: Arc::new(Semaphore::new(config.max_reads.clamp(1, Semaphore::MAX_PERMITS))),
            wait: config.read_wait(),
            answer_within: config.read_timeout(),
            away_after: config.away_after.max(1),
            unanswered: AtomicU32::new(0),
            scout: Arc::new(Semaphore::new(1)),
            tasks: tasks.clone(),
        })
    }

    /// Runs `reading` here. While the database is away one read at a time tries; the others fail at once, so that the renders of
    /// another database find their turn.
    ///
    /// A read that is given up goes on in a task until the database's own time-outs end it, and keeps its place for so long: its
    /// connection is not free either, and giving both to the next one would in the end take those that others read by.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, reading: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        let away = self.unanswered.load(Ordering::Relaxed) >= self.away_after;
        let scout =
            if away { Some(Arc::clone(&self.scout).try_acquire_owned().map_err(|_| ReadError::Away)?) } else { None };
        let slot = timeout(self.wait, Arc::clone(&self.slots).acquire_owned()).await;
        // Says nothing of the database: many readers came at once. Reads that do not end are counted when they are given up.
        let slot = slot.ok().and_then(Result::ok).ok_or(ReadError::Busy)?;
        let room = Arc::clone(self);
        let read = self.tasks.spawn("page read", async move {
            let read = reading.await;
            match &read {
                Err(error) if matches!(Fault::classify(error), Fault::Infrastructure(_)) => {
                    room.went_unanswered(&error.to_string());
                }
                _ => room.answered(),
            }
            drop((slot, scout));
            read
        });
        match timeout(self.answer_within, read).await {
            Ok(Ok(read)) => Ok(read?),
            Ok(Err(_panicked)) => Err(ReadError::Panicked),
            Err(_) => {
                let error = ReadError::TimedOut(u64::try_from(self.answer_within.as_millis()).unwrap_or(u64::MAX));
                self.went_unanswered(&error.to_string());
                Err(error)
            }
        }
    }

    fn answered(&self) {
        if self.unanswered.swap(0, Ordering::Relaxed) >= self.away_after {
            tracing::info!(store.database = self.database, "pages are read from it again");
        }
    }

    fn went_unanswered(&self, error: &str) {
        let before = self.unanswered.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1) == self.away_after {
            let database = &self.database;
            tracing::warn!(store.database = database, error, "pages can't be read: serving those that are kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    fn room() -> Arc<Room> {
        let config = PublicReads {
            max_reads: 2,
            read_wait_ms: 10,
            read_timeout_ms: 100,
            away_after: 2,
            ..PublicReads::default()
        };
        Room::new("main", &config, &Tasks::new())
    }

    /// A read of a database that answers once `answers` is told.
    async fn held(answers: Arc<Notify>) -> Result<(), DbErr> {
        answers.notified().await;
        Ok(())
    }

    async fn read(room: &Arc<Room>) -> Result<(), ReadError> {
        room.read(async { Ok(()) }).await
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_database_hangs_nobody_waits_for_it_and_once_it_answers_all_read_again() {
        let (room, answers) = (room(), Arc::new(Notify::new()));
        for _ in 0..2 {
            assert!(matches!(room.read(held(Arc::clone(&answers))).await, Err(ReadError::TimedOut(100))));
        }
        // Both places are taken for as long as the database has not answered, and one reader at a time waits for one.
        let (scout, other) = tokio::join!(biased; read(&room), read(&room));
        assert!(matches!((scout, other), (Err(ReadError::Busy), Err(ReadError::Away))));
        answers.notify_waiters();
        tokio::task::yield_now().await;
        let (one, other) = tokio::join!(read(&room), read(&room));
        assert!(one.is_ok() && other.is_ok(), "a late answer is an answer: {one:?} {other:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn reads_beyond_the_limit_wait_for_their_turn_and_not_for_long() {
        let (room, answers) = (room(), Arc::new(Notify::new()));
        let (one, other, third) = tokio::join!(
            biased;
            room.read(held(Arc::clone(&answers))),
            room.read(held(Arc::clone(&answers))),
            read(&room)
        );
        assert!(matches!(third, Err(ReadError::Busy)));
        assert!(one.is_err() && other.is_err());
    }
}
