//! Looking after a page: is it current, has another replica a newer one, else render it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::compress::encoded;
use super::flights::{Flight, Outcome};
use super::held::{Held, Moment, between, micros};
use super::key::PageKey;
use super::page::{PageError, Rendered, is_kept};
use super::second::{Ask, Noted, Offer, Opened};
use super::{Pages, Render};
use crate::tags::{Generation, Tag};

/// A page that is rendered anew is not asked for more often meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is to be looked after.
pub(super) struct Task {
    pub(super) key: PageKey,
    /// Tags that are known before anything is read.
    pub(super) tags: Vec<Tag>,
    /// The page before.
    pub(super) held: Option<Arc<Held>>,
}

/// The moment as of which something is known, and the last announcement heard by then.
#[derive(Debug, Clone, Copy)]
struct AsOf {
    moment: Moment,
    told: u64,
}

/// Whether the page is there, or has to be rendered, and what was noted for that; nothing while nobody answers.
enum Found {
    Page(Arc<Held>),
    Render(AsOf, Option<Noted>),
}

impl Pages {
    pub(super) async fn fill(self: Arc<Self>, task: Task, render: Render, flight: Flight) {
        let outcome = self.filled(task, render).await;
        flight.lands(outcome);
    }

    async fn filled(&self, task: Task, render: Render) -> Outcome {
        if let Some(held) = &task.held {
            let young = held.is_young(self.timeline.now());
            if self.is_still_current(held).await && young {
                return Ok(Arc::clone(held));
            }
        }
        match self.open(&task).await {
            Found::Page(held) => Ok(held),
            Found::Render(as_of, noted) => {
                let owner = noted.as_ref().map(|noted| noted.owner);
                let (key, held) = (task.key.clone(), task.held.clone());
                let rendering = self.rendered(task, render, as_of, noted);
                let outcome = match &held {
                    Some(held) => self.watched(held, rendering).await,
                    None => rendering.await,
                };
                if outcome.is_err() {
                    self.counters.render_errors.add();
                    if let Some(held) = held {
                        held.rest_until(self.timeline.now().saturating_add(micros(self.config.retry())));
                    }
                    if let Some(owner) = owner {
                        // Otherwise it runs out by itself.
                        let _ = self.second.leave(&key, owner).await;
                    }
                }
                outcome
            }
        }
    }

    fn as_of(&self) -> AsOf {
        AsOf { told: self.told.last(), moment: self.timeline.now() }
    }

    /// Asks whether a page of ours was purged since; of one whose life is over that says nothing.
    async fn is_still_current(&self, held: &Held) -> bool {
        let as_of = self.as_of();
        let alive = held.age(as_of.moment) < held.life;
        let Some(generations) = held.generations.as_ref().filter(|_| alive) else { return false };
        let Ok(now) = self.second.generations(&held.page.tags).await else { return false };
        let same = now.len() == generations.len() && now.iter().zip(generations).all(|(now, then)| *now == Some(*then));
        if same {
            held.seen_current(as_of.moment, as_of.told);
            self.counters.confirmed.add();
        }
        same
    }

    /// Renders the page after `held`, which is seen current meanwhile for as long as nothing of it is purged: one that is only
    /// getting old is served without a wait, however long the next one takes.
    async fn watched(&self, held: &Held, rendering: impl Future<Output = Outcome>) -> Outcome {
        tokio::pin!(rendering);
        let watching = async {
            loop {
                sleep(self.config.trust().max(LOOK_AGAIN)).await;
                if !self.is_still_current(held).await {
                    break;
                }
            }
        };
        tokio::select! {
            biased;
            outcome = &mut rendering => return outcome,
            () = watching => {}
        }
        rendering.await
    }

