//! Pages: rendered once, served to everybody. The crate's essay has the why.

mod compress;
mod config;
mod encoding;
mod fill;
mod flights;
mod held;
mod hot;
mod key;
mod local;
mod page;
pub(crate) mod redis;
pub(crate) mod second;
mod stats;
#[cfg(test)]
mod tests;
mod told;

use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::OptionsBuilder;
use quick_cache::sync::{Cache as Level1, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, Weighter};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use config::PagesConfig;
pub use encoding::{Encoding, Encodings};
pub use key::PageKey;
pub use page::{Freshness, Page, PageError, Rendered, Served};
pub use stats::PagesStats;

use crate::Cache;
use crate::tags::Tag;
use compress::Effort;
use fill::{Job, Render};
use flights::{Flights, Joined, Landing, Outcome, ended};
use held::{Held, Moment, Standing, Timeline};
use hot::Hot;
use second::Second;
use stats::Counters;
use told::Told;

/// Why a render made no page.
pub type RenderError = Box<dyn std::error::Error + Send + Sync>;

/// What an entry is expected to take, bytes; only the size of the first tables follows from it.
const USUAL_BYTES: u64 = 16 << 10;

/// The page cache of a process; all of its roles share one.
pub struct Pages {
    second: Arc<dyn Second>,
    config: PagesConfig,
    effort: Effort,
    timeline: Timeline,
    level1: Level1<PageKey, Arc<Held>, ByMemory>,
    flights: Arc<Flights>,
    renders: Semaphore,
    told: Told,
    hot: Hot,
    counters: Counters,
    /// The fills that run; aborted when the cache is dropped.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<PageKey, Arc<Held>> for ByMemory {
    fn weight(&self, key: &PageKey, held: &Arc<Held>) -> u64 {
        held::weight(key, held)
    }
}

impl Pages {
    /// A page cache over `cache`, which replicas share if it is Redis.
    pub fn new(cache: Arc<Cache>, config: &PagesConfig) -> Arc<Self> {
        Self::over(cache, config)
    }

    pub(crate) fn over(second: Arc<dyn Second>, config: &PagesConfig) -> Arc<Self> {
        Arc::new(Self {
            second,
            effort: Effort::new(config),
            timeline: Timeline::start(),
            level1: level1(config),
            flights: Arc::new(Flights::new(config.max_fills)),
            renders: Semaphore::new(config.max_renders.clamp(1, Semaphore::MAX_PERMITS)),
            told: Told::new(config.told_tags),
            hot: Hot::new(config.hot_pages),
            counters: Counters::default(),
            tasks: Mutex::default(),
            config: config.clone(),
        })
    }

    /// The page `key` for a client that takes the encodings of `accept`. What is within its bound is served at once, and
    /// looked after where that is due; else this waits for that.
    ///
    /// `tags`: what the page is rendered from, as far as the key says it. `render` reads what it needs from the primary
    /// and names all it was rendered from; it is called at most once, in a task of its own, and at most one runs for a key in
    /// this process, and among replicas while Redis is there.
    ///
    /// # Errors
    /// [`PageError`], where nothing within its bound is held either. A 503 that is safe to repeat.
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
        E: Into<RenderError>,
    {
        let began = self.now();
        let held = self.level1.get(key);
        let standing = held.as_ref().map_or(Standing::Gone, |held| self.read(key, held, began));
        match (standing, &held) {
            (Standing::Fresh, Some(held)) => {
                self.counters.fresh.add();
                return Ok(serve(held, accept, began, Freshness::Fresh));
            }
            (Standing::Due, Some(held)) => {
                if !held.rests(began) {
                    self.look_after(key, tags, boxed(render));
                }
                self.counters.stale.add();
                return Ok(serve(held, accept, began, Freshness::Stale));
            }
            (Standing::Late, Some(held)) if held.rests(began) => {
                self.counters.fallback.add();
                return Ok(serve(held, accept, began, Freshness::Fallback));
            }
            _ => {}
        }
        match timeout(self.config.wait(), self.awaited(key, tags, began, boxed(render))).await {
            Ok(Ok(held)) => {
                self.counters.awaited.add();
                Ok(serve(&held, accept, self.now(), Freshness::Awaited))
            }
            Ok(Err(error)) => self.fall_back(key, accept, error),
            Err(_) => self.fall_back(key, accept, PageError::TimedOut),
        }
    }

    /// Hears that `tags` were purged: pages with them are looked after when they are read next.
    pub fn purged(&self, tags: &[Tag]) {
        self.told.hear(tags);
    }

    /// The most read pages, most read first, at most `n` and `hot_pages`.
    pub fn hot(&self, n: usize) -> Vec<PageKey> {
        self.hot.keys(n, |_| true)
    }

    /// Those of the most read pages that are held here and carry one of `tags`: what to render first after a purge.
    pub fn hot_with(&self, tags: &[Tag], n: usize) -> Vec<PageKey> {
        let wanted = |key: &PageKey| {
            self.level1.peek(key).is_some_and(|held| held.page.tags.iter().any(|tag| tags.contains(tag)))
        };
        self.hot.keys(n, wanted)
    }

    /// What it did, and what it holds.
    pub fn stats(&self) -> PagesStats {
        let free = self.renders.available_permits();
        PagesStats {
            rendering: self.config.max_renders.max(1).saturating_sub(free) as u64,
            filling: self.flights.count() as u64,
            pages: self.level1.len() as u64,
            bytes: self.level1.weight(),
            ..self.counters.read()
        }
    }

