//! A page in this process, and what time says of it: pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::config::PagesConfig;
use super::key::PageKey;
use super::page::Page;
use super::second::is_young;
use crate::tags::Generation;

/// Microseconds since the cache was made; negative for what was rendered before, elsewhere.
pub(crate) type Moment = i64;

/// The one source of moments: a monotonic clock, so that no step of the machine's clock makes a page younger.
#[derive(Debug)]
pub(crate) struct Timeline(Instant);

impl Timeline {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(&self) -> Moment {
        micros(self.0.elapsed())
    }
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Time from `earlier` to `later`, none at all where it is the other way round.
pub(crate) fn between(earlier: Moment, later: Moment) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(earlier)).unwrap_or(0))
}

/// A page in this process's memory. Only atomics change: a page that is seen current again is the same entry.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) page: Arc<Page>,
    /// Of the page's tags, in their order. None where they are not known: then it is never seen current again.
    pub(crate) generations: Option<Vec<Generation>>,
    /// When its render began.
    pub(crate) rendered: Moment,
    /// How long it is served after that, and how long whatever fails.
    pub(crate) life: Duration,
    pub(crate) hard: Duration,
    /// The last moment at which it is known to have been current: everything purged before is in it.
    current: AtomicI64,
    /// The last announcement that is in it.
    told: AtomicU64,
    /// Before this moment nobody tries to render it anew.
    retry: AtomicI64,
    reads: AtomicU32,
}

/// What a reader may do with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Serve it.
    Fresh,
    /// Serve it, and look after it.
    Due,
    /// Look after it first; serve it if that fails, or has just failed.
    Late,
    /// Serve it never again.
    Gone,
}

impl Held {
    pub(crate) fn new(
        page: Arc<Page>,
        generations: Option<Vec<Generation>>,
        (life, hard): (Duration, Duration),
        rendered: Moment,
        (current, told): (Moment, u64),
    ) -> Self {
        Self {
            page,
            generations,
            rendered,
            life,
            hard,
            current: AtomicI64::new(current),
            told: AtomicU64::new(told),
            retry: AtomicI64::new(Moment::MIN),
            reads: AtomicU32::new(0),
        }
    }

    pub(crate) fn current(&self) -> Moment {
        self.current.load(Ordering::Acquire)
    }

    pub(crate) fn told(&self) -> u64 {
        self.told.load(Ordering::Acquire)
    }

    /// It was current at `moment`, with all announcements up to `told` heard before that.
    pub(crate) fn seen_current(&self, moment: Moment, told: u64) {
        self.heard(told);
        self.current.fetch_max(moment, Ordering::AcqRel);
    }

    /// Announcements up to `told` name none of its tags.
    pub(crate) fn heard(&self, told: u64) {
        self.told.fetch_max(told, Ordering::AcqRel);
    }

    pub(crate) fn rest_until(&self, moment: Moment) {
        self.retry.fetch_max(moment, Ordering::Relaxed);
    }

    pub(crate) fn rests(&self, now: Moment) -> bool {
        now < self.retry.load(Ordering::Relaxed)
    }

    /// Whether its last render failed, and the next try, which may take as long as `patience`, has not ended since.
    pub(crate) fn is_failing(&self, now: Moment, patience: Duration) -> bool {
        now < self.retry.load(Ordering::Relaxed).saturating_add(micros(patience))
    }

    pub(crate) fn age(&self, now: Moment) -> Duration {
        between(self.rendered, now)
    }

    /// Counts a reader. Says how many have come since it said so last: seldom, and less so the more there are.
    pub(crate) fn read(&self) -> Option<u32> {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if reads.is_multiple_of(64) {
            return Some(if reads == 64 { 32 } else { 64 });
        }
        (reads < 64 && reads > 1 && reads.is_power_of_two()).then_some(reads / 2)
    }

    /// It takes the place of `older`, readers included.
    pub(crate) fn follows(&self, older: &Self) {
        self.reads.store(older.reads.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn is_young(&self, now: Moment) -> bool {
        is_young(self.age(now), self.life)
    }

    /// What a reader may do with it at `now`. `told`: when an announcement named one of its tags. `away`: nobody can say whether
    /// it is current.
    pub(crate) fn standing(&self, config: &PagesConfig, now: Moment, told: Option<Moment>, away: bool) -> Standing {
        let (age, unseen) = (self.age(now), between(self.current(), now));
        if age >= self.hard {
            return Standing::Gone;
        }
        let trust = if away { config.away_trust() } else { config.trust() };
        if told.is_none() && unseen <= trust && self.is_young(now) {
            return Standing::Fresh;
        }
        let in_grace = told.is_none_or(|told| between(told, now) <= config.grace());
        if in_grace && unseen <= trust + config.grace() && age < self.life {
            return Standing::Due;
        }
        if unseen <= config.stale_if_error() { Standing::Late } else { Standing::Gone }
    }
}

/// What an entry takes of memory beside the texts and bodies: the entry, the page, their reference counts, the map's slots, and what
/// an allocator leaves between them. Measured (`infra/decisions/0008`).
const OVERHEAD: usize = 900;

/// What a tag takes beside its text: its place in the list and its generation.
const TAG: usize = 24 + 16;

/// How much memory an entry takes, bytes: near enough, and never too little for a page of some size.
pub(crate) fn weight(key: &PageKey, held: &Held) -> u64 {
    let page = &held.page;
    let bodies = [Some(&page.identity), page.gzip.as_ref(), page.brotli.as_ref()];
    let bodies: usize = bodies.into_iter().flatten().map(|body| body.bytes.len()).sum();
    let tags: usize = page.tags.iter().map(|tag| tag.as_str().len() + TAG).sum();
    let headers: usize = page.headers.iter().map(|(_, value)| value.len() + 2 * TAG).sum();
    (OVERHEAD + key.as_str().len() + bodies + tags + headers) as u64
}
