//! A consumer's place at a database: it waits for its share, and keeps its lease.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use flow::{Budget, Next, Rank};
use sea_orm::DbErr;
use store::governor::View;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::SeatSnapshot;
use super::core::{Call, Core};
use super::ledger::Ledger;
use crate::Error;
use crate::governor_config::GovernorConfig;

/// How long giving a lease up may take at the end; it runs out anyway.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much sooner than usual a lease is renewed that is smaller than it should be, or could not be renewed.
const SOON: u32 = 5;

/// One consumer's lease on its database's budget. Given to a [`crate::Worker`], which keeps it for as long as it runs.
#[derive(Debug)]
pub struct Seat {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    ledger: Arc<Ledger>,
    config: GovernorConfig,
    id: Uuid,
    name: String,
    rank: Rank,
    start: Instant,
    /// Whether there is a budget: all that is looked at where there is none.
    governed: AtomicBool,
    core: Mutex<Core>,
    /// The share, the budget or the lease changed.
    changed: Notify,
}

/// Looks at a seat for as long as its worker has it.
#[derive(Debug)]
pub(crate) struct Watch(Weak<Inner>);

impl Watch {
    pub(crate) fn snapshot(&self) -> Option<SeatSnapshot> {
        self.0.upgrade().map(|inner| inner.snapshot())
    }
}

impl Inner {
    pub(super) fn new(ledger: Arc<Ledger>, config: GovernorConfig, rank: Rank, name: String) -> Self {
        let budget = ledger.database().budget();
        Self {
            core: Mutex::new(Core::new(config.clone(), rank, budget, Duration::ZERO)),
            governed: AtomicBool::new(!budget.is_unlimited()),
            id: Uuid::from_u128(rand::random()),
            start: Instant::now(),
            changed: Notify::new(),
            ledger,
            config,
            name,
            rank,
        }
    }

    pub(super) fn snapshot(&self) -> SeatSnapshot {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
        self.with(|core, at| SeatSnapshot {
            name: self.name.clone(),
            rank: self.rank.name(),
            budget: core.budget,
            factor: core.factor,
            share: flow::shares::fraction(core.share),
            rows_per_s: core.allowance.rows_per_s(),
            transactions_per_s: core.allowance.transactions_per_s(),
            leases: core.leases,
            rows: core.rows,
            transactions: core.transactions,
            waited_s: core.waited.as_secs_f64(),
            limited: core.limited && !core.has_run_out(at),
            commit_baseline_ms: core.steady.baseline().map(milliseconds),
        })
    }

    fn is_governed(&self) -> bool {
        self.governed.load(Ordering::Acquire)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Core, Duration) -> T) -> T {
        // No code under this lock can panic half-way through a change. The time is taken under it, so that it never
        // goes back.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.start.elapsed();
        work(&mut core, at)
    }

    /// A budget appeared, or went.
    fn change_budget(&self, budget: Budget) {
        self.with(|core, at| core.change_budget(budget, at));
        self.governed.store(!budget.is_unlimited(), Ordering::Release);
        self.changed.notify_waiters();
        let database = self.ledger.database().name();
        tracing::info!(database, consumer = self.name, "the budget of database {database} is now {budget}");
    }
}

impl Seat {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Whether the budget is what limits its consumer now.
    pub(crate) fn is_limiting(&self) -> bool {
        self.inner.is_governed() && self.inner.with(|core, at| core.limited && !core.has_run_out(at))
    }

    /// Whether its lease could not be renewed in time, which says that the database is away: no batch is tried then, so
    /// that the breaker does not hear of it.
    pub(crate) fn has_run_out(&self) -> bool {
        self.inner.is_governed() && self.inner.with(|core, at| core.has_run_out(at))
    }