    /// Takes the page that another replica made, or gets the right to make it.
    async fn open(&self, task: &Task) -> Found {
        let mut ask = Ask { key: task.key.clone(), tags: task.tags.clone(), lease: self.config.lease(), insist: false };
        let began = self.timeline.now();
        loop {
            let as_of = self.as_of();
            match self.second.open(&ask).await {
                Err(_) => return Found::Render(as_of, None),
                Ok(Opened::Granted(noted)) => return Found::Render(as_of, Some(noted)),
                Ok(Opened::Current(found)) => {
                    self.counters.adopted.add();
                    let rendered = as_of.moment.saturating_sub(micros(found.age));
                    let held = Held::new(
                        Arc::new(found.page),
                        Some(found.generations),
                        (found.life, found.hard),
                        rendered,
                        (as_of.moment, as_of.told),
                    );
                    return Found::Page(self.hold(task.key.clone(), task.held.as_deref(), held));
                }
                Ok(Opened::Busy) => {
                    sleep(self.config.lease_poll()).await;
                    ask.insist = between(began, self.timeline.now()) >= self.config.lease();
                }
            }
        }
    }

    async fn rendered(&self, task: Task, render: Render, as_of: AsOf, noted: Option<Noted>) -> Outcome {
        let Task { key, tags, held } = task;
        let turn = timeout(self.config.turn_wait(), self.renders.acquire()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(PageError::Overloaded)?;
        let rendering = AssertUnwindSafe(async move { render().await }).catch_unwind();
        let made = match timeout(self.config.render_timeout(), rendering).await {
            Err(_) => return Err(PageError::TimedOut),
            Ok(Err(_)) => return Err(PageError::Panicked),
            Ok(Ok(made)) => made.map_err(PageError::Failed)?,
        };
        self.counters.renders.add();
        let keeps = self.keeps(&made);
        let missing = super::page::is_missing(made.status);
        let page = Arc::new(self.encode(made).await?);
        drop(turn);
        let (life, hard) = self.config.lives(missing);
        let rendered = as_of.moment;
        if !keeps {
            self.counters.unkept.add();
            if let Some(noted) = noted {
                let _ = self.second.leave(&key, noted.owner).await;
            }
            let known = (as_of.moment, as_of.told);
            return Ok(Arc::new(Held::new(page, None, (Duration::ZERO, Duration::ZERO), rendered, known)));
        }
        let (generations, known) = match noted {
            None => (None, as_of),
            Some(noted) => {
                let kept_as_of = self.as_of();
                let offer = Offer {
                    noted: notes(&page.tags, &tags, &noted),
                    key: key.clone(),
                    page: Arc::clone(&page),
                    position: noted.position,
                    owner: noted.owner,
                    age: between(rendered, kept_as_of.moment),
                    life,
                    hard,
                };
                match self.second.keep(&offer).await {
                    Ok(Some(generations)) => (Some(generations), kept_as_of),
                    Ok(None) => {
                        self.counters.overtaken.add();
                        (None, as_of)
                    }
                    Err(_) => (None, as_of),
                }
            }
        };
        let new = Held::new(page, generations, (life, hard), rendered, (known.moment, known.told));
        Ok(self.hold(key, held.as_deref(), new))
    }

    /// Whether it holds for the next reader, and fits.
    fn keeps(&self, made: &Rendered) -> bool {
        is_kept(made.status) && made.body.len() <= self.config.max_page_bytes && made.tags.len() <= self.config.max_tags
    }

    async fn encode(&self, made: Rendered) -> Result<super::page::Page, PageError> {
        let config = self.config.clone();
        spawn_blocking(move || encoded(made, &config)).await.map_err(|_| PageError::Panicked)
    }

    fn hold(&self, key: PageKey, before: Option<&Held>, held: Held) -> Arc<Held> {
        if let Some(before) = before {
            held.follows(before);
        }
        let held = Arc::new(held);
        self.held.insert(key, Arc::clone(&held));
        held
    }
}

/// For each tag of the page what was noted of it; none where the render found it.
fn notes(of_page: &[Tag], asked: &[Tag], noted: &Noted) -> Vec<Option<Generation>> {
    let find =
        |tag: &Tag| asked.iter().position(|known| known == tag).and_then(|at| noted.generations.get(at).copied());
    of_page.iter().map(find).collect()
}
