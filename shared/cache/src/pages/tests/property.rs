//! No answer is older than the bound, whatever happens in whatever order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::model::Model;
use super::served::{html, key, tag};
use crate::{Encodings, PageError, Pages, PagesConfig};

const REPLICAS: usize = 3;
/// Trust and grace, with Redis there and without, and what a reader may take to be answered: he is judged by when he asked.
const BOUND: Duration = Duration::from_millis(1_500);
/// The same for a change that the reader's process was told of: the grace, or what is left of a render that had begun. That takes
/// up to 300 ms here, and the calls of Redis around it.
const BOUND_TOLD: Duration = Duration::from_millis(700);
const BOUND_AWAY: Duration = Duration::from_millis(5_500);
/// From a change whose purge never comes: the most that a page may be old.
const BOUND_UNTOLD: Duration = Duration::from_mins(1);
/// While renders fail: `stale_if_error_s` from when a purge was complete, as no page is seen current after that.
const BOUND_FAILING: Duration = Duration::from_mins(1);
/// While they fail and a purge never comes: a page that is seen current until it is a minute old could be served for one more.
/// The hard TTL, which is set to this here, ends that.
const BOUND_HARD: Duration = Duration::from_secs(90);
/// How long after a render failed readers may have the page before without a wait: a rest of 1 s (`retry_ms`), and the next try
/// with its wait for a turn, 6 s at most.
const ECHO: Duration = Duration::from_secs(8);
/// How long after a render failed somebody may still have joined those who wait for it: until its lease was given back.
const LANDING: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    /// Reader of a replica; whether the page's tag is known before.
    Read(usize, bool),
    /// The product changes and is purged; which replicas hear of it.
    Change([bool; REPLICAS]),
    /// It changes, and the purge is lost, or comes later.
    ChangeUntold,
    /// The purge of all that has changed; which replicas hear of it.
    Purge([bool; REPLICAS]),
    /// Whether renders fail from now on.
    Failing(bool),
    Away(bool),
    Flush,
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u64..700).prop_map(Step::Pass),
        1 => (700_u64..9_000).prop_map(Step::Pass),
        1 => (20_000_u64..70_000).prop_map(Step::Pass),
        8 => (0..REPLICAS, any::<bool>()).prop_map(|(replica, known)| Step::Read(replica, known)),
        3 => any::<[bool; REPLICAS]>().prop_map(Step::Change),
        1 => Just(Step::ChangeUntold),
        1 => any::<[bool; REPLICAS]>().prop_map(Step::Purge),
        1 => prop::bool::weighted(0.3).prop_map(Step::Failing),
        1 => any::<bool>().prop_map(Step::Away),
        1 => Just(Step::Flush),
        1 => Just(Step::Evict),
    ]
}

/// What a reader got.
struct Read {
    replica: usize,
    asked: Instant,
    answered: Instant,
    version: Result<u64, PageError>,
}

/// A change of the product.
struct Changed {
    at: Instant,
    /// When a purge after it had reached the second level.
    purged: Option<Instant>,
    /// Since when a replica knows.
    told: [Option<Instant>; REPLICAS],
}

struct Shop {
    model: Arc<Model>,
    replicas: Vec<Arc<Pages>>,
    /// The version that the database has.
    version: Arc<AtomicU64>,
    /// The first brought version 1.
    changes: Vec<Changed>,
    /// When the second level went away, and when it came back.
    away: Vec<(Instant, bool)>,
    fails: Arc<AtomicBool>,
    /// Since when renders failed, and since when they did not.
    failing: Vec<(Instant, bool)>,
    readers: JoinSet<Read>,
}

impl Shop {
    fn new(seed: u64) -> Self {
        let model = Arc::new(Model::new(seed));
        let config = PagesConfig { hard_ttl_s: BOUND_HARD.as_secs(), ..PagesConfig::default() };
        let replicas = (0..REPLICAS).map(|_| Pages::over(Arc::clone(&model) as _, &config)).collect();
        Self {
            model,
            replicas,
            version: Arc::default(),
            changes: vec![],
            away: vec![],
            fails: Arc::default(),
            failing: vec![],
            readers: JoinSet::new(),
        }
    }

    fn read(&mut self, replica: usize, known: bool) {
        let (pages, model) = (Arc::clone(&self.replicas[replica]), Arc::clone(&self.model));
        let (version, fails) = (Arc::clone(&self.version), Arc::clone(&self.fails));
        self.readers.spawn(async move {
            let asked = Instant::now();
            let tags = if known { vec![tag("MUG")] } else { vec![] };
            let render = move || async move {
                sleep(Duration::from_millis(model.chance(150))).await;
                if fails.load(Ordering::SeqCst) {
                    return Err(std::io::Error::other("the database is away"));
                }
                let read = version.load(Ordering::SeqCst);
                sleep(Duration::from_millis(model.chance(150))).await;
                Ok(html(&read.to_string(), &[tag("MUG")]))
            };
            let served = pages.get_or_render(&key("MUG"), &tags, Encodings::NONE, render).await;
            let version = served.map(|served| std::str::from_utf8(served.body()).unwrap().parse().unwrap());
            Read { replica, asked, answered: Instant::now(), version }
        });
    }

