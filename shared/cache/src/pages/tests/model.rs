//! A second level in memory with latencies, that can be away, flushed, and forget tags; shared by several replicas.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::super::key::PageKey;
use super::super::page::Page;
use super::super::second::{Answer, Ask, Found, Noted, Offer, Opened, Second, is_young};
use crate::Unavailable;
use crate::tags::{Generation, Generations, Tag};

struct Kept {
    offer_page: std::sync::Arc<Page>,
    generations: Vec<Generation>,
    rendered: Instant,
    life: Duration,
    hard: Duration,
}

#[derive(Default)]
struct State {
    away: bool,
    tags: HashMap<Tag, Generation>,
    position: Option<Generation>,
    pages: HashMap<PageKey, Kept>,
    leases: HashMap<PageKey, (Generation, Instant)>,
    random: u64,
}

pub(super) struct Model {
    fresh: Generations,
    state: Mutex<State>,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        Self { fresh: Generations::new(), state: Mutex::new(State { random: seed, ..State::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// 0 to `below` - 1, by a linear congruential generator (Knuth's MMIX).
    pub(super) fn chance(&self, below: u64) -> u64 {
        let mut state = self.state();
        state.random = state.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state.random >> 33) % below
    }

    pub(super) fn be_away(&self, away: bool) {
        self.state().away = away;
    }

    pub(super) fn flush(&self) {
        let mut state = self.state();
        *state = State { away: state.away, random: state.random, ..State::default() };
    }

    pub(super) fn evict(&self, tag: &Tag) {
        self.state().tags.remove(tag);
    }

    /// Purges, where it is reached.
    pub(super) fn purge(&self, tag: &Tag) -> bool {
        let mut state = self.state();
        if state.away {
            return false;
        }
        state.position = Some(self.fresh.fresh());
        state.tags.insert(tag.clone(), self.fresh.fresh());
        true
    }

    /// One step, somewhere between the call and its answer.
    async fn step<T>(&self, work: impl FnOnce(&mut State) -> T + Send) -> Result<T, Unavailable> {
        let away = || Unavailable("away".to_owned());
        sleep(Duration::from_millis(self.chance(8))).await;
        let done = {
            let mut state = self.state();
            if state.away {
                return Err(away());
            }
            work(&mut state)
        };
        sleep(Duration::from_millis(self.chance(8))).await;
        // The answer may be lost though the step was done.
        if self.state().away { Err(away()) } else { Ok(done) }
    }
}

impl State {
    fn generation(&mut self, tag: &Tag, fresh: &Generations) -> Generation {
        *self.tags.entry(tag.clone()).or_insert_with(|| fresh.fresh())
    }

    fn open(&mut self, ask: &Ask, fresh: &Generations) -> Opened {
        let now = Instant::now();
        if let Some(kept) = self.pages.get(&ask.key) {
            let age = now - kept.rendered;
            let same =
                kept.offer_page.tags.iter().zip(&kept.generations).all(|(tag, then)| self.tags.get(tag) == Some(then));
            if is_young(age, kept.life) && same {
                let page = &kept.offer_page;
                let page = Page {
                    status: page.status,
                    content_type: page.content_type.clone(),
                    headers: page.headers.clone(),
                    tags: page.tags.clone(),
                    identity: page.identity.clone(),
                    gzip: page.gzip.clone(),
                    brotli: page.brotli.clone(),
                };
                let generations = kept.generations.clone();
                return Opened::Current(Box::new(Found { page, generations, age, life: kept.life, hard: kept.hard }));
            }
        }
        if !ask.insist && self.leases.get(&ask.key).is_some_and(|(_, until)| *until > now) {
            return Opened::Busy;
        }
        let owner = fresh.fresh();
        self.leases.insert(ask.key.clone(), (owner, now + ask.lease));
        let position = *self.position.get_or_insert_with(|| fresh.fresh());
        let generations = ask.tags.iter().map(|tag| self.generation(tag, fresh)).collect();
        Opened::Granted(Noted { owner, position, generations })
    }

    fn keep(&mut self, offer: &Offer, fresh: &Generations) -> Option<Vec<Generation>> {
        self.leave(&offer.key, offer.owner);
        let mut generations = Vec::new();
        for (tag, noted) in offer.page.tags.iter().zip(&offer.noted) {
            match noted {
                Some(noted) if self.tags.get(tag) != Some(noted) => return None,
                None if self.position != Some(offer.position) => return None,
                _ => generations.push(self.generation(tag, fresh)),
            }
        }
        let kept = Kept {
            offer_page: std::sync::Arc::clone(&offer.page),
            generations: generations.clone(),
            rendered: Instant::now() - offer.age,
            life: offer.life,
            hard: offer.hard,
        };
        self.pages.insert(offer.key.clone(), kept);
        Some(generations)
    }

    fn leave(&mut self, key: &PageKey, owner: Generation) {
        if self.leases.get(key).is_some_and(|(holder, _)| *holder == owner) {
            self.leases.remove(key);
        }
    }
}

impl Second for Model {
    fn is_available(&self) -> bool {
        !self.state().away
    }

    fn generations<'a>(&'a self, tags: &'a [Tag]) -> Answer<'a, Vec<Option<Generation>>> {
        self.step(move |state| tags.iter().map(|tag| state.tags.get(tag).copied()).collect()).boxed()
    }

    fn open<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Opened> {
        self.step(move |state| state.open(ask, &self.fresh)).boxed()
    }

    fn keep<'a>(&'a self, offer: &'a Offer) -> Answer<'a, Option<Vec<Generation>>> {
        self.step(move |state| state.keep(offer, &self.fresh)).boxed()
    }

    fn leave<'a>(&'a self, key: &'a PageKey, owner: Generation) -> Answer<'a, ()> {
        self.step(move |state| state.leave(key, owner)).boxed()
    }
}
