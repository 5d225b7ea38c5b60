//! Runs the steps that a database lacks, once, whoever else tries.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;
use sea_orm_migration::prelude::{Alias, DynIden, IntoIden, MigrationTrait, async_trait};
use tokio::time::{Instant, sleep};

use crate::config::Backend;
use crate::database::Database;
use crate::error::Error;
use crate::fault::Fault;
use crate::open;

/// Where the steps that ran are written down.
const TABLE: &str = "millpond_migrations";
/// The advisory lock of migrations: "millpond" in ASCII, so that no other program's lock meets it by accident.
const LOCK_KEY: i64 = 0x6d69_6c6c_706f_6e64;
/// How often a process asks for the lock that another holds.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How a database's schema compares with this release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// As this release wants it.
    Current,
    /// These steps have not run.
    Pending(Vec<String>),
    /// These steps ran, and this release does not know them.
    Newer(Vec<String>),
}

/// The steps that only one side has.
pub(crate) struct Steps {
    /// They ran, and this release does not know them.
    pub(crate) unknown: Vec<String>,
    /// This release knows them, and they have not run.
    pub(crate) pending: Vec<String>,
}

impl From<Steps> for Schema {
    fn from(Steps { unknown, pending }: Steps) -> Self {
        if !unknown.is_empty() {
            Self::Newer(unknown)
        } else if pending.is_empty() {
            Self::Current
        } else {
            Self::Pending(pending)
        }
    }
}

struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        super::steps().into_iter().map(|step| Box::new(step) as Box<dyn MigrationTrait>).collect()
    }

    fn migration_table_name() -> DynIden {
        Alias::new(TABLE).into_iden()
    }
}

/// How `database`'s schema compares with this release. Reads alone.
///
/// # Errors
/// The database's.
pub async fn schema(database: &Database) -> Result<Schema, DbErr> {
    steps(database).await.map(Schema::from)
}

/// As [`schema`], in full.
pub(crate) async fn steps(database: &Database) -> Result<Steps, DbErr> {
    compare(database, database.read()).await
}

/// Runs the steps that `database` lacks, and tells their names. Another process that migrates is waited for.
///
/// # Errors
/// [`Error::NewerSchema`], or the database's: then the steps before the failed one have run.
pub async fn migrate(database: &Database) -> Result<Vec<String>, Error> {
    let failed = |error: DbErr| Error::database(database.name(), &error);
    let ran = match database.backend() {
        Backend::Postgres => {
            let session = open::postgres_session(database.name(), database.config())?;
            let ran = under_session_lock(database, &session).await;
            // Closing the session also frees the lock, whatever happened.
            session.close_by_ref().await.map_err(failed)?;
            ran
        }
        Backend::Sqlite => under_write_lock(database).await,
    };
    ran?
}

/// The lock is the session's and not a transaction's, so that a step can be one that no transaction may hold (`CREATE
/// INDEX CONCURRENTLY`). It is polled for: a session that waits inside the server would hold a snapshot, for which that
/// very statement waits.
async fn under_session_lock(
    database: &Database,
    session: &DatabaseConnection,
) -> Result<Result<Vec<String>, Error>, Error> {
    let failed = |error: DbErr| Error::database(database.name(), &error);
    let give_up = Instant::now() + Duration::from_millis(database.config().migration_lock_timeout_ms);
    loop {
        let lock = database.statement("SELECT pg_try_advisory_lock($1) AS locked", [LOCK_KEY.into()]);
        let row = session.query_one_raw(lock).await.map_err(failed)?;
        if row.map(|row| row.try_get::<bool>("", "locked")).transpose().map_err(failed)? == Some(true) {
            return Ok(run(database, session).await);
        }
        if Instant::now() >= give_up {
            return Err(failed(DbErr::Custom(
                "another process was still migrating after migration_lock_timeout_ms".to_owned(),
            )));
        }
        sleep(LOCK_POLL).await;
    }
}

/// SQLite changes its schema in transactions like anything else: the one of all steps is also the lock. Of several
/// processes that make the file at once, one that finds another switching it to WAL is turned away at once, whatever its
/// busy timeout: it asks again.
async fn under_write_lock(database: &Database) -> Result<Result<Vec<String>, Error>, Error> {
    let failed = |error: DbErr| Error::database(database.name(), &error);
    let give_up = Instant::now() + Duration::from_millis(database.config().migration_lock_timeout_ms);
    let tx = loop {
        match database.begin().await {
            Err(error) if matches!(Fault::classify(&error), Fault::Contention(_)) && Instant::now() < give_up => {
                sleep(LOCK_POLL).await;
            }
            begun => break begun.map_err(failed)?,
        }
    };
    let ran = run(database, tx.inner()).await;
    if ran.is_ok() { tx.commit().await } else { tx.rollback().await }.map_err(failed)?;
    Ok(ran)
}

async fn run<'c, C>(database: &Database, connection: &'c C) -> Result<Vec<String>, Error>
where
    C: ConnectionTrait,
    &'c C: sea_orm_migration::IntoSchemaManagerConnection<'c>,
{
    let failed = |error: DbErr| Error::database(database.name(), &error);
    match compare(database, connection).await.map_err(failed)?.into() {
        Schema::Current => Ok(Vec::new()),
        Schema::Newer(steps) => Err(newer(database, &steps)),
        Schema::Pending(steps) => {
            Migrator::up(connection, None).await.map_err(failed)?;
            Ok(steps)
        }
    }
}

pub(crate) fn newer(database: &Database, steps: &[String]) -> Error {
    Error::NewerSchema { database: database.name().to_owned(), newest: steps.join(", ") }
}

async fn compare(database: &Database, connection: &impl ConnectionTrait) -> Result<Steps, DbErr> {
    let applied = applied(database, connection).await?;
    let known: Vec<&str> = super::steps().iter().map(|step| step.name).collect();
    let unknown = applied.iter().filter(|name| !known.contains(&name.as_str())).cloned().collect();
    let pending = known.into_iter().filter(|name| !applied.contains(*name)).map(str::to_owned).collect();
    Ok(Steps { unknown, pending })
}

async fn applied(database: &Database, connection: &impl ConnectionTrait) -> Result<BTreeSet<String>, DbErr> {
    let exists = match database.backend() {
        Backend::Postgres => "SELECT to_regclass($1) IS NOT NULL AS found",
        Backend::Sqlite => "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = $1) AS found",
    };
    let row = connection.query_one_raw(database.statement(exists, [TABLE.into()])).await?;
    if row.map(|row| row.try_get::<bool>("", "found")).transpose()? != Some(true) {
        return Ok(BTreeSet::new());
    }
    let rows = connection.query_all_raw(database.statement(format!("SELECT version FROM {TABLE}"), [])).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}
