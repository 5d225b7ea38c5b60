//! Millpond's processes, one for each role, under a supervisor as a shop would have it: whoever dies is started again,
//! unless a fault holds it down.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::sync::{Mutex as Records, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use testkit::http::Http;
use testkit::process::Process;
use tokio::sync::Mutex;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::configuration;

/// How often the supervisor looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a restart waits for its process to be ready before it goes on.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// What a process logs once it has come up, and from when on it listens to signals.
const READY: &str = "verbs::run: ready";
const SIGTERM: i32 = 15;
/// Lines of a log that are kept of a process that ended by itself.
const LAST_LINES: usize = 4;

/// Every process, by the name that faults strike it by, and its role.
pub(crate) const ROLES: [(&str, &str); 11] = [
    ("ingress", "ingress"),
    ("storefront", "storefront"),
    ("storefront-2", "storefront"),
    ("checkout", "checkout"),
    ("checkout-2", "checkout"),
    ("checkout-held", "checkout"),
    ("relay", "relay"),
    ("analytics", "analytics"),
    ("invalidation", "invalidation"),
    ("parker", "parker"),
    ("ops", "ops"),
];

/// A process that ended although no fault killed it.
#[derive(Debug, Clone, Serialize)]
pub struct Death {
    /// Which.
    pub process: &'static str,
    /// Seconds from the start.
    pub at_s: f64,
    /// How it ended.
    pub status: String,
    /// The end of its log.
    pub said: String,
}

#[derive(Debug)]
struct Slot {
    role: &'static str,
    port: u16,
    process: Option<Process>,
    /// A fault keeps it down.
    held: bool,
    environment: Vec<(String, String)>,
}

/// All of them.
#[derive(Debug)]
pub struct Roles {
    binary: PathBuf,
    folder: PathBuf,
    http: Http,
    begun: Instant,
    slots: BTreeMap<&'static str, Mutex<Slot>>,
    deaths: Records<Vec<Death>>,
}

impl Roles {
    /// None runs yet. `folder` holds their configuration.
    ///
    /// # Errors
    /// Where no port is free.
    pub(super) fn new(binary: PathBuf, folder: PathBuf) -> Result<Self> {
        let mut slots = BTreeMap::new();
        for (name, role) in ROLES {
            let slot = Slot { role, port: free_port()?, process: None, held: false, environment: usual() };
            slots.insert(name, Mutex::new(slot));
        }
        let begun = Instant::now();
        Ok(Self { binary, folder, http: Http::new(), begun, slots, deaths: Records::default() })
    }

    /// Starts those that do not run, and waits until each is ready.
    ///
    /// # Errors
    /// With the log of one that is not ready within a minute.
    pub async fn all_ready(&self) -> Result<()> {
        for name in self.slots.keys() {
            self.release(name).await?;
        }
        for name in self.slots.keys() {
            let slot = self.slot(name)?.lock().await;
            slot.process.as_ref().context("it was started")?.until_ready(&self.http).await?;
        }
        Ok(())
    }

    /// The URL of a process, whether it runs or not.
    ///
    /// # Errors
    /// For a name that is none.
    pub async fn url(&self, name: &str) -> Result<String> {
        Ok(format!("http://127.0.0.1:{}", self.slot(name)?.lock().await.port))
    }

    /// SIGKILL; it stays down until [`Self::release`].
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn kill(&self, name: &str) -> Result<()> {
        let mut slot = self.slot(name)?.lock().await;
        slot.held = true;
        slot.process.take().with_context(|| format!("{name} runs"))?.kill().await
    }

    /// It may run again, and does.
    ///
    /// # Errors
    /// Where it can't be started.
    pub async fn release(&self, name: &str) -> Result<()> {
        let mut slot = self.slot(name)?.lock().await;
        slot.held = false;
        if slot.process.is_none() { self.launch(name, &mut slot) } else { Ok(()) }
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// Where it does not run.
    pub async fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let slot = self.slot(name)?.lock().await;
        slot.process.as_ref().with_context(|| format!("{name} runs"))?.signal(signal).await
    }

