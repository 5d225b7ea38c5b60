//! The same database twice: a file and a server's.

use std::sync::Arc;

use crate::{Config, Database, DatabaseConfig, Databases};
use model::RegionNumber;
use sea_orm::{ConnectionTrait as _, DbErr, Value};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;

/// What keeps a database there; dropped with the test.
pub(crate) enum Home {
    File(TempDir),
    Server(FreshDatabase),
}

impl Home {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub(crate) async fn server() -> Self {
        Self::Server(FreshDatabase::create().await.unwrap())
    }

    /// One of each.
    pub(crate) async fn both() -> [Self; 2] {
        [Self::file(), Self::server().await]
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(dir) => format!("sqlite:{}", dir.path().join("millpond.db").display()),
            Self::Server(database) => database.url().to_owned(),
        }
    }

    pub(crate) fn config(&self) -> DatabaseConfig {
        DatabaseConfig { max_connections: 4, acquire_timeout_ms: 30_000, ..DatabaseConfig::at(self.url()) }
    }

    /// Opened as another process would.
    pub(crate) fn open(&self) -> Arc<Database> {
        Self::open_with(self.config())
    }

    pub(crate) fn open_with(database: DatabaseConfig) -> Arc<Database> {
        let mut config = Config::default();
        config.database.insert("main".to_owned(), database);
        Databases::open(&config).unwrap().region(RegionNumber(1)).unwrap().database.clone()
    }

    /// Opened, with the schema in place.
    pub(crate) async fn migrated(&self) -> Arc<Database> {
        let database = self.open();
        crate::migrate(&database).await.unwrap();
        database
    }
}

/// One statement in a transaction of its own.
pub(crate) async fn write(
    database: &Database,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), DbErr> {
    let tx = database.begin().await?;
    tx.execute_raw(database.statement(sql, values)).await?;
    tx.commit().await
}

/// The first column of the only row.
pub(crate) async fn number(database: &Database, sql: &str) -> i64 {
    let row = database.read().query_one_raw(database.statement(sql, [])).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}
