//! `millpond load` beside the client: orders and page events at planned times, with its journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use testkit::process::Process;
use testkit::wait;
use tokio::time::{Instant, interval};

use crate::world::{PRICE_MINOR, SKUS, World};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running load.
#[derive(Debug)]
pub struct Load {
    process: Process,
    report: PathBuf,
    journal: PathBuf,
    /// When it began, from the start of the run.
    begun: Duration,
}

/// What it measured, as far as the harness wants it.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Loaded {
    /// Requests that were taken.
    pub accepted: u64,
    /// Requests that were answered otherwise, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Arrivals for which there was no connection.
    pub not_sent: u64,
    /// Page events in accepted requests.
    pub events_accepted: u64,
    /// Second by second.
    pub seconds: Vec<LoadedSecond>,
    /// When it began, seconds from the start of the run.
    #[serde(skip)]
    pub begun_s: f64,
}

/// A second of it.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct LoadedSecond {
    /// From its begin.
    pub t: u64,
    /// Requests taken.
    pub accepted: u64,
}

impl Load {
    /// Starts it: `rate` requests a second, four of five of them orders, until it is stopped. Returns once it sends.
    ///
    /// # Errors
    /// Where it can't be started, or ends at once.
    pub async fn start(world: &World, rate: f64, seed: u64, begun: Instant) -> Result<Self> {
        let (journal, report) = (world.folder().join("load.jsonl"), world.folder().join("load.json"));
        let url = world.roles.url("ingress").await?;
        let (rate, seed, skus, price) = (rate.to_string(), seed.to_string(), SKUS.to_string(), PRICE_MINOR.to_string());
        let args = [
            ["load", "--url", &url, "--key", &world.api_key, "--rate", &rate],
            ["--for", "100h", "--seed", &seed, "--skus", &skus, "--zipf=1.0"],
            ["--price", &price, "--events", "batch", "--events-per-request", "10", "--orders-share=0.8"],
            ["--connections", "64", "--answer-within", "5s", "--max-waiting", "200", "--journal-sync=never"],
            ["--journal", "load.jsonl", "--report", "load.json", "--drain", "0s", "--currency=EUR"],
        ];
        let mut process = Process::start_binary(world.binary(), &[], world.folder(), "load", args.as_flattened())?;
        until_it_sends(&mut process, &journal).await?;
        Ok(Self { process, report, journal, begun: begun.elapsed() })
    }

    /// Its journal.
    pub fn journal(&self) -> PathBuf {
        self.journal.clone()
    }

    /// Stops it; what it measured.
    ///
    /// # Errors
    /// Where it had ended before, or measured nothing.
    pub async fn stop(self) -> Result<Loaded> {
        let Self { process, report, begun, .. } = self;
        let log = process.log();
        let status = process.terminate().await?;
        ensure!(status.success(), "the load ended with {status}:\n{log}");
        let report = std::fs::read(&report).with_context(|| format!("{} is there", report.display()))?;
        Ok(Loaded { begun_s: begun.as_secs_f64(), ..serde_json::from_slice(&report)? })
    }
}

/// Waits for its journal, which is made right before the first request: what keeps it from sending ends it before.
async fn until_it_sends(process: &mut Process, journal: &Path) -> Result<()> {
    let mut look = interval(LOOK_EVERY);
    let give_up = Instant::now() + wait::DEADLINE;
    while !journal.exists() {
        if let Some(status) = process.ended()? {
            bail!("the load ended with {status} before it sent anything:\n{}", process.log());
        }
        ensure!(Instant::now() < give_up, "the load does not begin:\n{}", process.log());
        look.tick().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_load_that_ends_at_once_is_an_error_of_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start_binary(Path::new("false"), &[], folder.path(), "load", &[]).unwrap();
        let error = until_it_sends(&mut process, &folder.path().join("load.jsonl")).await.unwrap_err();
        assert!(error.to_string().contains("before it sent anything"), "{error}");
    }
}
