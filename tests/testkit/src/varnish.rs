//! A Varnish of one's own, in front of whatever a test serves.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::wait;

/// The configurations of `infra/varnish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vcl {
    /// Purged by tags, through the module xkey.
    Xkey,
    /// Purged by bans.
    Bans,
}

/// A private server with `infra/varnish`, gone when dropped. It takes purges from this machine.
#[derive(Debug)]
pub struct PrivateVarnish {
    port: u16,
    process: Child,
    vcl: Vcl,
    backend: SocketAddr,
    folder: TempDir,
}

impl PrivateVarnish {
    /// Starts a server on a free loopback port in front of `backend`, and waits until it takes connections.
    ///
    /// # Errors
    /// Where `varnishd` or its module is not installed, or it does not come up; with what it says.
    pub async fn start(backend: SocketAddr, vcl: Vcl) -> anyhow::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let process = spawn(folder.path(), port, backend, vcl)?;
        let mut server = Self { port, process, vcl, backend, folder };
        server.wait_until_up().await?;
        Ok(server)
    }

    /// Where it serves, without a slash at the end; the same after [`Self::bring_back`].
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it: what it kept is gone.
    ///
    /// # Errors
    /// Where the process can't be ended.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("killing varnishd")?;
        // Its child notices that the parent is gone, and closes the port.
        wait::until("the port is closed", || async {
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_err().then_some(())
        })
        .await
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn bring_back(&mut self) -> anyhow::Result<()> {
        self.process = spawn(self.folder.path(), self.port, self.backend, self.vcl)?;
        self.wait_until_up().await
    }

    async fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("log");
        let up = wait::until("varnishd is up", || {
            let ended = !matches!(self.process.try_wait(), Ok(None));
            let port = self.port;
            async move {
                let connected = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok();
                (ended || connected).then_some(connected)
            }
        })
        .await;
        match up {
            Ok(true) => Ok(()),
            _ => bail!("varnishd does not come up: {}", std::fs::read_to_string(log).unwrap_or_default()),
        }
    }
}

fn spawn(folder: &Path, port: u16, backend: SocketAddr, vcl: Vcl) -> anyhow::Result<Child> {
    let name = match vcl {
        Vcl::Xkey => "millpond.vcl",
        Vcl::Bans => "millpond-ban.vcl",
    };
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/varnish");
    let (host, to) = (backend.ip(), backend.port());
    let main = folder.join("main.vcl");
    let probe = "{ .request = \"HEAD /healthz HTTP/1.1\" \"Host: localhost\" \"Connection: close\"; \
                 .interval = 100ms; .timeout = 2s; .window = 2; .threshold = 1; .initial = 1; }";
    std::fs::write(
        &main,
        format!(
            "vcl 4.1;\nbackend default {{ .host = \"{host}\"; .port = \"{to}\"; .probe = {probe} }}\n\
             acl purgers {{ \"127.0.0.1\"; }}\ninclude \"{rules}/{name}\";\n"
        ),
    )?;
    let log = std::fs::File::create(folder.join("log"))?;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new("varnishd")
        .args(["-F", "-j", "none", "-n"])
        .arg(folder.join("work"))
        .args(["-a", &format!("127.0.0.1:{port}"), "-s", "malloc,16m", "-f"])
        .arg(&main)
        .args(["-p", "vsl_space=8m", "-p", "http_resp_hdr_len=64k", "-p", "http_resp_size=96k"])
        .args(["-p", "workspace_backend=256k", "-p", "workspace_client=256k"])
        .env("PATH", path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .context("starting varnishd: run infra/test.sh, which installs it")
}
