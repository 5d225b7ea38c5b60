//! One batch through the handler: its timeout, its panics, its locks, and the bisection that finds the message at fault.
//!
//! A batch that fails for a message's sake is split in two and both halves are tried, the left one first, down to single
//! messages. As a failed call has committed nothing, every good message is in exactly one call that succeeds.
//!
//! # A hang
//! A call that does not come back could be the message's fault or the database's. So the database is asked first: if it
//! does not answer either, this is infrastructure. If it does, the batch is bisected like any other failure, and alone
//! the message has spent an attempt. A handler that blocks its thread can't be given up on at all.
//!
//! # Patience
//! One culprit among n messages makes at most log₂ n + 1 calls fail. If more calls hang than that, or meet a lock, it is
//! not one message's fault; going on would take minutes for each and blame the innocent, so that is infrastructure too.
//! The breaker's way back is one message at a time, where a culprit is found without splitting.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, sleep, timeout};

use crate::breaker::Breaker;
use crate::config::Config;
use crate::governor::Spending;
use crate::handler::{BatchError, Handled, Handler, Item, Verdict};
use crate::panic::panic_text;
use crate::settle::Fate;
use crate::stats::Stats;

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attempted {
    /// Fates of the first messages, in order; shorter than the batch only where infrastructure failed.
    pub(crate) fates: Vec<Fate>,
    /// Why the rest has no fate yet: nothing of it was committed, or that is unknown.
    pub(crate) infrastructure: Option<String>,
}

/// Runs batches of one worker.
#[derive(Debug)]
pub(crate) struct Attempt<'a, H> {
    pub(crate) handler: &'a H,
    pub(crate) breaker: &'a Breaker,
    pub(crate) config: &'a Config,
    pub(crate) stats: &'a Stats,
    /// What the batch was charged for its rows.
    pub(crate) spending: &'a Spending,
}

/// Why a call failed where its messages may be at fault.
#[derive(Debug)]
enum Blame {
    Poison(String),
    Panicked(String),
    Hung,
    Contended(String),
}

#[derive(Debug)]
enum Failure {
    Blame(Blame),
    Infrastructure(String),
}

