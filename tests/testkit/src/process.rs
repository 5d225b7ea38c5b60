//! The `millpond` binary as a process of its own, to be asked over HTTP and to be killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::{Child, Command};

use crate::http::Http;
use crate::wait;

/// What a process logs once its port is open; the URL follows.
const SERVING: &str = "listening on ";

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where its own lines begin: an earlier process of the same name may have written before.
    begin: usize,
}

/// The binary under test: beside the tests in the target folder.
///
/// # Errors
/// Where it has not been built; the message says how.
pub fn binary() -> Result<PathBuf> {
    beside("millpond", "cargo build -p millpond (infra/test.sh does it)")
}

/// The same with failpoints in it.
///
/// # Errors
/// Where it has not been built; the message says how.
pub fn binary_with_failpoints() -> Result<PathBuf> {
    beside("millpond-failpoints", "infra/prove.sh does it")
}

fn beside(name: &str, how: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test lies in the target folder's deps")?;
    let binary = folder.join(name);
    ensure!(binary.exists(), "{} is not built: {how}", binary.display());
    Ok(binary)
}

/// Whether a file holds `text` anywhere. By grep: a debug build that looks through a binary takes seconds.
///
/// # Errors
/// Where the file can't be read.
pub fn contains(file: &Path, text: &str) -> Result<bool> {
    let found = std::process::Command::new("grep").args(["-q", "-a", "-F", "-e", text]).arg(file).status()?;
    match found.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("grep could not read {}", file.display()),
    }
}

/// Runs a verb to its end: exit status, and what it printed on both streams.
///
/// # Errors
/// Where the binary can't be started.
pub async fn run(folder: &Path, args: &[&str]) -> Result<(ExitStatus, String)> {
    run_binary(&binary()?, folder, args).await
}

/// The same of another binary.
///
/// # Errors
/// Where it can't be started.
pub async fn run_binary(binary: &Path, folder: &Path, args: &[&str]) -> Result<(ExitStatus, String)> {
    let output = Command::new(binary).args(args).current_dir(folder).stdin(Stdio::null()).output().await?;
    let printed = [output.stdout, output.stderr].concat();
    Ok((output.status, String::from_utf8_lossy(&printed).into_owned()))
}

impl Process {
    /// Starts `millpond ARGS` in `folder`; its log goes to `NAME.log` there.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(folder: &Path, name: &str, args: &[&str]) -> Result<Self> {
        Self::start_binary(&binary()?, &[], folder, name, args)
    }

    /// The same of another binary, with variables in its environment.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start_binary(
        binary: &Path,
        environment: &[(&str, &str)],
        folder: &Path,
        name: &str,
        args: &[&str],
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let begin = std::fs::read(&log).map_or(0, |earlier| earlier.len());
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::new(binary)
            .args(args)
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .context("the binary starts")?;
        Ok(Self { child, log, begin })
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let all = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(all.get(self.begin..).unwrap_or_default()).into_owned()
    }

    /// Waits until its log says `text`.
    ///
    /// # Errors
    /// With the whole log, where it does not.
    pub async fn until_log_says(&self, text: &str) -> Result<()> {
        wait::until(&format!("the log says {text:?}"), || async { self.log().contains(text).then_some(()) })
            .await
            .with_context(|| format!("the log says:\n{}", self.log()))
    }

    /// Waits until it serves and says that it is ready, and returns its URL.
    ///
    /// # Errors
    /// With the whole log, where it does not.
    pub async fn until_ready(&self, http: &Http) -> Result<String> {
        let log = || format!("the log says:\n{}", self.log());
        let url = self.until_serving().await?;
        let readyz = format!("{url}/readyz");
        wait::until("the process is ready", || async {
            http.get(&readyz).await.ok().filter(|response| response.status.is_success()).map(|_| ())
        })
        .await
        .with_context(log)?;
        Ok(url)
    }

    /// Waits until it serves, ready or not, and returns its URL.
    ///
    /// # Errors
    /// With the whole log, where it does not.
    pub async fn until_serving(&self) -> Result<String> {
        wait::until("the process serves HTTP", || async { self.url() })
            .await
            .with_context(|| format!("the log says:\n{}", self.log()))
    }

    /// The URL that it serves at, once it has logged it.
    fn url(&self) -> Option<String> {
        let log = self.log();
        let (_, rest) = log.split_once(SERVING)?;
        let (url, _) = rest.split_once(['\n', ' '])?;
        Some(url.trim_end_matches('.').to_owned())
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// Where it was gone already.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("the process is there to be killed")
    }

    /// SIGTERM, and waits for the exit status.
    ///
    /// # Errors
    /// Where it was gone already, or does not stop.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.signal("TERM").await?;
        self.exited().await
    }

    /// Sends a signal, by its name without `SIG`.
    ///
    /// # Errors
    /// Where it was gone already.
    pub async fn signal(&self, name: &str) -> Result<()> {
        signal(self.child.id().context("the process still runs")?, name).await
    }

    /// Waits until it exits by itself.
    ///
    /// # Errors
    /// With the log, where it does not.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        let status = tokio::time::timeout(wait::DEADLINE, self.child.wait()).await;
        Ok(status.with_context(|| format!("it still runs; the log says:\n{}", self.log()))??)
    }

    /// How it ended, once it did.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Sends a signal to a process, by its name without `SIG`.
///
/// # Errors
/// Where there is no such process.
pub async fn signal(pid: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status().await?;
    ensure!(sent.success(), "SIG{name} could not be sent to {pid}");
    Ok(())
}