    fn now(&self) -> Moment {
        self.timeline.now()
    }

    /// Counts a reader, and says what it may do with what is held.
    fn read(&self, key: &PageKey, held: &Held, now: Moment) -> Standing {
        if let Some(readers) = held.read() {
            self.hot.read(key, readers, now);
        }
        self.standing(held, now, false)
    }

    fn standing(&self, held: &Held, now: Moment, unsaid: bool) -> Standing {
        let told = self.is_named(held);
        let there = held.standing(&self.config, now, told, unsaid);
        if matches!(there, Standing::Fresh | Standing::Due) || unsaid || self.second.is_available() {
            return there;
        }
        held.standing(&self.config, now, told, true)
    }

    /// Whether an announcement that is not in it named one of its tags.
    fn is_named(&self, held: &Held) -> bool {
        let last = self.told.last();
        let since = held.told();
        if since == last {
            return false;
        }
        let named = self.told.names(&held.page.tags, since);
        if !named {
            held.heard(last);
        }
        named
    }

    /// Starts a fill that nobody waits for, unless one runs or too many do.
    fn look_after(self: &Arc<Self>, key: &PageKey, tags: &[Tag], render: Render) {
        if let Joined::Started(landing, _) = self.flights.join(key, || None) {
            self.start(landing, key, tags, render);
        }
    }

    /// A page that was current after this reader came, or is within its bound. A fill that ran before may have begun too
    /// early for that, if it took long; the next one has not.
    async fn awaited(
        self: &Arc<Self>,
        key: &PageKey,
        tags: &[Tag],
        began: Moment,
        render: Render,
    ) -> Result<Arc<Held>, PageError> {
        let good = |held: &Held, unsaid| {
            held.current() >= began
                || matches!(self.standing(held, self.now(), unsaid), Standing::Fresh | Standing::Due)
        };
        let mut render = Some(render);
        loop {
            let recheck = || self.level1.peek(key).filter(|held| good(held, false));
            let flight = match self.flights.join(key, recheck) {
                Joined::Ended(held) => return Ok(held),
                Joined::Full => return Err(PageError::Overloaded),
                Joined::Running(flight) => flight,
                Joined::Started(landing, flight) => {
                    // What it ends with is good for this reader, so it does not start another.
                    let Some(render) = render.take() else { return Err(PageError::TimedOut) };
                    self.start(landing, key, tags, render);
                    flight
                }
            };
            match ended(flight).await {
                Outcome::Filled(held) if good(&held, false) => return Ok(held),
                Outcome::Unsaid(held) if good(&held, true) => return Ok(held),
                Outcome::Failed(error) => return Err(error),
                Outcome::Filled(_) | Outcome::Unsaid(_) => {}
            }
        }
    }

    fn start(self: &Arc<Self>, landing: Landing, key: &PageKey, tags: &[Tag], render: Render) {
        let pages = Arc::clone(self);
        let held = self.level1.peek(key);
        let job = Job { key: key.clone(), tags: tags.to_vec(), held: held.clone(), render };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let outcome = pages.fill(job).await;
            if let (Outcome::Failed(_), Some(held)) = (&outcome, held) {
                pages.rest(&held);
            }
            landing.end(outcome);
        });
    }

    /// What is served in place of an error, if anything may be.
    fn fall_back(&self, key: &PageKey, accept: Encodings, error: PageError) -> Result<Served, PageError> {
        let now = self.now();
        if let Some(held) = self.level1.peek(key)
            && self.standing(&held, now, false) != Standing::Gone
        {
            self.counters.fallback.add();
            return Ok(serve(&held, accept, now, Freshness::Fallback));
        }
        let counter = if matches!(error, PageError::Overloaded) { &self.counters.refused } else { &self.counters.failed };
        counter.add();
        Err(error)
    }
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

fn serve(held: &Held, accept: Encodings, now: Moment, freshness: Freshness) -> Served {
    let page = Arc::clone(&held.page);
    Served { encoding: page.encoding(accept), page, age: held.age(now), freshness }
}

fn boxed<R, F, E>(render: R) -> Render
where
    R: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<Rendered, E>> + Send + 'static,
    E: Into<RenderError>,
{
    Box::new(move || Box::pin(async move { render().await.map_err(Into::into) }))
}

/// Each shard holds several pages of the largest size, so that none is refused for its size alone.
fn level1(config: &PagesConfig) -> Level1<PageKey, Arc<Held>, ByMemory> {
    let largest = (config.max_page_bytes as u64).max(1);
    let shards = usize::try_from(config.memory_bytes / (4 * largest)).unwrap_or(usize::MAX).clamp(1, 64);
    let usual = usize::try_from(config.memory_bytes / USUAL_BYTES).unwrap_or(usize::MAX).max(64);
    let options = OptionsBuilder::new()
        // Rounded up to a power of two there.
        .shards(shards.next_power_of_two() / if shards.is_power_of_two() { 1 } else { 2 })
        .estimated_items_capacity(usual)
        .weight_capacity(config.memory_bytes)
        .build();
    match options {
        Ok(options) => Level1::with_options(
            options,
            ByMemory,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        // It fails only where one of the two numbers was not given.
        Err(_) => Level1::with_weighter(usual, config.memory_bytes, ByMemory),
    }
}
