//! What may be forgotten: an order's status, the generations of tags, and rendered pages, in this process (`memory:`) or
//! shared by all replicas (`redis://…`).
//!
//! # Nouns
//! [`OrderStatus`] is an order as it was committed. A [`Tag`] names everything that was rendered from one thing; its
//! [`Generation`] changes with every purge. A [`Purge`] says which versions the things behind a tag have reached.
//!
//! # Guarantees
//! - **Disposable.** No call waits longer than its bound, and none fails a reader: a cache that is away is a miss. A
//!   breaker answers at once while Redis is away, and a task of its own reconnects for ever. Only writers of purges are
//!   told ([`Unavailable`]), because they must try again.
//! - **A status never goes back.** A write with a version that is not above the held one changes nothing, in both
//!   kinds: a late `placed` can't hide `confirmed`.
//! - **A missing tag counts as just purged.** Generations are unique values, not counters: a tag that Redis lost, evicted
//!   or never had gets a value that no entry was rendered with, so whatever was rendered before is old. A counter would
//!   start again and one day meet its own past.
//! - **An older event changes nothing.** Version check and purge are one step, so that a worker that dies after the one
//!   can't lose the other. The first event of an aggregate that the cache does not know is newer.
//!
//! # Pages
//! [`Pages`] renders a page once and serves it many times, never older than a bound that is published: [`pages`] says how, and
//! why a render that was overtaken by a purge is not kept.
//!
//! # Refused
//! Redis as a store of record, as a lock that correctness needs, or as a queue; a retry of a call (it doubles the bound,
//! a miss costs one read); client-side caching; versions from clocks.

mod condition;
mod config;
mod link;
mod memory;
pub mod pages;
mod remote;
mod status;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use model::OrderId;
use secrecy::ExposeSecret as _;

pub use config::Config;
pub use pages::{Encoding, Encodings, Freshness, PageError, PageKey, Pages, PagesConfig, PagesStats, Rendered, Served};
pub use status::OrderStatus;
pub use tags::{Generation, Purge, Tag};

use link::LinkError;
use memory::Memory;
use remote::Remote;
use tags::Generations;

/// Statuses in one call: what Redis writes in well below a millisecond, since nobody else is served meanwhile.
const STATUSES_AT_ONCE: usize = 128;

/// Calls on one connection at once, which Redis answers in one go, and versions that all of them together look at: nobody
/// else is served meanwhile.
const PURGES_AT_ONCE: usize = 32;
const VERSIONS_AT_ONCE: usize = 1_000;

/// The cache. Share it behind an `Arc`; every role of a process uses the same one, or `memory:` would not be shared.
pub struct Cache {
    part: Part,
    generations: Generations,
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

enum Part {
    Memory(Box<Memory>),
    Remote(Box<Remote>),
}

/// A cache that can't work as configured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Neither `memory:` nor a Redis URL.
    #[error("the cache's url must be memory:, redis://host:port or rediss://host:port")]
    Url,
    /// The Redis URL does not parse.
    #[error("the cache's url is not a usable Redis URL")]
    Redis(#[source] redis::RedisError),
    /// Settings of pages that contradict each other.
    #[error("{0}")]
    Pages(String),
}

/// The purge is not known to have reached the cache: try it again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cache is not reachable: {0}")]
pub struct Unavailable(String);

/// What the cache did since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Reads of a status that found one.
    pub hits: u64,
    /// Reads of a status that found none, for whatever reason.
    pub misses: u64,
    /// Calls that failed, ran out of time, or met an open breaker.
    pub errors: u64,
}

impl Config {
    /// Whether the URL and the settings of pages can work. Connects to nobody.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn check(&self) -> Result<(), OpenError> {
        self.server().map(drop)
    }

    /// Redis, where it is not this process's memory.
    fn server(&self) -> Result<Option<redis::Client>, OpenError> {
        self.pages.check().map_err(OpenError::Pages)?;
        let url = self.url.expose_secret();
        if url == "memory:" {
            return Ok(None);
        }
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err(OpenError::Url);
        }
        redis::Client::open(url).map(Some).map_err(OpenError::Redis)
    }
}

