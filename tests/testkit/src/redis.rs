//! Redis for tests: a corner of the shared server, or a server of one's own that can be killed and brought back.

use anyhow::Context as _;
use model::{EventId, SystemClock};
use tokio::process::{Child, Command};

use crate::wait;

/// The shared server's URL.
///
/// # Panics
/// Without the environment of `infra/test.sh`.
pub fn url() -> String {
    std::env::var("MILLPOND_TEST_REDIS_URL")
        .expect("MILLPOND_TEST_REDIS_URL is not set: run infra/test.sh, or eval \"$(infra/services.sh env)\"")
}

/// A key prefix that no other test has: the isolation on the shared server.
pub fn key_prefix() -> String {
    format!("test-{}:", EventId::new(&SystemClock))
}

/// A private server without persistence, gone when dropped.
#[derive(Debug)]
pub struct PrivateRedis {
    port: u16,
    process: Child,
}

impl PrivateRedis {
    /// Starts a server on a free loopback port and waits until it takes connections.
    ///
    /// # Errors
    /// Where `redis-server` is not installed, or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = spawn(port)?;
        let server = Self { port, process };
        server.wait_until_up().await?;
        Ok(server)
    }

    /// The server's URL; the same after [`Self::bring_back`].
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills it: nothing that it held survives.
    ///
    /// # Errors
    /// Where the process can't be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("killing redis-server")
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn bring_back(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.port)?;
        self.wait_until_up().await
    }

    async fn wait_until_up(&self) -> anyhow::Result<()> {
        wait::until("redis-server is up", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(drop)
        })
        .await
    }
}

fn spawn(port: u16) -> anyhow::Result<Child> {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", &std::env::temp_dir().to_string_lossy()])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting redis-server: run infra/test.sh, which installs it")
}