    /// A look at it that does not keep it alive.
    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.inner))
    }

    /// Whether the settings can work.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.inner.config.check()
    }

    /// Waits until the next batch may begin, and says how many messages it may have. Cancel-safe.
    pub(crate) async fn ready(&self) -> usize {
        let inner = &*self.inner;
        while inner.is_governed() {
            let changed = inner.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change falls between.
            changed.as_mut().enable();
            match inner.with(Core::next) {
                Next::Now(messages) => return messages,
                Next::Never => changed.await,
                Next::After(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = changed => {}
                },
            }
        }
        usize::MAX
    }

    /// A batch of `messages` begins.
    pub(crate) fn begin(&self, messages: usize) -> Spending {
        if !self.inner.is_governed() {
            return Spending::free();
        }
        let charged = self.inner.with(|core, at| core.allowance.charge(messages, at));
        Spending { of: Some((Arc::clone(&self.inner), charged)), left: AtomicUsize::new(messages) }
    }

    /// Keeps the lease for as long as it is polled; without a budget it looks now and then whether there is one.
    pub(crate) async fn keep(&self) -> Infallible {
        let mut trouble = Trouble::default();
        loop {
            let pause = if self.inner.is_governed() { self.renew(&mut trouble).await } else { self.look().await };
            sleep(pause).await;
        }
    }

    /// Gives the lease up, so that the others need not wait until it runs out.
    pub(crate) async fn leave(&self) {
        let Inner { ledger, id, .. } = &*self.inner;
        if !self.inner.is_governed() {
            return;
        }
        if let Ok(Err(error)) = timeout(FAREWELL, ledger.leave(*id)).await {
            tracing::debug!(database = ledger.database().name(), %error, "a lease was not given up: it runs out by itself");
        }
    }

    async fn renew(&self, trouble: &mut Trouble) -> Duration {
        let inner = &*self.inner;
        let soon = inner.config.renew() / SOON;
        let asked = inner.start.elapsed();
        let demand = inner.with(Core::look_back);
        let mut below_fair = false;
        let take = |view: &View| {
            let taken = inner.with(|core, at| core.take(view, demand, at));
            below_fair = taken.below_fair;
            taken.lease
        };
        let renewal = inner.ledger.renew(inner.id, inner.config.lease(), take);
        let renewed = timeout(inner.config.lease(), renewal).await;
        match renewed.unwrap_or_else(|_| Err(DbErr::Custom("no answer in time".to_owned()))) {
            Ok((view, lease)) => {
                trouble.over(inner);
                let budget = view.budget.unwrap_or_else(|| inner.ledger.database().budget());
                if budget.is_unlimited() {
                    self.leave().await;
                    inner.change_budget(budget);
                    return inner.config.look();
                }
                inner.with(|core, at| core.renewed(&view, &lease, budget, asked, at));
                inner.changed.notify_waiters();
                if below_fair { soon } else { inner.config.renew() }
            }
            Err(error) => {
                trouble.tell(inner, &error);
                soon
            }
        }
    }

    async fn look(&self) -> Duration {
        let inner = &*self.inner;
        match inner.ledger.written_budget().await {
            // Taken up in any case: the one in the database wins also where it was changed back.
            Ok(written) => {
                let budget = written.unwrap_or_else(|| inner.ledger.database().budget());
                if !budget.is_unlimited() {
                    inner.change_budget(budget);
                    return Duration::ZERO;
                }
            }
            Err(error) => tracing::debug!(
                database = inner.ledger.database().name(), %error,
                "whether a budget was written into the database is not known now"
            ),
        }
        inner.config.look()
    }
}

/// What was said about a lease that could not be renewed: once, when it has run out.
#[derive(Debug, Default)]
struct Trouble {
    said: bool,
}

impl Trouble {
    fn tell(&mut self, inner: &Inner, error: &DbErr) {
        let database = inner.ledger.database().name();
        if !self.said && inner.with(|core, at| core.has_run_out(at)) {
            self.said = true;
            tracing::warn!(
                database, consumer = inner.name, %error,
                "the share of the database's budget can't be renewed: no batch is taken until it can"
            );
        }
    }

    fn over(&mut self, inner: &Inner) {
        if std::mem::take(&mut self.said) {
            let database = inner.ledger.database().name();
            tracing::info!(database, consumer = inner.name, "the share of the database's budget is renewed again");
        }
    }
}

/// What a batch was charged, until its calls say what they wrote. What was not handled is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Spending {
    of: Option<(Arc<Inner>, f64)>,
    left: AtomicUsize,
}

impl Spending {
    /// Of a batch that nobody counts.
    pub(crate) fn free() -> Self {
        Self { of: None, left: AtomicUsize::new(0) }
    }

    /// A call with `messages` of the batch committed `rows` rows.
    pub(crate) fn wrote(&self, messages: usize, rows: u64, commit: Option<Duration>, took: Duration) {
        if self.of.is_some() {
            self.settle(messages, &Call { rows: Some(rows), took, commit });
            self.left.fetch_sub(messages, Ordering::Relaxed);
        }
    }

    /// A call with `messages` of the batch failed: they are still to be handled, or were handled in vain.
    pub(crate) fn failed(&self, messages: usize, took: Duration) {
        self.settle(messages, &Call { rows: None, took, commit: None });
    }

    fn settle(&self, messages: usize, call: &Call) {
        if let Some((inner, charged)) = &self.of {
            inner.with(|core, at| core.settle(*charged, messages, call, at));
        }
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        if let Some((inner, charged)) = &self.of {
            let left = *self.left.get_mut();
            inner.with(|core, at| core.allowance.give_back(*charged, left, at));
        }
    }
}
