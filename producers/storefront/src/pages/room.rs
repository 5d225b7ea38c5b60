//! What renders may ask of one database: apart from the reads of status and the changes of stock, and bounded.
//!
//! Searches have a share of it. They cost more than any other read, and anybody can make up as many as they like, none of which is
//! kept yet: without a share they would have every place.
//!
//! A database is away when it is silent: reads fail or run out of time, and nobody else's is answered meanwhile. To wait for a
//! turn at the primary behind others that are answered says nothing of the database.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::DbErr;
use service::Tasks;
use store::Fault;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::PublicReads;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// As many reads as may are under way, or as many searches.
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
pub(crate) struct Room {
    database: String,
    slots: Arc<Semaphore>,
    /// Searches among those that read.
    searches: Arc<Semaphore>,
    /// Searches that wait for their turn. Each has a turn of the cache's renders meanwhile, so they are bounded, too.
    line: Semaphore,
    wait: Duration,
    answer_within: Duration,
    away_after: u32,
    /// How many statements of readers, of these and of others, the primary has answered so far.
    answers: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Reads in a row without an answer.
    unanswered: AtomicU32,
    /// Who finds out whether it is back.
    scout: Arc<Semaphore>,
    tasks: Tasks,
}

impl Room {
    /// `answers` counts the statements of readers that the primary has answered so far.
    pub(crate) fn new(
        database: &str,
        config: &PublicReads,
        tasks: &Tasks,
        answers: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Self> {
        let places = |most: usize| Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS));
        Arc::new(Self {
            database: database.to_owned(),
            slots: Arc::new(places(config.max_reads)),
            searches: Arc::new(places(config.max_searches)),
            line: places(config.max_reads),
            wait: config.read_wait(),
            answer_within: config.read_timeout(),
            away_after: config.away_after.max(1),
            answers: Box::new(answers),
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
    pub(crate) fn read<T, F>(self: &Arc<Self>, reading: F) -> impl Future<Output = Result<T, ReadError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        self.run(false, reading)
    }

    /// As [`Self::read`], within the share of searches.
    pub(crate) fn search<T, F>(self: &Arc<Self>, reading: F) -> impl Future<Output = Result<T, ReadError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        self.run(true, reading)
    }

    async fn run<T, F>(self: &Arc<Self>, is_search: bool, reading: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        // First of all: a scout that waited for its share would keep the others from finding out.
        let share = if is_search { Some(self.share().await.ok_or(ReadError::Busy)?) } else { None };
        let scout = if self.is_away() {
            Some(Arc::clone(&self.scout).try_acquire_owned().map_err(|_| ReadError::Away)?)
        } else {
            None
        };
        let slot = timeout(self.wait, Arc::clone(&self.slots).acquire_owned()).await;
        // Says nothing of the database: many readers came at once. Reads that do not end are counted themselves.
        let slot = slot.ok().and_then(Result::ok).ok_or(ReadError::Busy)?;
        let room = Arc::clone(self);
        let read = self.tasks.spawn("page read", async move {
            let read = room.watched(reading).await;
            drop((slot, share, scout));
            read
        });
        match timeout(self.answer_within, read).await {
            Ok(Ok(read)) => Ok(read?),
            Ok(Err(_panicked)) => Err(ReadError::Panicked),
            Err(_) => Err(self.late()),
        }
    }

    /// A search's turn. Nobody waits for one while the database is away.
    async fn share(&self) -> Option<OwnedSemaphorePermit> {
        let _waits = self.line.try_acquire().ok()?;
        let wait = if self.is_away() { Duration::ZERO } else { self.wait };
        timeout(wait, Arc::clone(&self.searches).acquire_owned()).await.ok()?.ok()
    }

