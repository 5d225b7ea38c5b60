//! Pools, with every limit set.

use std::time::Duration;

use sea_orm::sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection, Database as Driver};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use crate::config::DatabaseConfig;
use crate::error::Error;

/// Pages that the one connection which writes a SQLite file keeps in memory, KiB. A batch of 500 orders changes more than
/// 1,500 pages, as ids of orders are digests and lie anywhere; SQLite's own 2 MB hold 500. What does not fit goes into the log
/// before the commit, and is read from there again. Taken as it is needed, once for each database; readers keep 2 MB each.
const SQLITE_CACHE_KIB: u32 = 16 << 10;

/// How long SQLite's log becomes before a commit folds it into the file, pages of 4 KiB: 128 MB. SQLite's own 1,000 are less than
/// one batch, and each time the commit waits for two more syncs and writes the same pages again: 8,000 were several times a second
/// at 10,000 orders/s, of which some then piled up (infra/decisions/0002). Pages in the log are no memory. What a kill leaves of it
/// is read through once when the file is opened again.
const SQLITE_CHECKPOINT_PAGES: u32 = 32_000;

/// A log that a long read has kept from being folded in is cut back to this afterwards, bytes. More than
/// [`SQLITE_CHECKPOINT_PAGES`] take, so that the usual log is written over and not cut and grown again.
const SQLITE_LOG_LIMIT: u32 = 256 << 20;

/// Statements that the connection which writes keeps compiled; sqlx's own 100 are fewer than the texts of all roles in one
/// process, of which [`bind::sqlite_cuts`](crate::bind::sqlite_cuts) makes ten for each statement.
const SQLITE_STATEMENTS: usize = 512;

/// What a database is reached through.
pub(crate) struct Pools {
    pub(crate) write: DatabaseConnection,
    pub(crate) read: DatabaseConnection,
    /// Transactions at once.
    pub(crate) turns: u32,
}

/// A quarter of the connections for reads and probes, the rest for transactions: neither can starve the other, however
/// many look at their orders.
pub(crate) fn postgres(name: &str, config: &DatabaseConfig) -> Result<Pools, Error> {
    let options = postgres_options(&url_of(name), &config.url, config)?;
    let reads = (config.max_connections / 4).max(1);
    let turns = config.max_connections - reads;
    let write: PgPoolOptions = pool(config);
    let read: PgPoolOptions = pool(config);
    Ok(Pools {
        write: SqlxPostgresConnector::from_sqlx_postgres_pool(
            write.max_connections(turns).connect_lazy_with(options.clone()),
        ),
        read: SqlxPostgresConnector::from_sqlx_postgres_pool(read.max_connections(reads).connect_lazy_with(options)),
        turns,
    })
}

/// One connection alone, for a lock that is the session's.
pub(crate) fn postgres_session(name: &str, config: &DatabaseConfig) -> Result<DatabaseConnection, Error> {
    // A step of a migration may take long, and waits for locks as long as its own lock says.
    let options = postgres_options(&url_of(name), &config.url, config)?.options([("statement_timeout", "0")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(config.acquire_timeout())
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// One connection for looks at the primary's position.
pub(crate) fn postgres_looks(name: &str, config: &DatabaseConfig) -> Result<DatabaseConnection, Error> {
    Ok(looks(postgres_options(&url_of(name), &config.url, config)?, config))
}

/// What a replica is reached through.
pub(crate) struct ReplicaPools {
    /// Host and port.
    pub(crate) name: String,
    pub(crate) pool: DatabaseConnection,
    pub(crate) look: DatabaseConnection,
}

/// A pool for readers, and one connection for looks.
pub(crate) fn replica(name: &str, config: &DatabaseConfig, url: &SecretString) -> Result<ReplicaPools, Error> {
    let options = postgres_options(&format!("store.database.{name}.replicas: an entry"), url, config)?
        // A standby takes no writes as it is; one that was promoted a moment ago would.
        .options([("default_transaction_read_only", "on")]);
    let readers: PgPoolOptions = pool(config);
    let readers = readers
        .max_connections(config.replication.max_connections)
        .acquire_timeout(config.replication.acquire_timeout());
    Ok(ReplicaPools {
        name: format!("{}:{}", options.get_host(), options.get_port()),
        look: looks(options.clone(), config),
        pool: SqlxPostgresConnector::from_sqlx_postgres_pool(readers.connect_lazy_with(options)),
    })
}

fn looks(options: PgConnectOptions, config: &DatabaseConfig) -> DatabaseConnection {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.replication.look_timeout())
        .test_before_acquire(false)
        .connect_lazy_with(options.options([("statement_timeout", config.replication.look_timeout_ms)]));
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

/// One connection that writes, several that read.
pub(crate) fn sqlite(name: &str, config: &DatabaseConfig) -> Result<Pools, Error> {
    let options: SqliteConnectOptions = config.url.expose_secret().parse().map_err(|_| bad_url(&url_of(name)))?;
    // The busy timeout is set while the file is opened, before the switch to WAL, which may have to wait for it.
    let options = options
        .create_if_missing(true)
        .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let writer = options
        .clone()
        .statement_cache_capacity(SQLITE_STATEMENTS)
        .pragma("cache_size", format!("-{SQLITE_CACHE_KIB}"))
        .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", SQLITE_LOG_LIMIT.to_string())
        // What a statement needs to be undone alone; otherwise a file for each that changes many pages.
        .pragma("temp_store", "MEMORY");
    let write: SqlitePoolOptions = pool(config);
    let write = write.max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(writer);
    let read: SqlitePoolOptions = pool(config);
    let read = read.max_connections(config.max_connections - 1).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Pools {
        write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        read: SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
        turns: 1,
    })
}

fn url_of(name: &str) -> String {
    format!("store.database.{name}.url")
}

fn postgres_options(setting: &str, url: &SecretString, config: &DatabaseConfig) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = url.expose_secret().parse().map_err(|_| bad_url(setting))?;
    Ok(options.application_name("millpond").options([
        ("statement_timeout", config.statement_timeout_ms),
        ("lock_timeout", config.lock_timeout_ms),
        ("idle_in_transaction_session_timeout", config.idle_in_transaction_timeout_ms),
    ]))
}

/// A ping on every acquire would double the round trips of a small transaction: only a connection that was idle, and may
/// have died meanwhile, is tried.
fn pool<DB: Driver>(config: &DatabaseConfig) -> PoolOptions<DB> {
    let after_idle = Duration::from_millis(config.ping_after_idle_ms);
    let release_within = Duration::from_millis(config.release_timeout_ms);
    PoolOptions::new()
        .acquire_timeout(config.acquire_timeout())
        .test_before_acquire(false)
        .before_acquire(move |connection: &mut DB::Connection, meta: PoolConnectionMetadata| {
            Box::pin(async move {
                if meta.idle_for >= after_idle {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        // sqlx's own ping after this one waits for ever, and holds a place in the pool meanwhile.
        .after_release(move |connection: &mut DB::Connection, _: PoolConnectionMetadata| {
            Box::pin(async move {
                let ping = timeout(release_within, connection.ping()).await;
                ping.map_err(|_| sqlx::Error::protocol("no answer to the ping of a connection that came back"))??;
                Ok(true)
            })
        })
}

fn bad_url(setting: &str) -> Error {
    Error::config(format!(
        "{setting} can't be read (it is not shown here, as it may hold a password); it must look like \
         sqlite:path/to/file.db or postgres://user:password@host:5432/database"
    ))
}
