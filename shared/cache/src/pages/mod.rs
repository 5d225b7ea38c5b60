//! Pages rendered once: [`Pages::get_or_render`].
//!
//! # Levels
//! The first level is this process's memory, weighed by bytes. A page in it is served without asking anybody for `trust_ms`
//! after it was last seen current. The second is what replicas share ([`crate::Cache`]): pages, generations of tags, and
//! leases on a render. Over `memory:` there are no pages in the second level, only generations.
//!
//! # The race
//! A render begins, reads the old price, the price changes and is purged, the render ends. Were its result kept as new, it
//! would be served until something else purges it. So before a render reads anything the generations of its tags are noted,
//! and beside them the *position*, which every purge of any tag changes. A page is kept in one step that compares: each tag
//! that was noted has to have the same generation still, and where the render found tags that nobody had named, the position
//! has to be the same. What does not compare was *overtaken*: it is not kept in the second level, and in the first only as of
//! the moment at which its render began, without generations, so that it is never seen current again.
//!
//! What is kept is kept *with* its generations. It is current for as long as every tag still has them; a generation is a unique
//! value, so one that was lost and made anew never compares.
//!
//! # Bounds
//! How old an answer may be at most, counted from when a change's purge reached Redis, with the defaults. An answer also never
//! lacks a purge that was complete before its request and that long ago.
//!
//! | Redis | broker | bound |
//! |---|---|---|
//! | up | up | `grace_ms` = 0.5 s from when the process was told, or until a render has ended that was on its way; not told, `trust_ms` + `grace_ms` = 1.5 s |
//! | up | away | `max_age_s` = 60 s after the change: the purge itself can't come |
//! | away | up or away | `away_trust_ms` + `grace_ms` = 5.5 s after the change, as pages are rendered anew that often |
//!
//! Where a new page can't be rendered (the database is away) the old one is served for `stale_if_error_s` = 60 s after it was
//! last seen current. Whatever fails, `hard_ttl_s` = 600 s after its render began no page is served any more.
//!
//! # Who waits
//! A page is looked after once at a time in a process, and rendered by one replica at a time: the others wait for the result
//! for `lease_ms` and render themselves then, so a lease that died with its replica blocks nobody. Readers of a page within its
//! grace do not wait, and within its age it is seen current again and again while its next render takes its time. Where the last
//! render failed nobody waits for the next: they have the page before, until one succeeds. Renders are capped, waits are capped, and beyond the caps readers get the page before or
//! [`PageError::Overloaded`].

mod compress;
mod config;
mod encoding;
mod fill;
mod flights;
mod held;
mod hot;
mod key;
mod page;
mod remote;
mod second;
mod shared;
mod stats;
#[cfg(test)]
mod tests;
mod told;

use std::collections::HashSet;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::Cache;
use crate::tags::Tag;

pub use config::PagesConfig;
pub use encoding::{Encoding, Encodings};
pub use key::PageKey;
pub use page::{Freshness, PageError, Rendered, Served};
pub use stats::PagesStats;

pub(crate) use remote::PageScripts;

use fill::Task;
use flights::{Flights, Joined, Outcome};
use held::{Held, Moment, Standing, Timeline, between, weight};
use hot::Hot;
use second::Second;
use stats::{Counter, Counters};
use told::Told;

/// Pages expected in the first level, for the size of its tables at the start; they grow.
const EXPECTED: usize = 1_000;

/// The page cache of a process. One, behind an `Arc`, is shared by all roles of the process.
pub struct Pages {
    second: Arc<dyn Second>,
    config: PagesConfig,
    timeline: Timeline,
    held: quick_cache::sync::Cache<PageKey, Arc<Held>, Weigh>,
    flights: Flights,
    renders: Semaphore,
    told: Told,
    hot: Hot,
    counters: Counters,
    tasks: TaskTracker,
}

#[derive(Debug, Clone)]
struct Weigh;

impl quick_cache::Weighter<PageKey, Arc<Held>> for Weigh {
    fn weight(&self, key: &PageKey, held: &Arc<Held>) -> u64 {
        weight(key, held)
    }
}

