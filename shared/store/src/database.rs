//! One database: turns, transactions, reads of the primary.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use flow::Budget;
use sea_orm::{
    ConnAcquireErr, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, RuntimeErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::bounded::{Bounded, bounded};
use crate::config::{Backend, DatabaseConfig};
use crate::error::Error;
use crate::replica::{Replica, Routes};
use crate::{fault, open};

/// A `PostgreSQL` database or a SQLite file. It stands for the primary: what may be read from a replica goes through a
/// [`Reader`](crate::Reader).
pub struct Database {
    name: String,
    backend: Backend,
    config: DatabaseConfig,
    write: DatabaseConnection,
    read: Bounded<DatabaseConnection>,
    max_transactions: usize,
    /// As many turns as connections may be in a transaction, given in order of arrival: a pool under load gives no order,
    /// and lets a waiter time out while later ones pass.
    turns: Arc<Semaphore>,
    routes: Routes,
}

impl Database {
    pub(crate) fn open(name: &str, config: &DatabaseConfig) -> Result<Self, Error> {
        let backend = config.backend().ok_or_else(|| {
            Error::config(format!("store.database.{name}.url must start with sqlite: or postgres://"))
        })?;
        let pools = match backend {
            Backend::Postgres => open::postgres(name, config)?,
            Backend::Sqlite => open::sqlite(name, config)?,
        };
        let replicas = replicas(name, config)?;
        Ok(Self {
            name: name.to_owned(),
            backend,
            routes: Routes::new(replicas, reading(backend, config, pools.turns)),
            config: config.clone(),
            write: pools.write,
            read: Bounded::new(pools.read, config.answer_within()),
            max_transactions: pools.turns as usize,
            turns: Arc::new(Semaphore::new(pools.turns as usize)),
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// What all processes together may ask of it, by the configuration.
    pub fn budget(&self) -> Budget {
        self.config.budget
    }

    /// How many transactions can be open at once: on `PostgreSQL` `max_connections` without the quarter that is kept for
    /// reads, on SQLite one.
    pub fn max_transactions(&self) -> usize {
        self.max_transactions
    }

    /// A transaction, once it is this caller's turn (`acquire_timeout_ms` at most). `PostgreSQL`: read committed. SQLite:
    /// `BEGIN IMMEDIATE`, so it holds the write lock from the start.
    ///
    /// # Errors
    /// The database's; [`DbErr::ConnectionAcquire`] where the turn did not come in time.
    pub async fn begin(&self) -> Result<Transaction, DbErr> {
        let turn = self.turn().await?;
        let options = TransactionOptions {
            sqlite_transaction_mode: (self.backend == Backend::Sqlite).then_some(SqliteTransactionMode::Immediate),
            ..Default::default()
        };
        let mut tries_left = self.config.max_connections;
        loop {
            let within = self.config.answer_within();
            match bounded(within, self.write.begin_with_options(options)).await {
                Ok(inner) => return Ok(Transaction { inner: Bounded::new(inner, within), within, _turn: turn }),
                // A restart of the server leaves a pool of dead connections. Nothing has been done on this one, so the
                // next can be tried instead of failing a batch for each of them.
                Err(error) if tries_left > 0 && fault::connection_was_lost(&error) => tries_left -= 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// For statements that only read, each on its own: they wait for no transaction, and no transaction waits for them. Always
    /// the primary.
    pub fn read(&self) -> &Bounded<DatabaseConnection> {
        &self.read
    }

    /// Whether the database answers and takes a write: one row of table `probe` is written and committed, as nothing less
    /// finds a full disk or a grant that is missing. Before the migration that brings the table it only answers. On SQLite
    /// nothing is written while a transaction of this process is open: that one finds out, and a probe waits for nobody.
    ///
    /// # Errors
    /// Why not.
    pub async fn probe(&self) -> Result<(), DbErr> {
        let answer = timeout(self.config.acquire_timeout(), self.read_and_write());
        answer.await.map_err(|_| internal("no answer in time"))?
    }

    async fn read_and_write(&self) -> Result<(), DbErr> {
        // After a failover the old address may lead to a standby, which answers reads and refuses writes.
        let sql = match self.backend {
            Backend::Postgres => {
                "SELECT current_setting('transaction_read_only') = 'on' AS read_only, \
                 to_regclass('probe') IS NOT NULL AS migrated"
            }
            Backend::Sqlite => {
                "SELECT 0 AS read_only, EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'probe') AS migrated"
            }
        };
        let row = self.read.query_one_raw(self.statement(sql, [])).await?.ok_or_else(|| internal("an empty answer"))?;
        if row.try_get("", "read_only")? {
            return Err(internal("it takes no writes (a standby, or set to read-only)"));
        }
        if row.try_get("", "migrated")? { self.write_probe().await } else { Ok(()) }
    }

    async fn write_probe(&self) -> Result<(), DbErr> {
        // No transaction around it: a statement on its own is committed before it is answered.
        let sql = format!(
            "INSERT INTO probe (id, at) VALUES (1, {}) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
            self.backend.now_sql()
        );
        match self.backend {
            Backend::Postgres => self.read.execute_raw(self.statement(sql, [])).await.map(drop),
            Backend::Sqlite => match self.turns.try_acquire() {
                Ok(_turn) => self.write.execute_raw(self.statement(sql, [])).await.map(drop),
                Err(_somebody_writes) => Ok(()),
            },
        }
    }

    /// The connections of its pools now: for transactions, then for reads.
    pub fn connections(&self) -> [Connections; 2] {
        let count = |pool: &DatabaseConnection, max: u32| match self.backend {
            Backend::Postgres => Connections::of(pool.get_postgres_connection_pool(), max),
            Backend::Sqlite => Connections::of(pool.get_sqlite_connection_pool(), max),
        };
        let turns = u32::try_from(self.max_transactions).unwrap_or(u32::MAX);
        [count(&self.write, turns), count(self.read.inner(), reading(self.backend, &self.config, turns))]
    }

    /// Closes the pools; what is under way finishes first.
    pub async fn close(&self) {
        for pool in [&self.write, self.read.inner()] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::debug!(database = self.name, %error, "closing a pool failed");
            }
        }
        for replica in self.replicas() {
            replica.close().await;
        }
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.routes
    }

    pub(crate) fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, DbErr> {
        let turn = timeout(self.config.acquire_timeout(), self.turns.clone().acquire_owned());
        turn.await
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))?
            .map_err(|_| DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
    }
}

/// The connections for reads, beside `turns` for transactions.
fn reading(backend: Backend, config: &DatabaseConfig, turns: u32) -> u32 {
    match backend {
        Backend::Postgres => config.max_connections.saturating_sub(turns),
        Backend::Sqlite => config.max_connections - 1,
    }
}

fn replicas(name: &str, config: &DatabaseConfig) -> Result<Vec<Arc<Replica>>, Error> {
    if config.replicas.is_empty() {
        return Ok(Vec::new());
    }
    let primary = open::postgres_looks(name, config)?;
    let open = |url| Ok(Arc::new(Replica::open(name, config, url, primary.clone())?));
    let replicas = config.replicas.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
    for (n, replica) in replicas.iter().enumerate() {
        if replicas[..n].iter().any(|other| other.name() == replica.name()) {
            let replica = replica.name();
            return Err(Error::config(format!("store.database.{name}.replicas names {replica} twice")));
        }
    }
    Ok(replicas)
}

/// The connections of a pool at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// In use.
    pub used: u32,
    /// Open, and in nobody's use.
    pub idle: u32,
    /// As many as there may be.
    pub max: u32,
}

impl Connections {
    /// Those of readers at a replica.
    pub fn of_replica(replica: &Replica) -> Self {
        Self::of(replica.pool().get_postgres_connection_pool(), replica.max_connections())
    }

    fn of<DB: sea_orm::sqlx::Database>(pool: &sea_orm::sqlx::Pool<DB>, max: u32) -> Self {
        let open = pool.size();
        // The two are not read at one moment.
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX).min(open);
        Self { used: open - idle, idle, max }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("name", &self.name).field("backend", &self.backend).finish_non_exhaustive()
    }
}

pub(crate) fn internal(message: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(message.to_owned()))
}

/// A transaction and the turn that it takes; dropped, it is rolled back. Statements go through the connection that it
/// derefs to.
pub struct Transaction {
    inner: Bounded<DatabaseTransaction>,
    within: Option<Duration>,
    // After the transaction, so that the connection is on its way back when the next one's turn comes.
    _turn: OwnedSemaphorePermit,
}

impl Transaction {
    /// Commits.
    ///
    /// # Errors
    /// The database's. Where the connection was lost, the transaction may have been committed or not.
    pub async fn commit(self) -> Result<(), DbErr> {
        bounded(self.within, self.inner.into_inner().commit()).await
    }

    /// Rolls back, and waits for it.
    ///
    /// # Errors
    /// The database's; it is rolled back all the same.
    pub async fn rollback(self) -> Result<(), DbErr> {
        bounded(self.within, self.inner.into_inner().rollback()).await
    }
}

impl Deref for Transaction {
    type Target = Bounded<DatabaseTransaction>;
    fn deref(&self) -> &Bounded<DatabaseTransaction> {
        &self.inner
    }
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transaction")
    }
}
