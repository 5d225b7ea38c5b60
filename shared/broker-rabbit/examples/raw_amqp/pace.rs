//! Confirmed publishes at a constant rate: what a confirm takes where nobody hurries.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lapin::{Confirmation, Connection, PublisherConfirm};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::Rate;
use crate::publish::{publisher, send};

/// How often is looked whose time has come.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Confirms that may be awaited at once; beyond them the next publish waits, and its latency says so.
const AWAITED: usize = 65_536;

/// Times from when a publish was planned to its confirm, in order.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    /// The smallest time that `percent` of all did not exceed, milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
    }
}

/// Publishes `per_s` a second for so long, an open loop: a slow confirm delays no later publish.
pub(crate) async fn run(connection: &Connection, per_s: u64, lasting: Duration) -> Result<(Rate, Latencies)> {
    ensure!(per_s > 0, "PER_S is above 0");
    let channel = publisher(connection).await?;
    let (sent, confirmed) = mpsc::channel(AWAITED);
    let mut awaiting = JoinSet::new();
    awaiting.spawn(times(confirmed));
    let begin = Instant::now();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let messages = per_s * lasting.as_secs();
    for n in 0..messages {
        let planned = begin + Duration::from_secs(1) * u32::try_from(n)? / u32::try_from(per_s)?;
        while Instant::now() < planned {
            look.tick().await;
        }
        sent.send((planned, send(&channel).await?)).await.context("somebody awaits the confirms")?;
    }
    drop(sent);
    let mut times = awaiting.join_next().await.context("it was spawned")???;
    times.sort_unstable();
    channel.close(200, "done".into()).await?;
    Ok((Rate { messages, took: begin.elapsed() }, Latencies(times)))
}

async fn times(mut sent: mpsc::Receiver<(Instant, PublisherConfirm)>) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while let Some((planned, confirm)) = sent.recv().await {
        let confirm = confirm.await?;
        ensure!(confirm == Confirmation::Ack(None), "a publish was not confirmed: {confirm:?}");
        times.push(planned.elapsed());
    }
    Ok(times)
}
