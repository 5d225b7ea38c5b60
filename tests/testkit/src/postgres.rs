//! A database of one's own on the shared `PostgreSQL` server.

use model::{EventId, SystemClock};
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

/// The shared server's URL, as a superuser.
///
/// # Panics
/// Without the environment of `infra/test.sh`.
pub fn server_url() -> String {
    std::env::var("MILLPOND_TEST_POSTGRES_URL")
        .expect("MILLPOND_TEST_POSTGRES_URL is not set: run infra/test.sh, or eval \"$(infra/services.sh env)\"")
}

/// An empty database, dropped with this value, whoever is still connected.
#[derive(Debug)]
pub struct FreshDatabase {
    name: String,
    url: String,
}

impl FreshDatabase {
    /// Creates one.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Panics
    /// Without the environment of `infra/test.sh`.
    pub async fn create() -> anyhow::Result<Self> {
        let server = server_url();
        let name = format!("test_{}", EventId::new(&SystemClock).as_uuid().simple());
        let (server_without_database, _) =
            server.rsplit_once('/').ok_or_else(|| anyhow::anyhow!("MILLPOND_TEST_POSTGRES_URL names no database"))?;
        let url = format!("{server_without_database}/{name}");
        on_server(format!("CREATE DATABASE {name}")).await?;
        Ok(Self { name, url })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements in it, on a connection of their own.
    ///
    /// # Errors
    /// The server's.
    /// Runs statements in a database, on a connection of their own.
    ///
    /// # Errors
    /// The server's.
    pub async fn execute(&self, sql: &str) -> anyhow::Result<()> {
        execute(&self.url, sql.to_owned()).await
    }

    /// Ends every connection to it and lets none in, as if it were away, until [`Self::reopen`].
    ///
    /// # Errors
    /// The server's.
    pub async fn shut(&self) -> anyhow::Result<()> {
        on_server(format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.name)).await?;
        self.cut_connections().await
    }

    /// Lets connections in again.
    ///
    /// # Errors
    /// The server's.
    pub async fn reopen(&self) -> anyhow::Result<()> {
        on_server(format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name)).await
    }

    /// Ends every connection to it, as a restart of the server does.
    ///
    /// # Errors
    /// The server's.
    pub async fn cut_connections(&self) -> anyhow::Result<()> {
        let name = &self.name;
        on_server(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await
    }
}

impl Drop for FreshDatabase {
    fn drop(&mut self) {
        // Dropping can't wait, and the runtime of a test that panics is on its way out: a runtime of its own can.
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let dropping = std::thread::spawn(move || -> anyhow::Result<()> {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(on_server(sql))
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("the test database {} was left behind", self.name);
        }
    }
}

async fn on_server(sql: String) -> anyhow::Result<()> {
    execute(&server_url(), sql).await
}

/// Runs statements in a database, on a connection of their own.
///
/// # Errors
/// The server's.
pub async fn execute(url: &str, sql: String) -> anyhow::Result<()> {
    let mut connection = url.parse::<PgConnectOptions>()?.connect().await?;
    connection.execute(AssertSqlSafe(sql)).await?;
    connection.close().await?;
    Ok(())
}