/// What makes a page, with its own kind of error made general.
pub(crate) type Render = Box<dyn FnOnce() -> BoxFuture<'static, Result<Rendered, RenderError>> + Send>;
pub(crate) type RenderError = Arc<dyn std::error::Error + Send + Sync>;

impl Pages {
    /// An empty cache over `cache`.
    pub fn new(cache: Arc<Cache>, config: &PagesConfig) -> Arc<Self> {
        Self::over(cache, config)
    }

    pub(crate) fn over(second: Arc<dyn Second>, config: &PagesConfig) -> Arc<Self> {
        Arc::new(Self {
            second,
            timeline: Timeline::start(),
            held: quick_cache::sync::Cache::with_weighter(EXPECTED, config.memory_bytes, Weigh),
            flights: Flights::new(config.max_fills),
            renders: Semaphore::new(config.max_renders.clamp(1, Semaphore::MAX_PERMITS)),
            told: Told::new(config.told_tags),
            hot: Hot::new(config.hot_pages),
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            config: config.clone(),
        })
    }

    /// The page `key` where this process's memory has it, known to be current; with nothing made or waited for. `None` says
    /// nothing: [`Self::get_or_render`] has to be asked then. For the many readers of a page for whom its tags and its render
    /// need not even be prepared.
    pub fn fresh(&self, key: &PageKey, accept: Encodings) -> Option<Served> {
        let asked = self.timeline.now();
        let held = self.held.get(key)?;
        if self.standing(&held, asked) != Standing::Fresh {
            return None;
        }
        self.read(key, &held, asked);
        self.counters.fresh.add();
        Some(self.serve(&held, accept, Freshness::Fresh))
    }

