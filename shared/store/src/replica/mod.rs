//! Read replicas: which of them may be read, and who reads there.
//!
//! # Nouns
//! A [`Replica`] is a hot standby that follows the database's primary. Its [`ReplicaState`] is found out by one task
//! ([`Replica::watch`]) that asks both for their positions. A [`Reader`] is one request's reads of one [`Reads`] kind.
//!
//! # Guarantees
//! - A replica is read only while it is known to hold everything that was committed `max_lag_ms` ago. That is counted from
//!   what was last known (`lag.rs`): when the task, the primary or the replica falls silent the data only get older, and the
//!   reads go to the primary.
//! - A server that is no standby any more, is another cluster, or is not on its primary's timeline is refused, and said.
//! - A replica that is down costs a request nothing. The first read that fails for want of a connection takes it out until
//!   the task has got one of the readers' connections through; what is under way there when a look fails, too, is asked of
//!   the primary, once. Errors that the primary would repeat (poison, a statement that takes too long) are not.
//! - Readers take at most half of the primary's connections for reading (one at least), so that a replica that is away leaves a
//!   customer's own reads their part.
//! - What must not be behind can't be read here by mistake: a [`Database`](crate::Database) is its primary, and a reader is
//!   another type that no function for such reads takes.
//!
//! # Why positions
//! `now() - pg_last_xact_replay_timestamp()` grows for as long as nobody writes, compares the clocks of two servers, and is
//! nothing where replay has caught up with a primary that was cut off. A position that the primary named is passed or is not.
//!
//! # Choice
//! Among the replicas under the limit the one with the most free connections, in turns where they have the same. Least lag
//! would send everything to one, as the differences between two looks are noise.
//!
//! # Not relied on
//! Clocks of servers; the order of looks. A replica's URL has to name one server: behind an address that leads to several, a
//! look says nothing of where the next connection ends.

mod config;
mod lag;
mod position;
mod reader;
mod standing;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{ConnAcquireErr, ConnectionTrait as _, DatabaseConnection, DbBackend, DbErr, Statement};
use secrecy::SecretString;
use tokio::sync::{Semaphore, watch as watched};
use tokio::time::{Instant, sleep, timeout};

pub use config::ReplicationConfig;
pub(crate) use config::urls;
pub use position::Position;
pub(crate) use reader::Routes;
pub use reader::{Reader, Reads, Target};
pub use standing::ReplicaState;

use crate::bounded::Bounded;
use crate::config::DatabaseConfig;
use crate::database::internal;
use crate::error::Error;
use crate::{fault, open};
use standing::{Health, Standing};

/// A read replica of a `PostgreSQL` database, as this process knows it.
pub struct Replica {
    /// Host and port.
    name: String,
    /// The database's name in the configuration.
    database: String,
    config: ReplicationConfig,
    pool: Bounded<DatabaseConnection>,
    /// As many as the pool has connections, given in order of arrival.
    turns: Semaphore,
    /// One connection to it for looks, which wait behind no read.
    look: DatabaseConnection,
    /// One to the primary, shared by the looks of all its replicas.
    primary: DatabaseConnection,
    health: watched::Sender<Health>,
    failovers: AtomicU64,
}

impl Replica {
    pub(crate) fn open(
        database: &str,
        config: &DatabaseConfig,
        url: &SecretString,
        primary: DatabaseConnection,
    ) -> Result<Self, Error> {
        let opened = open::replica(database, config, url)?;
        let replication = config.replication.clone();
        Ok(Self {
            name: opened.name,
            database: database.to_owned(),
            turns: Semaphore::new(replication.max_connections as usize),
            config: replication,
            pool: Bounded::new(opened.pool, config.answer_within()),
            look: opened.look,
            primary,
            health: watched::Sender::new(Health::UNKNOWN),
            failovers: AtomicU64::new(0),
        })
    }

    /// Its host and port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of it now.
    pub fn state(&self) -> ReplicaState {
        self.health.borrow().state(Instant::now(), self.config.max_lag())
    }

    /// The age of its data at most; `None` where that is not known.
    pub fn lag(&self) -> Option<Duration> {
        self.health.borrow().lag(Instant::now())
    }

    /// Bytes of log that it had yet to replay at the last look; `None` where that is not known.
    pub fn lag_bytes(&self) -> Option<u64> {
        self.health.borrow().bytes_behind
    }

    /// How far it had replayed at the last look.
    pub fn replayed(&self) -> Option<Position> {
        self.health.borrow().replayed
    }

    /// Reads that failed here and were asked of the primary.
    pub fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::Relaxed)
    }

    pub(crate) fn pool(&self) -> &DatabaseConnection {
        self.pool.inner()
    }

    pub(crate) fn max_connections(&self) -> u32 {
        self.config.max_connections
    }

    pub(crate) async fn close(&self) {
        for pool in [self.pool.inner(), &self.look] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::debug!(store.replica = self.name, %error, "closing a pool failed");
            }
        }
    }

    /// Whether it has replayed `position`, or does within the time to catch up; asks it.
    async fn passes(&self, position: Position) -> bool {
        const PAUSE: Duration = Duration::from_millis(5);
        let sql = format!("SELECT {} AS replayed", Position::sql("pg_last_wal_replay_lsn()"));
        let passed = async {
            while self.replayed() < Some(position) {
                let statement = Statement::from_string(DbBackend::Postgres, sql.clone());
                let row =
                    self.ask(statement, |connection, statement| connection.query_one_raw(statement)).await.ok()??;
                if Position::read(&row, "replayed").ok()? >= Some(position) {
                    break;
                }
                sleep(PAUSE).await;
            }
            Some(())
        };
        timeout(self.config.catch_up(), passed).await.is_ok_and(|passed| passed.is_some())
    }

    fn free(&self) -> usize {
        self.turns.available_permits()
    }

    /// Runs `statement` here, for as long as the replica answers at all.
    async fn ask<T>(&self, statement: Statement, ask: Ask<T>) -> Result<T, DbErr> {
        let mut health = self.health.subscribe();
        let went = async {
            let _ = health.wait_for(|health| !health.standing.may_answer()).await;
        };
        tokio::select! {
            biased;
            answer = self.ask_in_turn(statement, ask) => answer,
            () = went => Err(internal("the replica went away")),
        }
    }

    async fn ask_in_turn<T>(&self, statement: Statement, ask: Ask<T>) -> Result<T, DbErr> {
        let turn = timeout(self.config.acquire_timeout(), self.turns.acquire()).await;
        let _turn = turn
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))?;
        let answer = ask(&self.pool, statement).await;
        // With a turn in hand there is a connection to be had: a failure to get one is the server's.
        if answer.as_ref().is_err_and(is_unreachable) {
            self.doubt();
        }
        answer
    }

    /// A read found no way to it: the next one need not try. Others that are under way may yet be answered.
    fn doubt(&self) {
        self.health.send_if_modified(|health| {
            let follows = health.standing == Standing::Following;
            if follows {
                health.standing = Standing::Doubted;
            }
            follows
        });
    }
}

/// How a statement is put to a connection.
type Ask<T> = for<'c> fn(&'c Bounded<DatabaseConnection>, Statement) -> Answer<'c, T>;
type Answer<'c, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, DbErr>> + Send + 'c>>;

fn is_unreachable(error: &DbErr) -> bool {
    matches!(error, DbErr::Conn(_) | DbErr::ConnectionAcquire(_)) || fault::connection_was_lost(error)
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("name", &self.name)
            .field("health", &*self.health.borrow())
            .finish_non_exhaustive()
    }
}
