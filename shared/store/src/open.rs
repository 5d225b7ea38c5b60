//! Pools, with every limit set.

use std::time::Duration;

use sea_orm::sqlx::pool::{PoolConnectionMetadata, PoolOptions};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{Connection, Database as Driver};
use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use secrecy::ExposeSecret as _;

use crate::config::DatabaseConfig;
use crate::error::Error;

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
    let options = postgres_options(name, config)?;
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
    let options = postgres_options(name, config)?.options([("statement_timeout", "0")]);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(config.acquire_timeout())
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// One connection that writes, several that read.
pub(crate) fn sqlite(name: &str, config: &DatabaseConfig) -> Result<Pools, Error> {
    let options: SqliteConnectOptions = config.url.expose_secret().parse().map_err(|_| bad_url(name))?;
    // The busy timeout is set while the file is opened, before the switch to WAL, which may have to wait for it.
    let options = options
        .create_if_missing(true)
        .busy_timeout(Duration::from_millis(config.busy_timeout_ms))
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true);
    let write: SqlitePoolOptions = pool(config);
    let write = write.max_connections(1).idle_timeout(None).max_lifetime(None).connect_lazy_with(options.clone());
    let read: SqlitePoolOptions = pool(config);
    let read = read.max_connections(config.max_connections - 1).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok(Pools {
        write: SqlxSqliteConnector::from_sqlx_sqlite_pool(write),
        read: SqlxSqliteConnector::from_sqlx_sqlite_pool(read),
        turns: 1,
    })
}

fn postgres_options(name: &str, config: &DatabaseConfig) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = config.url.expose_secret().parse().map_err(|_| bad_url(name))?;
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
    PoolOptions::new().acquire_timeout(config.acquire_timeout()).test_before_acquire(false).before_acquire(
        move |connection: &mut DB::Connection, meta: PoolConnectionMetadata| {
            Box::pin(async move {
                if meta.idle_for >= after_idle {
                    connection.ping().await?;
                }
                Ok(true)
            })
        },
    )
}

fn bad_url(name: &str) -> Error {
    Error::config(format!(
        "store.database.{name}.url can't be read (it is not shown here, as it may hold a password); it must look like \
         sqlite:path/to/file.db or postgres://user:password@host:5432/database"
    ))
}