    /// SIGTERM, then a new process with these variables beside the usual ones; waits a while until each is ready.
    ///
    /// # Errors
    /// Where it does not stop within a minute, or stops with a failure; a new one runs nevertheless. One that had not come up yet
    /// holds nothing, and may end by the signal.
    pub async fn restart(&self, name: &str, environment: &[(String, String)]) -> Result<()> {
        let mut slot = self.slot(name)?.lock().await;
        let (mut was_up, mut stopped) = (false, Ok(std::process::ExitStatus::default()));
        if let Some(process) = slot.process.take() {
            was_up = timeout(READY_WITHIN, process.until_log_says(READY)).await.is_ok_and(|ready| ready.is_ok());
            stopped = process.terminate().await;
        }
        slot.environment = [usual().as_slice(), environment].concat();
        slot.held = false;
        self.launch(name, &mut slot)?;
        let process = slot.process.as_ref().context("it was started")?;
        // A shop that is in trouble is restarted all the same.
        let _ = timeout(READY_WITHIN, process.until_ready(&self.http)).await;
        let status = stopped.with_context(|| format!("{name} was asked to stop"))?;
        let by_signal = status.signal() == Some(SIGTERM) && !was_up;
        anyhow::ensure!(status.success() || by_signal, "{name} was asked to stop and ended with {status}");
        Ok(())
    }

    /// Starts again whoever died, until `stop`.
    pub async fn supervise(&self, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            for (name, slot) in &self.slots {
                // One that is being stopped or started is in good hands.
                if let Ok(mut slot) = slot.try_lock() {
                    self.raise(name, &mut slot);
                }
            }
        }
    }

    /// Who ended by itself so far.
    pub fn deaths(&self) -> Vec<Death> {
        self.deaths.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SIGKILL to all that run.
    pub async fn end(&self) {
        for slot in self.slots.values() {
            let mut slot = slot.lock().await;
            slot.held = true;
            if let Some(process) = slot.process.take() {
                // It may have ended by itself.
                let _ = process.kill().await;
            }
        }
    }

    fn raise(&self, name: &'static str, slot: &mut Slot) {
        let ended = slot.process.as_mut().and_then(|process| process.ended().ok().flatten());
        if let (Some(status), Some(process)) = (ended, slot.process.take_if(|_| ended.is_some())) {
            let log = process.log();
            let mut said: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
            said.reverse();
            let at_s = self.begun.elapsed().as_secs_f64();
            let death = Death { process: name, at_s, status: status.to_string(), said: said.join("\n") };
            self.deaths.lock().unwrap_or_else(PoisonError::into_inner).push(death);
        }
        if slot.process.is_none() && !slot.held {
            // What keeps it from starting will be seen when it is to be ready.
            let _ = self.launch(name, slot);
        }
    }

    fn launch(&self, name: &str, slot: &mut Slot) -> Result<()> {
        let bind = format!("http.bind=127.0.0.1:{}", slot.port);
        let args = ["--config", configuration::of(name), "--set", &bind, "run", slot.role];
        let environment: Vec<(&str, &str)> =
            slot.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        slot.process = Some(Process::start_binary(&self.binary, &environment, &self.folder, name, &args)?);
        Ok(())
    }

    fn slot(&self, name: &str) -> Result<&Mutex<Slot>> {
        self.slots.get(name).with_context(|| format!("{name} is a process of the shop"))
    }
}

/// Poison that panics or aborts is known by its reference (`failpoint::Point::PoisonByReference`); a binary without
/// failpoints does not know the variable.
fn usual() -> Vec<(String, String)> {
    vec![("MILLPOND_FAILPOINTS".to_owned(), "poison-by-reference".to_owned())]
}

/// A port that the kernel gives to no outgoing connection (those are 32768 and up), so that it stays free while its
/// process is away.
fn free_port() -> Result<u16> {
    for _ in 0..200 {
        let port = rand::random_range(12_000..20_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free on loopback between 12000 and 20000")
}