    /// `reading` to its end, also when nobody waits for it any more, and what it says of the database.
    async fn watched<T>(&self, reading: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let mut reading = pin!(reading);
        let begin = (self.answers)();
        let (mut before, mut is_counted) = (begin, false);
        let read = loop {
            if let Ok(read) = timeout(self.answer_within, reading.as_mut()).await {
                break read;
            }
            // Looked at again and again: the database may have fallen silent only after this read began.
            let now = (self.answers)();
            if now == before && !is_counted {
                is_counted = true;
                self.went_unanswered(&self.late().to_string());
            }
            before = now;
        };
        match &read {
            Err(error) if matches!(Fault::classify(error), Fault::Infrastructure(_)) => {
                // Else it had no turn, or its connection broke, while others were answered.
                if (self.answers)() == begin {
                    self.went_unanswered(&error.to_string());
                }
            }
            _ => self.answered(),
        }
        read
    }

    fn late(&self) -> ReadError {
        ReadError::TimedOut(u64::try_from(self.answer_within.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_away(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= self.away_after
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

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("database", &self.database).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use sea_orm::ConnAcquireErr;
    use tokio::sync::Notify;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn room() -> Arc<Room> {
        room_beside(&Arc::default())
    }

    /// Of a database that gives so many answers to others.
    fn room_beside(answers: &Arc<AtomicU64>) -> Arc<Room> {
        let config = PublicReads {
            max_reads: 2,
            max_searches: 1,
            read_wait_ms: 10,
            read_timeout_ms: 100,
            away_after: 2,
            ..PublicReads::default()
        };
        let answers = Arc::clone(answers);
        Room::new("main", &config, &Tasks::new(), move || answers.load(Ordering::Relaxed))
    }

    /// A read of a database that answers once `answers` is told.
    async fn held(answers: Arc<Notify>) -> Result<(), DbErr> {
        answers.notified().await;
        Ok(())
    }

    /// A read whose turn at the primary does not come.
    async fn without_a_turn() -> Result<(), DbErr> {
        sleep(Duration::from_millis(150)).await;
        Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
    }

    async fn answer_another(answers: &AtomicU64) {
        sleep(Duration::from_millis(50)).await;
        answers.fetch_add(1, Ordering::Relaxed);
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
        // What the last one says of the database is found out at the same moment.
        tokio::task::yield_now().await;
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

    #[tokio::test(start_paused = true)]
    async fn searches_beyond_their_share_are_refused_and_another_read_finds_its_place() {
        let (room, answers) = (room(), Arc::new(Notify::new()));
        let begin = Instant::now();
        let search = || room.search(held(Arc::clone(&answers)));
        // One is read, two wait for their turn and the last one may not even wait.
        let (one, second, third, (last, last_after), other) = tokio::join!(
            biased;
            search(),
            search(),
            search(),
            async { (search().await, begin.elapsed()) },
            read(&room)
        );
        assert!(matches!(one, Err(ReadError::TimedOut(100))));
        assert!(matches!((second, third, last), (Err(ReadError::Busy), Err(ReadError::Busy), Err(ReadError::Busy))));
        assert_eq!(last_after, Duration::ZERO);
        assert!(other.is_ok(), "{other:?}");
        answers.notify_waiters();
        tokio::task::yield_now().await;
        assert!(room.search(async { Ok(()) }).await.is_ok(), "one that ends gives its place back");
    }

    #[tokio::test(start_paused = true)]
    async fn to_wait_for_a_turn_behind_reads_that_are_answered_makes_no_database_away() {
        let answers = Arc::default();
        let room = room_beside(&answers);
        for _ in 0..3 {
            let (read, ()) = tokio::join!(room.read(without_a_turn()), answer_another(&answers));
            assert!(matches!(read, Err(ReadError::TimedOut(100))));
            sleep(Duration::from_millis(100)).await;
            assert!(!room.is_away());
        }
        assert!(room.read(without_a_turn()).await.is_err());
        sleep(Duration::from_millis(100)).await;
        assert!(room.is_away(), "nobody was answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_falls_silent_while_it_is_read_is_away() {
        let (answers, never) = (Arc::default(), Arc::new(Notify::new()));
        let room = room_beside(&answers);
        let (one, other, ()) = tokio::join!(
            room.read(held(Arc::clone(&never))),
            room.read(held(Arc::clone(&never))),
            answer_another(&answers)
        );
        assert!(one.is_err() && other.is_err() && !room.is_away());
        sleep(Duration::from_millis(150)).await;
        assert!(room.is_away());
    }
}
