//! Who reads where.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sea_orm::prelude::async_trait::async_trait;
use sea_orm::{ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, Value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::position::Position;
use super::{Ask, Replica, ReplicaState, internal};
use crate::config::Backend;
use crate::database::Database;
use crate::fault::{self, Fault};

/// What a read is for. All of these may be behind by the limit; what may not is read by [`Database::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Lists that everybody sees: the catalogue.
    Listing,
    /// What happened: orders and the audit trail, for whoever looks things up.
    History,
    /// Sums over many rows: the groups of what is parked.
    Report,
}

impl Reads {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Listing, Self::History, Self::Report];

    /// Its name, as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::History => "history",
            Self::Report => "report",
        }
    }
}

/// Where a read goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the database itself.
    Primary,
    /// To one of its replicas.
    Replica,
}

impl Target {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Primary, Self::Replica];

    /// Its name, as metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What the readers of a database share.
pub(crate) struct Routes {
    replicas: Vec<Arc<Replica>>,
    /// Where the next search among equals begins.
    next: AtomicUsize,
    /// Turns of readers at the primary.
    guests: Semaphore,
    /// By [`Reads`] and [`Target`].
    answered: [[AtomicU64; 2]; 3],
}

impl Routes {
    /// For a primary that has `reading` connections for reads.
    pub(crate) fn new(replicas: Vec<Arc<Replica>>, reading: u32) -> Self {
        let guests = Semaphore::new((reading as usize / 2).max(1));
        Self { replicas, next: AtomicUsize::new(0), guests, answered: Default::default() }
    }

    pub(crate) fn replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    /// The replica that may be read, meets `condition`, and has the most free connections.
    fn choose(&self, condition: impl Fn(&Replica) -> bool) -> Option<Arc<Replica>> {
        let begin = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.replicas.len();
        let mut chosen: Option<&Arc<Replica>> = None;
        for replica in (0..count).map(|step| &self.replicas[begin.wrapping_add(step) % count]) {
            let better = chosen.is_none_or(|best| replica.free() > best.free());
            if better && replica.state() == ReplicaState::Ready && condition(replica) {
                chosen = Some(replica);
            }
        }
        chosen.cloned()
    }

