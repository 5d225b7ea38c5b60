//! Looking after one page: ask whether it is current, else take it from another replica, else render it. In a task of its
//! own, so that a reader who hangs up stops nothing that others wait for.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::compress;
use super::flights::Outcome;
use super::held::{Held, Moment, between};
use super::key::PageKey;
use super::page::{Page, PageError, Rendered, is_kept};
use super::second::{Ask, Found, Noted, Offer, Opened};
use super::{Pages, RenderError};
use crate::tags::{Generation, Tag};

/// A render that was not begun yet.
pub(crate) type Render = Box<dyn FnOnce() -> BoxFuture<'static, Result<Rendered, RenderError>> + Send>;

/// A page to look after.
pub(crate) struct Job {
    pub(crate) key: PageKey,
    /// What it is known to be rendered from.
    pub(crate) tags: Vec<Tag>,
    /// What is held of it.
    pub(crate) held: Option<Arc<Held>>,
    pub(crate) render: Render,
}

/// The state of things before anything is read: what a page rendered after it can be held against.
struct Before {
    moment: Moment,
    told: u64,
    /// None where the second level could not say.
    noted: Option<Noted>,
    /// What was noted of, in the order of `noted`.
    tags: Vec<Tag>,
}

/// How asking ended.
enum Asked {
    Adopted(Arc<Held>),
    Render(Before),
}

impl Pages {
    pub(crate) async fn fill(&self, job: Job) -> Outcome {
        let Job { key, tags, held, render } = job;
        if let Some(outcome) = self.confirm(held.as_ref()).await {
            return outcome;
        }
        // What the page showed last time it will probably show again: noted before the render, all of it.
        let known: BTreeSet<Tag> = tags.iter().chain(held.iter().flat_map(|held| &held.page.tags)).cloned().collect();
        match self.ask(&key, known.into_iter().collect()).await {
            Asked::Adopted(held) => Outcome::Filled(held),
            Asked::Render(before) => match self.render(&key, tags, before, render).await {
                Ok(rendered) => Outcome::Filled(rendered),
                Err(error) => Outcome::Failed(error),
            },
        }
    }

    /// Whether what is held is current: most often it is, and no body moves.
    async fn confirm(&self, held: Option<&Arc<Held>>) -> Option<Outcome> {
        let held = held?;
        let (now, told) = (self.now(), self.told.last());
        if !held.is_young(now) {
            return None;
        }
        let generations = held.generations.as_ref()?;
        match self.second.generations(&held.page.tags).await {
            Ok(present) if present.iter().flatten().eq(generations) => {
                held.seen_current(now, told);
                self.counters.confirmed.add();
                Some(Outcome::Filled(Arc::clone(held)))
            }
            Ok(_) => None,
            // A call that ran out of time is no reason to render everything; being away for longer is.
            Err(_) if between(held.current(), self.now()) <= self.config.away_trust() && !self.is_named(held) => {
                Some(Outcome::Unsaid(Arc::clone(held)))
            }
            Err(_) => None,
        }
    }

    /// Asks for the page until it is there, or this replica is to render it. Another's lease is waited for as long as a
    /// lease lasts and no longer: it saves renders, and nothing depends on it.
    async fn ask(&self, key: &PageKey, tags: Vec<Tag>) -> Asked {
        let first = self.now();
        let lease = self.config.lease();
        let mut ask = Ask { key: key.clone(), tags, lease, insist: false };
        loop {
            let (moment, told) = (self.now(), self.told.last());
            ask.insist = between(first, moment) >= lease;
            let noted = match self.second.open(&ask).await {
                Ok(Opened::Current(found)) => return Asked::Adopted(self.adopt(key, found, (moment, told))),
                Ok(Opened::Busy) => {
                    sleep(self.config.lease_poll()).await;
                    continue;
                }
                Ok(Opened::Granted(noted)) => Some(noted),
                Err(_) => None,
            };
            return Asked::Render(Before { moment, told, noted, tags: ask.tags });
        }
    }

    fn adopt(&self, key: &PageKey, found: Found, seen: (Moment, u64)) -> Arc<Held> {
        let Found { page, generations, age, life, hard } = found;
        let rendered = seen.0.saturating_sub(super::held::micros(age));
        let held = Held::new(Arc::new(page), Some(generations), (life, hard), rendered, seen);
        self.counters.adopted.add();
        self.hold(key, held)
    }

