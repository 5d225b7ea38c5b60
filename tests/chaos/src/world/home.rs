//! What an operator does about messages that reached no queue: the parker has them in rows, and a replay publishes them to
//! where they belong. By the verbs, as an operator would.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use broker::QueueName;
use serde_json::Value;
use testkit::process::run_binary;
use tokio::time::{Instant, interval};

use super::World;

/// How long it may take until the last one is back: parking them and replaying them both take a database.
const HOME_WITHIN: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Messages a second of a replay: the highest that the default configuration takes.
const RATE: &str = "1000";

impl World {
    /// Restores the topology, and brings home what was unrouted meanwhile.
    ///
    /// # Errors
    /// Where it is not done within a minute: the broker, the database or the operator API are away, or a message can't be
    /// replayed.
    pub(crate) async fn bring_home(&self) -> Result<()> {
        self.restore_topology().await?;
        let unrouted = QueueName::unrouted();
        self.until_empty(std::slice::from_ref(&unrouted), HOME_WITHIN).await?;
        let (begun, mut look) = (Instant::now(), interval(LOOK_EVERY));
        loop {
            look.tick().await;
            let (open, replaying) = self.unrouted_rows().await?;
            if open + replaying == 0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < HOME_WITHIN, "{open} unrouted messages are open, {replaying} to be replayed");
            if open > 0 {
                // Its status says whether there was anything to replay, which the next look tells as well.
                self.parked(&["replay", "--queue", unrouted.as_str(), "--rate", RATE]).await?;
            }
        }
    }

    /// Unrouted messages that wait for somebody, and those that are to be replayed.
    async fn unrouted_rows(&self) -> Result<(u64, u64)> {
        let listing = self.parked(&["list", "--queue", QueueName::unrouted().as_str()]).await?;
        ensure!(listing["silent"].as_array().is_some_and(Vec::is_empty), "a database is silent: {listing}");
        let groups = listing["groups"].as_array().context("a list of groups")?;
        let sum = |field: &str| groups.iter().filter_map(|group| group[field].as_u64()).sum();
        Ok((sum("open"), sum("replaying")))
    }

    /// What the verb `parked` prints.
    async fn parked(&self, args: &[&str]) -> Result<Value> {
        let args: Vec<&str> = ["--config", "millpond.toml", "parked", "--json"].iter().chain(args).copied().collect();
        let (status, printed) = run_binary(self.binary(), self.folder(), &args).await?;
        let answer = printed.lines().find_map(|line| serde_json::from_str(line).ok());
        answer.with_context(|| format!("millpond {}: {status}\n{printed}", args.join(" ")))
    }
}