    /// A turn at the primary.
    async fn guest(&self, wait: Duration) -> Result<SemaphorePermit<'_>, DbErr> {
        let turn = timeout(wait, self.guests.acquire()).await;
        turn.map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
    }

    fn count(&self, reads: Reads, target: Target) {
        self.answered[reads as usize][target as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Database {
    /// Reads for one request, by a replica under the lag limit, else by the primary. Waits for nothing; made anew for each
    /// request, as it says where to read *now*.
    pub fn reader(self: &Arc<Self>, reads: Reads) -> Reader {
        self.reader_where(reads, |_| true)
    }

    /// As [`Self::reader`], by a replica that is known to have replayed `position`, so that whoever noted it after a commit
    /// sees that commit. `None`, a position that nobody knows, is the primary.
    pub fn reader_at(self: &Arc<Self>, reads: Reads, position: Option<Position>) -> Reader {
        self.reader_where(reads, |replica| position.is_some_and(|position| replica.replayed() >= Some(position)))
    }

    /// As [`Self::reader_at`], by a replica that says itself, now, that it has replayed `position`, or has within
    /// `replication.catch_up_ms`: what was noted of it at the last look lags behind a primary that is written to all the time.
    pub async fn reader_after(self: &Arc<Self>, reads: Reads, position: Option<Position>) -> Reader {
        let mut reader = self.reader_where(reads, |_| position.is_some());
        if let (Some(replica), Some(position)) = (&reader.replica, position)
            && !replica.passes(position).await
        {
            reader.replica = None;
        }
        reader
    }

    /// As [`Self::reader_after`], of everything that was committed before this call, so that whoever has just changed something
    /// sees it. Asks the primary how far that is, where there is a replica at all.
    ///
    /// # Errors
    /// The database's.
    pub async fn reader_as_of_now(self: &Arc<Self>, reads: Reads) -> Result<Reader, DbErr> {
        let position = if self.replicas().is_empty() { None } else { self.position().await? };
        Ok(self.reader_after(reads, position).await)
    }

    fn reader_where(self: &Arc<Self>, reads: Reads, condition: impl Fn(&Replica) -> bool) -> Reader {
        let replica = self.routes().choose(condition);
        Reader { database: Arc::clone(self), replica, left: AtomicBool::new(false), reads }
    }

    /// A position that everything lies before which was committed when this is called; asks the primary. `None` on SQLite,
    /// which has none.
    ///
    /// # Errors
    /// The database's.
    pub async fn position(&self) -> Result<Option<Position>, DbErr> {
        if self.backend() == Backend::Sqlite {
            return Ok(None);
        }
        // Where the log grows, not up to where it is written: with synchronous_commit off a commit is answered before that.
        let sql = format!("SELECT {} AS position", Position::sql("pg_current_wal_insert_lsn()"));
        let _turn = self.routes().guest(self.config().acquire_timeout()).await?;
        let row = self.read().query_one_raw(self.statement(sql, [])).await?;
        Position::read(&row.ok_or_else(|| internal("an empty answer"))?, "position")
    }

    /// Its read replicas, in the order of the configuration.
    pub fn replicas(&self) -> &[Arc<Replica>] {
        self.routes().replicas()
    }

    /// Statements of readers that were answered, by what they were for and by whom.
    pub fn answered_reads(&self) -> impl Iterator<Item = (Reads, Target, u64)> {
        let answered = &self.routes().answered;
        let pairs = Reads::ALL.into_iter().flat_map(|reads| Target::ALL.map(|target| (reads, target)));
        pairs.map(|(reads, target)| (reads, target, answered[reads as usize][target as usize].load(Ordering::Relaxed)))
    }
}

/// One request's reads, of statements that stand each on its own. What fails on the replica is asked of the primary once, and
/// from then on this reader stays there, so that it never sees an older state after a newer one.
pub struct Reader {
    database: Arc<Database>,
    replica: Option<Arc<Replica>>,
    /// The replica failed, or is not under the limit any more.
    left: AtomicBool,
    reads: Reads,
}

impl Reader {
    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.database.backend()
    }

    /// `sql` with `values`, as [`Database::statement`] makes it.
    pub fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        self.database.statement(sql, values)
    }

    /// Where its next statement goes, as far as is known.
    pub fn target(&self) -> Target {
        if self.replica().is_some() { Target::Replica } else { Target::Primary }
    }

    fn replica(&self) -> Option<&Replica> {
        let replica = self.replica.as_deref().filter(|_| !self.left.load(Ordering::Relaxed))?;
        if replica.state() != ReplicaState::Ready {
            self.left.store(true, Ordering::Relaxed);
            return None;
        }
        Some(replica)
    }

    async fn read<T>(&self, statement: Statement, ask: Ask<T>) -> Result<T, DbErr> {
        let routes = self.database.routes();
        if let Some(replica) = self.replica() {
            match replica.ask(statement.clone(), ask).await {
                Ok(answer) => {
                    routes.count(self.reads, Target::Replica);
                    return Ok(answer);
                }
                Err(error) if would_fail_again(&error) => return Err(error),
                Err(error) => {
                    let name = replica.name();
                    tracing::debug!(store.replica = name, %error, "a read failed on the replica, the primary is asked");
                    replica.failovers.fetch_add(1, Ordering::Relaxed);
                    self.left.store(true, Ordering::Relaxed);
                }
            }
        }
        let _turn = routes.guest(self.database.config().acquire_timeout()).await?;
        let answer = ask(self.database.read(), statement).await?;
        routes.count(self.reads, Target::Primary);
        Ok(answer)
    }
}

/// Whether the primary would say the same: the statement's data are at fault, or it takes too long.
fn would_fail_again(error: &DbErr) -> bool {
    matches!(Fault::classify(error), Fault::Poison(_)) || fault::took_too_long(error)
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.database.read().get_database_backend()
    }

    /// Refused: a reader only reads.
    async fn execute_raw(&self, _statement: Statement) -> Result<ExecResult, DbErr> {
        Err(internal("a reader does not write: use a transaction of the database"))
    }

    /// Refused: a reader only reads.
    async fn execute_unprepared(&self, _sql: &str) -> Result<ExecResult, DbErr> {
        Err(internal("a reader does not write: use a transaction of the database"))
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.read(statement, |connection, statement| connection.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.read(statement, |connection, statement| connection.query_all_raw(statement)).await
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, target) = (self.database.name(), self.target());
        f.debug_struct("Reader").field("database", &database).field("target", &target).finish_non_exhaustive()
    }
}
