//! One breaker per database: while it is away nobody asks it but one prober, and when it comes back it is not buried at
//! once under what has piled up.
//!
//! *Closed*: everything is admitted. The first batch that meets infrastructure opens it. *Open*: batches are held; one of
//! those who wait probes, after a wait that grows and is partly chance. *Half-open*: one batch at a time, of one message
//! and then of twice as many with each success, until it closes. All workers of a process that use the same database
//! share one breaker, so a probe or a trial by one stands for all.

mod core;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use self::core::{Answer, Core, Epoch};
use crate::config::BreakerConfig;
use crate::panic::panic_text;

/// The breaker of one database.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    config: BreakerConfig,
    core: Mutex<Core>,
    changed: Notify,
    opened: AtomicU64,
}

impl Breaker {
    /// A closed breaker for the database that the configuration calls `name`.
    pub fn new(name: impl Into<String>, config: BreakerConfig) -> Self {
        Self {
            name: name.into(),
            core: Mutex::new(Core::new(config.clone())),
            config,
            changed: Notify::new(),
            opened: AtomicU64::new(0),
        }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether everything is admitted.
    pub fn is_closed(&self) -> bool {
        self.with(|core| core.is_closed())
    }

    /// How often it opened, failures of a recovery included.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Waits until a batch may be tried. One of those who wait runs `probe` now and then. Cancel-safe: a prober that is
    /// dropped hands over to the next.
    pub(crate) async fn admit<P>(&self, probe: impl Fn() -> P) -> Permit<'_>
    where
        P: Future<Output = Result<(), String>>,
    {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between.
            changed.as_mut().enable();
            match self.with(|core| core.ask(Instant::now())) {
                Answer::Go { epoch, size } => return Permit { breaker: self, epoch, size, reported: false },
                Answer::Probe { epoch } => self.probe(epoch, &probe).await,
                Answer::WaitUntil(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = changed => {}
                },
                Answer::Wait => changed.await,
            }
        }
    }

    async fn probe<P>(&self, epoch: Epoch, probe: &impl Fn() -> P)
    where
        P: Future<Output = Result<(), String>>,
    {
        let mut lease = ProbeLease { breaker: self, epoch, answered: false };
        let outcome = self.ask_whether_it_answers(probe).await;
        lease.answered = true;
        match outcome {
            Ok(()) => {
                tracing::info!(database = %self.name, "the database answers again: trying one message");
                self.with(|core| core.probe_passed(epoch));
            }
            Err(reason) => {
                let away = self.with(|core| core.probe_failed(epoch, Instant::now(), rand::random()));
                if let Some(away) = away {
                    tracing::warn!(
                        database = %self.name, reason, away_s = away.as_secs(),
                        "the database does not answer yet; deliveries are held"
                    );
                }
            }
        }
    }

    /// One question with a deadline. A probe that panics is an answer too: no.
    pub(crate) async fn ask_whether_it_answers<P>(&self, probe: &impl Fn() -> P) -> Result<(), String>
    where
        P: Future<Output = Result<(), String>>,
    {
        let limit = self.config.probe_timeout();
        match timeout(limit, AssertUnwindSafe(async { probe().await }).catch_unwind()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => Err(format!("the probe panicked: {}", panic_text(&*panic))),
            Err(_elapsed) => Err(format!("no answer within {} ms", limit.as_millis())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        // No code under this lock can panic half-way through a change.
        work(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Leave to try one batch. Dropped without a report it says nothing about the database.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    epoch: Epoch,
    size: usize,
    reported: bool,
}

impl Permit<'_> {
    /// How many messages the batch may have.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The batch went through.
    pub(crate) fn passed(mut self) {
        self.reported = true;
        let away = self.breaker.with(|core| core.passed(self.epoch, Instant::now()));
        if let Some(away) = away {
            tracing::info!(
                database = %self.breaker.name, away_ms = u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
                "the database takes whole batches again"
            );
        }
        self.breaker.changed.notify_waiters();
    }

    /// The batch met infrastructure.
    pub(crate) fn failed(mut self, reason: &str) {
        self.reported = true;
        if self.breaker.with(|core| core.failed(self.epoch, Instant::now(), rand::random())) {
            self.breaker.opened.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                database = %self.breaker.name, reason,
                "the database can't be used: deliveries are held and none spends an attempt until it answers"
            );
        }
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.breaker.with(|core| core.abandoned(self.epoch));
            self.breaker.changed.notify_waiters();
        }
    }
}

/// Gives the probe to the next who waits when its holder is dropped in mid-question, and wakes everyone either way.
struct ProbeLease<'a> {
    breaker: &'a Breaker,
    epoch: Epoch,
    answered: bool,
}

impl Drop for ProbeLease<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.breaker.with(|core| core.probe_abandoned(self.epoch));
        }
        self.breaker.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use futures::future::join_all;

    use super::*;

    fn well() -> std::future::Ready<Result<(), String>> {
        std::future::ready(Ok(()))
    }

    async fn open(breaker: &Breaker) {
        breaker.admit(well).await.failed("connection reset");
        assert!(!breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_who_wait_one_probes_at_a_time_and_all_go_on_when_it_answers() {
        let breaker = Arc::new(Breaker::new("eu", BreakerConfig::default()));
        open(&breaker).await;
        let (probing, probes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let probe = || async {
            assert_eq!(probing.fetch_add(1, Ordering::SeqCst), 0, "two probes at once");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            probing.fetch_sub(1, Ordering::SeqCst);
            if probes.fetch_add(1, Ordering::SeqCst) < 3 { Err("connection refused".to_owned()) } else { Ok(()) }
        };
        join_all((0..20).map(|_| async { breaker.admit(probe).await.passed() })).await;
        assert_eq!(probes.load(Ordering::SeqCst), 4);
        assert!(breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_prober_that_is_stopped_hands_over_to_the_next() {
        let breaker = Breaker::new("eu", BreakerConfig::default());
        open(&breaker).await;
        let hangs = breaker.admit(std::future::pending::<Result<(), String>>);
        // Dropped in mid-question: the first probe is due within 100 ms and may take 2 s.
        assert!(timeout(std::time::Duration::from_millis(500), hangs).await.is_err());
        breaker.admit(well).await.passed();
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_or_panics_is_an_answer_too() {
        let breaker = Breaker::new("eu", BreakerConfig::default());
        let hung = breaker.ask_whether_it_answers(&std::future::pending::<Result<(), String>>).await;
        assert_eq!(hung, Err("no answer within 2000 ms".to_owned()));
        let panics = || async { panic!("no pool") };
        assert_eq!(breaker.ask_whether_it_answers(&panics).await, Err("the probe panicked: no pool".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_dropped_lets_the_next_one_try() {
        let breaker = Breaker::new("eu", BreakerConfig::default());
        open(&breaker).await;
        drop(breaker.admit(well).await);
        let second = breaker.admit(well).await;
        assert_eq!(second.size(), 1, "nothing was learnt");
    }
}
