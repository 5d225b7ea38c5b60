//! A set of servers of one's own, each of which can be killed, frozen, asked and brought back where it was.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::process::signal;
use crate::wait;

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The node itself, and not the script around it.
    Rabbit,
    /// The postmaster; its children are reached through it.
    Postgres,
    /// Redis or Valkey.
    Redis,
    /// The hot standby that follows PostgreSQL.
    Replica,
}

impl Server {
    /// Its name in its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rabbit => "rabbit",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Replica => "replica",
        }
    }
}

/// The servers of `infra/services.sh` in a folder; gone with this value.
#[derive(Debug)]
pub struct Servers {
    folder: PathBuf,
    environment: String,
}

impl Servers {
    /// Starts all of them in `folder`, which is made where it is not there.
    ///
    /// # Errors
    /// What `infra/services.sh` says.
    pub async fn start(folder: PathBuf) -> Result<Self> {
        let mut servers = Self { folder, environment: String::new() };
        servers.services("up", &[]).await?;
        servers.environment = servers.services("env", &[]).await?;
        Ok(servers)
    }

    /// Starts PostgreSQL and a replica of it alone, in `folder`.
    ///
    /// # Errors
    /// What `infra/services.sh` says.
    pub async fn replicated(folder: PathBuf) -> Result<Self> {
        let mut servers = Self { folder, environment: String::new() };
        servers.services("up", &["postgres", "--replica"]).await?;
        servers.environment = servers.services("env", &["postgres", "--replica"]).await?;
        Ok(servers)
    }

    /// A value that `infra/services.sh env` exports. Pids in it are those of the first start.
    ///
    /// # Errors
    /// Where it exports none of this name.
    pub fn exported(&self, name: &str) -> Result<&str> {
        let prefix = format!("export {name}=");
        let value = self.environment.lines().find_map(|line| line.strip_prefix(&prefix));
        value.with_context(|| format!("infra/services.sh env names {name}"))
    }

    /// The folder of a server's data.
    pub fn data(&self, server: Server) -> PathBuf {
        self.folder.join(server.name())
    }

    /// Starts a server again where it was, with its data; does nothing where it runs.
    ///
    /// # Errors
    /// What `infra/services.sh` says.
    pub async fn bring_back(&self, server: Server) -> Result<()> {
        let named: &[&str] = match server {
            Server::Replica => &["postgres", "--replica"],
            _ => &[server.name()],
        };
        self.services("up", named).await.map(drop)
    }

    /// Its process, where it runs.
    pub fn pid(&self, server: Server) -> Option<u32> {
        let noted = std::fs::read_to_string(self.folder.join(format!("{}.pid", server.name()))).ok()?;
        let (pid, started) = noted.trim().split_once(' ')?;
        let pid = pid.parse().ok()?;
        (started_at(pid)? == started).then_some(pid)
    }

    /// Sends a signal to it, by its name without `SIG`.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn signal(&self, server: Server, name: &str) -> Result<()> {
        let pid = self.pid(server).with_context(|| format!("{} runs", server.name()))?;
        signal(pid, name).await
    }

    /// Ends it by a signal and waits until it is gone.
    ///
    /// # Errors
    /// Where it did not run, or does not go.
    pub async fn end(&self, server: Server, by: &str) -> Result<()> {
        self.signal(server, by).await?;
        let gone = || async { self.pid(server).is_none().then_some(()) };
        wait::until(&format!("{} is gone", server.name()), gone).await
    }

    /// Stops all processes of a server where they are; for PostgreSQL its children too. A second call changes nothing.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn freeze(&self, server: Server) -> Result<()> {
        // First the parent, so that it has no new children.
        self.signal(server, "STOP").await?;
        for child in self.children(server) {
            // A child that has just ended needs no stop.
            let _ = signal(child, "STOP").await;
        }
        Ok(())
    }

    /// Lets the processes of a server go on.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn thaw(&self, server: Server) -> Result<()> {
        for child in self.children(server) {
            let _ = signal(child, "CONT").await;
        }
        self.signal(server, "CONT").await
    }

    /// Runs `rabbitmqctl` on the node.
    ///
    /// # Errors
    /// What it says.
    pub async fn rabbitmqctl(&self, args: &[&str]) -> Result<String> {
        let settings = tokio::fs::read_to_string(self.folder.join("settings")).await?;
        let epmd_port = settings.split_whitespace().nth(3).context("the port of epmd")?.to_owned();
        // Not Debian's wrapper in /usr/sbin: it changes to the user of the system's own node.
        let output = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl")
            .args(["-n", "millpond@localhost"])
            .args(args)
            .env("HOME", self.folder.join("rabbit/home"))
            .env("ERL_EPMD_PORT", epmd_port)
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .await?;
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        ensure!(output.status.success(), "rabbitmqctl: {}", String::from_utf8_lossy(&said));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// PostgreSQL's processes beside the postmaster: none of the others has children that matter.
    fn children(&self, server: Server) -> Vec<u32> {
        let (Server::Postgres | Server::Replica, Some(parent)) = (server, self.pid(server)) else { return Vec::new() };
        let path = format!("/proc/{parent}/task/{parent}/children");
        let children = std::fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    async fn services(&self, verb: &str, names: &[&str]) -> Result<String> {
        let output = services(verb, &self.folder).args(names).stdin(Stdio::null()).output().await?;
        ensure!(output.status.success(), "services.sh {verb}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let mut down = services("down", &self.folder);
        let stopped = down.as_std_mut().stdin(Stdio::null()).stderr(Stdio::null()).status();
        if !matches!(stopped, Ok(status) if status.success()) {
            eprintln!("the servers in {} were left running", self.folder.display());
        }
    }
}

/// When a process started, in the kernel's own count: with it a pid names one process for ever. `None` for a zombie.
fn started_at(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|field| (*field).to_owned()))?
}

fn services(verb: &str, folder: &Path) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/services.sh"));
    command.arg(verb).arg("--dir").arg(folder);
    command
}
