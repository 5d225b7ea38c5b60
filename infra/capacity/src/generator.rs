//! The open loop.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::journal::{Attempt, Entry, Journal, JournalError};
use crate::live::Live;
use crate::shape::Shape;

/// Latencies are kept from 1 µs to 10 minutes with three significant digits.
const LONGEST_US: u64 = 600_000_000;

/// What to buy, and how hard.
#[derive(Debug, Clone)]
pub struct Config {
    /// Begins every idempotency key, so that two runs never share one.
    pub run: String,
    /// SKUs in turn, each with the unit price in minor units.
    pub catalogue: Vec<(String, i64)>,
    /// Currency of the prices.
    pub currency: String,
    /// Requests that may wait for an answer at once.
    pub max_in_flight: usize,
}

/// What came out.
#[derive(Debug)]
pub struct Outcome {
    /// Latency of every answered request in µs, from its planned time.
    pub latency_us: Histogram<u64>,
    /// From the first planned time to the last answer.
    pub took: Duration,
}

/// Sends one order at each planned time of `shape`, until the end or `stop`, and journals every one.
///
/// # Errors
/// [`JournalError`]: a run without its journal proves nothing, so it ends.
///
/// # Panics
/// Never: the histogram's bounds are constants that it accepts.
pub async fn generate(
    config: Config,
    shape: Shape,
    client: Client,
    journal: Journal,
    live: Arc<Live>,
    stop: CancellationToken,
) -> Result<Outcome, JournalError> {
    let mut latency_us = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("1 µs to 10 min with 3 digits is valid");
    let run = Arc::new(Run { config, client, journal: journal.sender(), live });
    let places = Arc::new(Semaphore::new(run.config.max_in_flight));
    let mut requests = JoinSet::new();
    let start = Instant::now();
    for (n, offset) in (0_u64..).zip(shape.arrivals()) {
        let planned = start + offset;
        if stop.run_until_cancelled(tokio::time::sleep_until(planned)).await.is_none() {
            break;
        }
        run.live.count_sent();
        let place = Arc::clone(&places).acquire_owned().await.map_err(|_| JournalError::Stopped)?;
        let run = Arc::clone(&run);
        requests.spawn(async move {
            let latency = run.one(n, planned).await;
            drop(place);
            latency
        });
        while let Some(done) = requests.try_join_next() {
            keep(&mut latency_us, done)?;
        }
    }
    while let Some(done) = requests.join_next().await {
        keep(&mut latency_us, done)?;
    }
    let took = start.elapsed();
    drop(run);
    journal.finish().await?;
    Ok(Outcome { latency_us, took })
}

type Done = Result<Result<Option<Duration>, JournalError>, tokio::task::JoinError>;

fn keep(histogram: &mut Histogram<u64>, done: Done) -> Result<(), JournalError> {
    if let Some(latency) = done.map_err(|_| JournalError::Stopped)?? {
        histogram.saturating_record(micros(latency).max(1));
    }
    Ok(())
}

struct Run {
    config: Config,
    client: Client,
    journal: mpsc::Sender<Entry>,
    live: Arc<Live>,
}

impl Run {
    /// Posts order `n`; its latency where it was answered.
    async fn one(&self, n: u64, planned: Instant) -> Result<Option<Duration>, JournalError> {
        let index = usize::try_from(n).unwrap_or(usize::MAX) % self.config.catalogue.len().max(1);
        let Some((sku, price)) = self.config.catalogue.get(index) else { return Ok(None) };
        let attempt = Attempt { n, key: format!("{}-{n}", self.config.run), sku: sku.clone(), quantity: 1 };
        self.write(Entry::Attempt(attempt.clone())).await?;
        let answer = self.client.post_order(&attempt, *price, &self.config.currency).await;
        let latency = planned.elapsed();
        let latency_us = micros(latency);
        self.write(Entry::Answer { n, status: answer.status, order_id: answer.order_id, latency_us }).await?;
        self.live.count_answer(answer.status);
        Ok(answer.status.map(|_| latency))
    }

    async fn write(&self, entry: Entry) -> Result<(), JournalError> {
        self.journal.send(entry).await.map_err(|_| JournalError::Stopped)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