    /// A worker purges until it is reached; the replicas that hear of it do so at once.
    fn purge(&mut self, heard: [bool; REPLICAS]) {
        if !self.model.purge(&tag("MUG")) {
            return;
        }
        let now = Instant::now();
        for change in &mut self.changes {
            change.purged.get_or_insert(now);
        }
        for (n, _) in heard.iter().enumerate().filter(|(_, heard)| **heard) {
            self.replicas[n].purged(&[tag("MUG")]);
            for change in &mut self.changes {
                change.told[n].get_or_insert(now);
            }
        }
    }

    fn change(&mut self) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.changes.push(Changed { at: Instant::now(), purged: None, told: [None; REPLICAS] });
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Pass(ms) => sleep(Duration::from_millis(*ms)).await,
            Step::Read(replica, known) => {
                self.read(*replica, *known);
                tokio::task::yield_now().await;
            }
            Step::Change(heard) => {
                self.change();
                self.purge(*heard);
            }
            Step::ChangeUntold => self.change(),
            Step::Purge(heard) => self.purge(*heard),
            Step::Failing(fails) => {
                self.fails.store(*fails, Ordering::SeqCst);
                self.failing.push((Instant::now(), *fails));
            }
            Step::Away(away) => {
                self.model.be_away(*away);
                self.away.push((Instant::now(), *away));
                if !away && self.changes.iter().any(|change| change.purged.is_none()) {
                    self.purge([false; REPLICAS]);
                }
            }
            Step::Flush => self.model.flush(),
            Step::Evict => self.model.evict(&tag("MUG")),
        }
    }

    /// Whether the second level was away all the time.
    fn was_away_throughout(&self, from: Instant, to: Instant) -> bool {
        let before = self.away.iter().rfind(|(at, _)| *at <= from);
        before.is_some_and(|(_, away)| *away) && self.away.iter().all(|(at, away)| *away || *at <= from || *at > to)
    }

    fn judge(&self, read: &Read) -> Result<(), TestCaseError> {
        let failed_since = |from: Instant| was_on(&self.failing, from - ECHO, read.answered);
        let version = match &read.version {
            Ok(version) => *version,
            Err(error) => {
                let failing = was_on(&self.failing, read.asked - LANDING, read.answered);
                prop_assert!(failing, "a reader got an error, and no render failed: {error:?}");
                return Ok(());
            }
        };
        // Change number n brought version n + 1.
        for change in self.changes.iter().skip(usize::try_from(version).unwrap()) {
            let away = self.was_away_throughout(change.at, read.answered);
            let bound = match (failed_since(change.at), away) {
                (true, _) => BOUND_HARD,
                (false, true) => BOUND_AWAY,
                (false, false) => BOUND_UNTOLD,
            };
            let old = read.asked.saturating_duration_since(change.at);
            prop_assert!(old <= bound, "an answer lacks what changed {old:?} before it was asked for; bound {bound:?}");
            let Some(purged) = change.purged else { continue };
            let bound = match (failed_since(purged), was_on(&self.away, purged - BOUND_AWAY, read.answered)) {
                (true, _) => BOUND_FAILING,
                (false, true) => BOUND_AWAY,
                (false, false) => BOUND,
            };
            let old = read.asked.saturating_duration_since(purged);
            prop_assert!(
                old <= bound,
                "an answer lacks what was purged {old:?} before it was asked for; bound {bound:?}"
            );
            let Some(told) = change.told[read.replica].filter(|told| !failed_since(*told)) else { continue };
            let old = read.asked.saturating_duration_since(told);
            prop_assert!(
                old <= BOUND_TOLD,
                "an answer lacks what the process was told {old:?} before it was asked for"
            );
        }
        Ok(())
    }
}

/// Whether what was switched on and off was on at any time in between.
fn was_on(switched: &[(Instant, bool)], from: Instant, to: Instant) -> bool {
    let mut since = None;
    for (at, on) in switched {
        match (since, on) {
            (None, true) => since = Some(*at),
            (Some(began), false) => {
                if began <= to && *at >= from {
                    return true;
                }
                since = None;
            }
            _ => {}
        }
    }
    since.is_some_and(|began| began <= to)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_answer_is_older_than_the_bound(steps in prop::collection::vec(step(), 1..80), seed: u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut shop = Shop::new(seed);
            for step in &steps {
                shop.take(step).await;
            }
            let mut readers = std::mem::take(&mut shop.readers);
            while let Some(read) = readers.join_next().await {
                shop.judge(&read.unwrap())?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}