impl Cache {
    /// Opens the cache. Waits for Redis at most one connect timeout; without it everything is a miss until it answers.
    ///
    /// # Errors
    /// [`OpenError`] where the URL or the settings can't work. Never because Redis is away.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let generations = Generations::new();
        let part = if let Some(client) = config.server()? {
            let remote = Remote::new(client, config);
            remote.link().connected(config.connect_timeout()).await;
            Part::Remote(Box::new(remote))
        } else {
            Part::Memory(Box::new(Memory::new(config, &generations)))
        };
        Ok(Self { part, generations, hits: AtomicU64::new(0), misses: AtomicU64::new(0), errors: AtomicU64::new(0) })
    }

    /// Whether the cache answers: always for `memory:`, while the breaker is closed for Redis.
    pub fn is_available(&self) -> bool {
        match &self.part {
            Part::Memory(_) => true,
            Part::Remote(remote) => remote.link().is_closed(),
        }
    }

    /// What an operator should know of the server behind the cache, once a write was tried: nothing for `memory:`.
    ///
    /// # Errors
    /// [`Unavailable`] where it takes no write, as a replica or a server that is full under `noeviction`, or tells nothing.
    pub async fn examine(&self) -> Result<Vec<&'static str>, Unavailable> {
        match &self.part {
            Part::Memory(_) => Ok(Vec::new()),
            Part::Remote(remote) => self.counted(remote.examine().await),
        }
    }

    /// Keeps committed statuses, each unless the same or a newer version is held. Best effort: what is not kept is read
    /// from the database.
    pub async fn put_statuses(&self, statuses: &[OrderStatus]) {
        match &self.part {
            Part::Memory(memory) => {
                for status in statuses {
                    memory.put_status(status).await;
                }
            }
            Part::Remote(remote) => {
                for chunk in statuses.chunks(STATUSES_AT_ONCE) {
                    self.counted(remote.put_statuses(chunk).await).unwrap_or_default();
                }
            }
        }
    }

    /// The newest status that was kept, if it is still there.
    pub async fn get_status(&self, id: OrderId) -> Option<OrderStatus> {
        let found = match &self.part {
            Part::Memory(memory) => memory.get_status(id).await,
            Part::Remote(remote) => self.counted(remote.get_status(id).await).unwrap_or_default(),
        };
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The tag's generation. A tag that is missing gets a fresh one; while the cache is away every call gets a fresh one,
    /// so that nothing is taken for current.
    pub async fn generation(&self, tag: &Tag) -> Generation {
        match &self.part {
            Part::Memory(memory) => memory.generation(tag, &self.generations).await,
            Part::Remote(remote) => self
                .counted(remote.generation(tag, &self.generations).await)
                .unwrap_or_else(|_| self.generations.fresh()),
        }
    }

    /// Purges `tags`, whatever the version of what they were rendered from.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn bump(&self, tags: &[Tag]) -> Result<(), Unavailable> {
        match &self.part {
            Part::Memory(memory) => {
                memory.bump(tags, &self.generations).await;
                Ok(())
            }
            Part::Remote(remote) => self.counted(remote.bump(tags, &self.generations).await),
        }
    }

    /// Purges each tag if one of its changes is above the version last seen of what changed, and says of each whether it
    /// was. Idempotent: the same purges again change nothing. Tags of one call should differ: their order is not kept. A
    /// tag with more than a thousand changes may be purged several times.
    ///
    /// # Errors
    /// [`Unavailable`] where one did not get through; any of the others may have.
    pub async fn purge(&self, purges: &[Purge]) -> Result<Vec<bool>, Unavailable> {
        let remote = match &self.part {
            Part::Memory(memory) => return Ok(memory.purge(purges, &self.generations).await),
            Part::Remote(remote) => remote,
        };
        let mut done = vec![false; purges.len()];
        for calls in calls(purges) {
            let mut answers = FuturesUnordered::new();
            for (i, versions) in &calls {
                let answer = remote.purge(&purges[*i].tag, versions, &self.generations);
                answers.push(async move { (*i, answer.await) });
            }
            while let Some((i, answer)) = answers.next().await {
                done[i] |= self.counted(answer)?;
            }
        }
        Ok(done)
    }

    /// What the cache did since it was opened.
    pub fn stats(&self) -> Stats {
        Stats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    fn counted<T>(&self, result: Result<T, LinkError>) -> Result<T, Unavailable> {
        result.map_err(|error| {
            self.errors.fetch_add(1, Ordering::Relaxed);
            Unavailable(match error {
                LinkError::Open => "there is no connection to Redis".to_owned(),
                LinkError::TimedOut => "Redis did not answer in time".to_owned(),
                LinkError::Redis(error) => error.to_string(),
            })
        })
    }
}

/// Some versions of the tag of the purge with this number.
type Call<'a> = (usize, Vec<(&'a String, &'a i64)>);

/// The calls that purge, in groups that Redis is asked at once.
fn calls(purges: &[Purge]) -> Vec<Vec<Call<'_>>> {
    let mut groups: Vec<Vec<Call<'_>>> = Vec::new();
    let mut room = 0;
    for (i, purge) in purges.iter().enumerate() {
        let versions: Vec<_> = purge.versions.iter().collect();
        for versions in versions.chunks(VERSIONS_AT_ONCE) {
            let last = groups.last_mut().filter(|calls| calls.len() < PURGES_AT_ONCE && versions.len() <= room);
            if let Some(calls) = last {
                calls.push((i, versions.to_vec()));
            } else {
                room = VERSIONS_AT_ONCE;
                groups.push(vec![(i, versions.to_vec())]);
            }
            room -= versions.len();
        }
    }
    groups
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.part {
            Part::Memory(_) => "memory",
            Part::Remote(_) => "redis",
        };
        f.debug_struct("Cache").field("kind", &kind).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