    async fn render(
        &self,
        key: &PageKey,
        tags: Vec<Tag>,
        before: Before,
        render: Render,
    ) -> Result<Arc<Held>, PageError> {
        let result = self.render_in_turn(tags, render).await;
        match result {
            Ok(page) => {
                self.counters.renders.add();
                Ok(self.settle(key, page, before).await)
            }
            Err(error) => {
                if !matches!(error, PageError::Overloaded) {
                    self.counters.render_errors.add();
                }
                if let Some(noted) = before.noted {
                    // Not given back, it runs out.
                    let _ = self.second.leave(key, noted.owner).await;
                }
                Err(error)
            }
        }
    }

    /// Renders and compresses, within the bounds of both number and time.
    async fn render_in_turn(&self, tags: Vec<Tag>, render: Render) -> Result<Arc<Page>, PageError> {
        let turn = timeout(self.config.turn_wait(), self.renders.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(PageError::Overloaded) };
        let rendering = AssertUnwindSafe(async move { render().await }).catch_unwind();
        let rendered = match timeout(self.config.render_timeout(), rendering).await {
            Err(_) => return Err(PageError::TimedOut),
            Ok(Err(_)) => return Err(PageError::Panicked),
            Ok(Ok(Err(error))) => return Err(PageError::Failed(Arc::from(error))),
            Ok(Ok(Ok(rendered))) => rendered,
        };
        let tags: BTreeSet<Tag> = tags.into_iter().chain(rendered.tags.iter().cloned()).collect();
        Ok(compress::page(rendered, tags.into_iter().collect(), self.effort).await)
    }

    /// Looks a second time. What was purged while the page was rendered may not be in it: then it was current when its
    /// render began, and is never taken for newer.
    async fn settle(&self, key: &PageKey, page: Arc<Page>, before: Before) -> Arc<Held> {
        let lives = self.config.lives(page.is_missing());
        let old = (before.moment, before.told);
        let held = |generations, current| Held::new(Arc::clone(&page), generations, lives, before.moment, current);
        let kept = is_kept(page.status)
            && page.identity.bytes.len() <= self.config.max_page_bytes
            && page.tags.len() <= self.config.max_tags;
        if !kept {
            self.counters.unkept.add();
            if let Some(noted) = &before.noted {
                let _ = self.second.leave(key, noted.owner).await;
            }
            return Arc::new(held(None, old));
        }
        let Some(noted) = &before.noted else { return self.hold(key, held(None, old)) };
        let of_tags = noted_of(&page.tags, &before.tags, &noted.generations);
        let second_look = self.now();
        let offer = Offer {
            key: key.clone(),
            page: Arc::clone(&page),
            noted: of_tags.clone(),
            position: noted.position,
            owner: noted.owner,
            age: between(before.moment, second_look),
            life: lives.0,
            hard: lives.1,
        };
        match self.second.keep(&offer).await {
            Ok(Some(generations)) => self.hold(key, held(Some(generations), (second_look, before.told))),
            Ok(None) => {
                self.counters.overtaken.add();
                self.hold(key, held(None, old))
            }
            // Nobody looked, so it is as old as its render; the generations from before can still be asked for, if they are all.
            Err(_) => self.hold(key, held(of_tags.into_iter().collect(), old)),
        }
    }

    /// Holds it here, unless what is held is newer.
    fn hold(&self, key: &PageKey, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        if let Some(before) = self.level1.peek(key) {
            held.follows(&before);
            if before.current() > held.current() {
                return held;
            }
        }
        self.level1.insert(key.clone(), Arc::clone(&held));
        held
    }

    /// After a render that failed: readers are given what is held without another try for a while.
    pub(crate) fn rest(&self, held: &Held) {
        held.rest_until(self.now() + super::held::micros(self.config.retry()));
    }
}

/// For each of a page's tags, what was noted of it before the render.
fn noted_of(tags: &[Tag], known: &[Tag], generations: &[Generation]) -> Vec<Option<Generation>> {
    let of = |tag: &Tag| known.binary_search(tag).ok().and_then(|index| generations.get(index)).copied();
    tags.iter().map(of).collect()
}

/// A wait that ran out.
pub(crate) async fn within<T>(bound: Duration, wait: impl Future<Output = T>) -> Result<T, PageError> {
    timeout(bound, wait).await.map_err(|_| PageError::TimedOut)
}