    /// The page `key`, from the nearest level that has it, else by `render`. `tags` are those of its tags that are known
    /// before anything is read. `render` has to read what it shows inside of its future, and from the primary or a replica
    /// that has passed what was purged. It runs in a task of its own: a reader who hangs up stops nothing. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`PageError`] where there is no page, new or within its bound.
    pub async fn get_or_render<R, F, E>(
        self: &Arc<Self>,
        key: &PageKey,
        tags: &[Tag],
        accept: Encodings,
        render: R,
    ) -> Result<Served, PageError>
    where
        R: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Rendered, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let render: Render =
            Box::new(move || async move { render().await.map_err(|error| RenderError::from(error.into())) }.boxed());
        let asked = self.timeline.now();
        let held = self.held.get(key);
        let standing = held.as_ref().map(|held| self.standing(held, asked));
        if let Some(held) = &held {
            self.read(key, held, asked);
        }
        match (held, standing) {
            (Some(held), Some(Standing::Fresh)) => {
                self.counters.fresh.add();
                Ok(self.serve(&held, accept, Freshness::Fresh))
            }
            (Some(held), Some(Standing::Due)) => {
                if !held.rests(asked) {
                    self.look_after(key, tags, Some(Arc::clone(&held)), render);
                }
                self.counters.stale.add();
                Ok(self.serve(&held, accept, Freshness::Stale))
            }
            (Some(held), Some(Standing::Late)) if held.is_failing(asked, self.config.patience()) => {
                if !held.rests(asked) {
                    self.look_after(key, tags, Some(Arc::clone(&held)), render);
                }
                self.counters.fallback.add();
                Ok(self.serve(&held, accept, Freshness::Fallback))
            }
            (held, standing) => {
                let before = held.filter(|_| standing == Some(Standing::Late));
                self.awaited(asked, key, tags, before, accept, render).await
            }
        }
    }

    /// The broker told that `tags` were purged: the next reader of each page with one of them has it looked after, and after the
    /// grace readers wait for that. Say it after the purge reached Redis; before that it has no effect.
    pub fn purged(&self, tags: &[Tag]) {
        self.told.hear(tags, self.timeline.now());
    }

    /// The most read pages, the most read first, `n` at most.
    pub fn hot(&self, n: usize) -> Vec<PageKey> {
        self.hot.keys(n, |_| true)
    }

    /// Of the most read pages those that are held here and have one of `tags`, the most read first, `n` at most.
    pub fn hot_with(&self, tags: &[Tag], n: usize) -> Vec<PageKey> {
        let tags: HashSet<&Tag> = tags.iter().collect();
        self.hot
            .keys(n, |key| self.held.peek(key).is_some_and(|held| held.page.tags.iter().any(|tag| tags.contains(tag))))
    }

    /// What was counted since the start, and what is held now.
    pub fn stats(&self) -> PagesStats {
        PagesStats {
            rendering: (self.config.max_renders.saturating_sub(self.renders.available_permits())) as u64,
            filling: self.flights.len() as u64,
            pages: self.held.len() as u64,
            bytes: self.held.weight(),
            ..self.counters.read()
        }
    }

    /// Waits for what is looked after now. Each is bounded by the settings.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Counts a reader.
    fn read(&self, key: &PageKey, held: &Held, now: Moment) {
        if let Some(readers) = held.read() {
            self.hot.read(key, readers, now);
        }
    }

    fn standing(&self, held: &Held, now: Moment) -> Standing {
        let last = self.told.last();
        let told = self.told_of(held);
        if told.is_none() {
            held.heard(last);
        }
        held.standing(&self.config, now, told, !self.second.is_available())
    }

    /// When an announcement named one of its tags that is not in it.
    fn told_of(&self, held: &Held) -> Option<Moment> {
        let since = held.told();
        if since < self.told.last() { self.told.named(&held.page.tags, since) } else { None }
    }

    /// Starts looking after a page, unless somebody does or too many are looked after.
    fn look_after(
        self: &Arc<Self>,
        key: &PageKey,
        tags: &[Tag],
        held: Option<Arc<Held>>,
        render: Render,
    ) -> Option<Joined> {
        let joined = self.flights.join(key, held.is_some());
        if let Joined::First(flight) = joined {
            let waiting = flight.waiting();
            let task = Task { key: key.clone(), tags: tags.to_vec(), held };
            let pages = Arc::clone(self);
            self.tasks.spawn(async move { pages.fill(task, render, flight).await });
            return Some(Joined::Waiting(waiting));
        }
        (!matches!(joined, Joined::Full)).then_some(joined)
    }

    async fn awaited(
        self: &Arc<Self>,
        asked: Moment,
        key: &PageKey,
        tags: &[Tag],
        before: Option<Arc<Held>>,
        accept: Encodings,
        render: Render,
    ) -> Result<Served, PageError> {
        let outcome: Outcome = match self.look_after(key, tags, before.clone(), render) {
            Some(Joined::Waiting(waiting)) => {
                timeout(self.config.wait(), waiting.outcome()).await.unwrap_or(Err(PageError::TimedOut))
            }
            _ => Err(PageError::Overloaded),
        };
        let now = self.timeline.now();
        let mut newest = before;
        let error = match outcome {
            // Somebody who came while it was rendered may have seen a change that is not in it: not for longer than the bound.
            Ok(held) if asked <= held.current() || self.is_within_bound(&held, now) => {
                self.counters.awaited.add();
                // A render may have been overtaken: this reader may have its page, no cache may keep it as fresh.
                let new = between(held.current(), now) <= self.config.trust() && self.told_of(&held).is_none();
                return Ok(self.serve(&held, accept, if new { Freshness::Awaited } else { Freshness::Stale }));
            }
            // It took so long that it is old: still the newest that there is.
            Ok(held) => {
                newest = Some(held);
                PageError::TimedOut
            }
            Err(error) => error,
        };
        if let Some(held) = newest
            && self.standing(&held, now) != Standing::Gone
        {
            self.counters.fallback.add();
            return Ok(self.serve(&held, accept, Freshness::Fallback));
        }
        let counter: &Counter = match error {
            PageError::Overloaded => &self.counters.refused,
            _ => &self.counters.failed,
        };
        counter.add();
        Err(error)
    }

    fn is_within_bound(&self, held: &Held, now: Moment) -> bool {
        let trust = if self.second.is_available() { self.config.trust() } else { self.config.away_trust() };
        between(held.current(), now) <= trust + self.config.grace()
    }

    fn serve(&self, held: &Held, accept: Encodings, freshness: Freshness) -> Served {
        let page = Arc::clone(&held.page);
        Served { encoding: page.encoding(accept), page, age: held.age(self.timeline.now()), freshness }
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
