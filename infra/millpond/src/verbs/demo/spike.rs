//! The load of the demo, watched from outside while it runs.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use capacity::{Claims, Journal, Live, Load, Mix, Popularity, Shape, Sync, Target};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use super::picture::{Picture, Totals};
use super::report::Report;
use super::scene::{CURRENCY, RUN, Scene};
use crate::cli::DemoArgs;

/// A spike is ten times the trickle.
const FACTOR: f64 = 10.0;
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the drain may take before the demo gives up and reports what is lost.
const PATIENCE: Duration = Duration::from_mins(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 512;

/// Sends the spike, watches until everything accepted is stored and published, and holds the journal against the
/// database. `stop` ends the load early; what was accepted until then is still drained and counted.
pub(super) async fn run(scene: &Scene, args: &DemoArgs, url: &str, stop: CancellationToken) -> anyhow::Result<Report> {
    let journal_path = scene.folder.path().join("journal.jsonl");
    let target = Target::resolve(url, None).await?;
    let mix = Mix::orders(RUN, CURRENCY, scene.articles(), Popularity::InTurn, 0)?;
    let journal = Journal::create(&journal_path, &mix, Sync::Group)?;
    let live = Arc::new(Live::default());
    let shape = Shape::spike(args.rate, FACTOR, BEFORE, Duration::from_secs(args.spike_s), AFTER);
    let spike_ends = BEFORE + Duration::from_secs(args.spike_s);
    let config = capacity::Config { connections: CONNECTIONS, answer_within: ANSWER_WITHIN, ..Default::default() };
    let mut watch = Watch::new(scene, &live, spike_ends);
    let target = (target, scene.api_key.as_str());
    let load = capacity::generate(config, Load::Open(shape), mix, target, Some(journal), Arc::clone(&live), stop);
    let mut load = pin!(load);
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            outcome = &mut load => break outcome.map(drop)?,
            _ = look.tick() => watch.look().await?,
        }
    }
    let given_up = Instant::now() + PATIENCE;
    while !watch.is_drained().await? && Instant::now() < given_up {
        look.tick().await;
        watch.look().await?;
    }
    watch.picture.finish();
    let claims = Claims::read(&journal_path)?;
    let found = capacity::verify(&claims, &scene.databases).await.context("the database can't be read")?;
    Ok(watch.report().with_finding(&found))
}

/// Looks at the two ends of the queue.
struct Watch<'a> {
    scene: &'a Scene,
    live: &'a Live,
    picture: Picture,
    start: Instant,
    spike_ends: Duration,
    /// Accepted by the end of the spike; the spike is drained once so many are stored.
    spike_total: Option<u64>,
    drained_after: Option<Duration>,
    stored: u64,
}

impl<'a> Watch<'a> {
    fn new(scene: &'a Scene, live: &'a Live, spike_ends: Duration) -> Self {
        Self {
            scene,
            live,
            picture: Picture::new(),
            start: Instant::now(),
            spike_ends,
            spike_total: None,
            drained_after: None,
            stored: 0,
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        self.stored = self.scene.stored().await?;
        let totals = Totals { accepted: self.live.accepted(), stored: self.stored };
        let elapsed = self.start.elapsed();
        self.picture.show(elapsed, totals);
        if elapsed >= self.spike_ends {
            let due = *self.spike_total.get_or_insert(totals.accepted);
            if self.stored >= due {
                self.drained_after.get_or_insert(elapsed.saturating_sub(self.spike_ends));
            }
        }
        Ok(())
    }

    async fn is_drained(&self) -> anyhow::Result<bool> {
        Ok(self.stored >= self.live.accepted() && self.scene.unpublished().await? == 0)
    }

    fn report(&self) -> Report {
        let p99_us = self.live.snapshot().latency.map_or(0, |latency| latency.p99_us);
        let drained = self.drained_after.unwrap_or_else(|| self.start.elapsed().saturating_sub(self.spike_ends));
        Report {
            peak_in_per_s: self.picture.peak_arrivals(),
            peak_db_per_s: self.picture.peak_database(),
            accepted: 0,
            not_accepted: self.live.refused() + self.live.unanswered() + self.live.counts().0.not_sent,
            confirmed: 0,
            rejected: 0,
            lost: 0,
            duplicated: 0,
            oversold: 0,
            drained_in_s: rounded(drained.as_secs_f64()),
            p99_ms: rounded(Duration::from_micros(p99_us).as_secs_f64() * 1_000.0),
        }
    }
}

/// To one decimal: more would be noise.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