impl<H: Handler> Attempt<'_, H> {
    /// Tries `items` until each has a fate, or infrastructure fails.
    pub(crate) async fn run(&self, items: &[Item<H::Event>]) -> Attempted {
        let mut fates = Vec::with_capacity(items.len());
        // A stack with the leftmost range on top: fates come in order.
        let mut ranges = Vec::from([Range { start: 0, end: items.len() }]);
        let mut patience = Patience::with(items.len());
        while let Some(range) = ranges.pop() {
            let blame = match self.call_past_locks(&items[range.clone()]).await {
                Ok(verdicts) => {
                    fates.extend(verdicts.into_iter().map(Fate::from));
                    continue;
                }
                Err(Failure::Infrastructure(reason)) => return Attempted { fates, infrastructure: Some(reason) },
                Err(Failure::Blame(blame)) => blame,
            };
            if let Err(reason) = patience.bear(&blame) {
                return Attempted { fates, infrastructure: Some(reason) };
            }
            if range.len() == 1 {
                fates.push(self.fate(blame));
            } else {
                self.stats.bisections.one();
                let (left, right) = halves(range);
                ranges.extend([right, left]);
            }
        }
        Attempted { fates, infrastructure: None }
    }

    /// Calls the handler, again and again while it meets locks, with growing waits of which half is chance.
    async fn call_past_locks(&self, items: &[Item<H::Event>]) -> Result<Vec<Verdict>, Failure> {
        let mut retries = 0;
        loop {
            match self.call(items).await {
                Err(Failure::Blame(Blame::Contended(reason))) if retries < self.config.contention_retries => {
                    tracing::debug!(batch.messages = items.len(), retries, reason, "a batch met a lock: again soon");
                    sleep(self.backoff(retries, rand::random())).await;
                    retries += 1;
                }
                other => return other,
            }
        }
    }

    fn backoff(&self, retries: u32, chance: f64) -> Duration {
        let doubled = self.config.contention_backoff_ms.saturating_mul(1_u64.checked_shl(retries).unwrap_or(u64::MAX));
        let whole = Duration::from_millis(doubled.min(self.config.contention_backoff_max_ms));
        whole / 2 + (whole / 2).mul_f64(chance)
    }

    /// One call, paid for.
    async fn call(&self, items: &[Item<H::Event>]) -> Result<Vec<Verdict>, Failure> {
        let begun = Instant::now();
        let called = self.call_handler(items).await;
        match &called {
            Ok(Handled { rows, commit, .. }) => self.spending.wrote(items.len(), *rows, *commit, begun.elapsed()),
            Err(_) => self.spending.failed(items.len(), begun.elapsed()),
        }
        called.map(|handled| handled.verdicts)
    }

    async fn call_handler(&self, items: &[Item<H::Event>]) -> Result<Handled, Failure> {
        self.stats.batches.one();
        self.stats.batch_messages.add(items.len());
        // The handler keeps no state half-changed across a panic that we could see: its work is one transaction.
        let call = AssertUnwindSafe(async { self.handler.handle(items).await }).catch_unwind();
        let begin = Instant::now();
        let ended = timeout(self.config.handle_timeout(), call).await;
        if let Some(meters) = self.stats.meters.get() {
            meters.called(items.len(), begin.elapsed());
        }
        let blame = match ended {
            Ok(Ok(Ok(handled))) if handled.verdicts.len() == items.len() => return Ok(handled),
            Ok(Ok(Ok(handled))) => self.miscounted(handled.verdicts.len(), items.len()),
            Ok(Ok(Err(BatchError::Poison(reason)))) => Blame::Poison(reason),
            Ok(Ok(Err(BatchError::Contention(reason)))) => {
                self.stats.contentions.one();
                Blame::Contended(reason)
            }
            Ok(Ok(Err(BatchError::Infrastructure(reason)))) => return Err(self.infrastructure(reason)),
            Ok(Err(panic)) => self.panicked(panic_text(&*panic), items.len()),
            Err(_elapsed) => return Err(self.hung(items.len()).await),
        };
        Err(Failure::Blame(blame))
    }

    fn infrastructure(&self, reason: String) -> Failure {
        self.stats.infrastructure.one();
        Failure::Infrastructure(reason)
    }

    fn panicked(&self, message: &str, messages: usize) -> Blame {
        self.stats.panics.one();
        tracing::error!(batch.messages = messages, panic = message, "the handler panicked on a batch");
        Blame::Panicked(message.to_owned())
    }

    /// A handler that breaks its contract can't be believed about any message of the batch.
    fn miscounted(&self, verdicts: usize, messages: usize) -> Blame {
        self.panicked(&format!("{verdicts} verdicts for {messages} messages"), messages)
    }

    async fn hung(&self, messages: usize) -> Failure {
        self.stats.hangs.one();
        let limit_ms = self.config.handle_timeout_ms;
        match self.breaker.ask_whether_it_answers(&|| self.handler.probe()).await {
            Ok(()) => {
                tracing::error!(
                    batch.messages = messages,
                    limit_ms,
                    "the handler did not finish a batch in time although the database answers: looking for the message"
                );
                Failure::Blame(Blame::Hung)
            }
            Err(reason) => self
                .infrastructure(format!("a batch did not finish within {limit_ms} ms, and the probe says: {reason}")),
        }
    }

    fn fate(&self, blame: Blame) -> Fate {
        match blame {
            Blame::Poison(reason) => Fate::Poison(reason),
            Blame::Panicked(message) => Fate::Panicked(message),
            Blame::Hung => Fate::Hung(self.config.handle_timeout()),
            Blame::Contended(reason) => Fate::Contended(reason),
        }
    }
}

impl From<Verdict> for Fate {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Done => Self::Done,
            Verdict::Poison(reason) => Self::Poison(reason),
            Verdict::Later(reason) => Self::Later(reason),
        }
    }
}

fn halves(range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    (range.start..middle, middle..range.end)
}

/// How many more slow failures one culprit could explain.
#[derive(Debug)]
struct Patience {
    hangs: u32,
    locks: u32,
}

impl Patience {
    fn with(messages: usize) -> Self {
        let one_culprit = messages.max(1).next_power_of_two().ilog2() + 1;
        Self { hangs: one_culprit, locks: one_culprit }
    }

    fn bear(&mut self, blame: &Blame) -> Result<(), String> {
        let (left, reason) = match blame {
            Blame::Hung => (&mut self.hangs, "several messages hang although the database answers".to_owned()),
            Blame::Contended(reason) => (&mut self.locks, format!("several messages meet locks: {reason}")),
            // These fail fast, and each on its own account.
            Blame::Poison(_) | Blame::Panicked(_) => return Ok(()),
        };
        *left = left.checked_sub(1).ok_or(reason)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
