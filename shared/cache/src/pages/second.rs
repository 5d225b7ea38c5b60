//! What replicas share of pages, and what of it a page needs: generations, pages, leases.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::key::PageKey;
use super::page::Page;
use crate::Unavailable;
use crate::tags::{Generation, Tag};

/// An answer, or that there is none. Every call is bounded by the part that answers.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, Unavailable>>;

/// The second level. [`crate::Cache`] is it, over Redis or over this process's memory, and a model of it in tests.
pub(crate) trait Second: Send + Sync + 'static {
    /// Whether a call would be tried.
    fn is_available(&self) -> bool;

    /// What the tags' generations are now; none for a tag that is missing, which counts as just purged.
    fn generations<'a>(&'a self, tags: &'a [Tag]) -> Answer<'a, Vec<Option<Generation>>>;

    /// The page if it is kept and current, else the right to render it. One step: what is noted was true when nobody else
    /// held the lease.
    fn open<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Opened>;

    /// Keeps a page if nothing that it was rendered from was purged since `noted`, as one step, and says its generations;
    /// none where it was not kept. Gives the lease back either way.
    fn keep<'a>(&'a self, offer: &'a Offer) -> Answer<'a, Option<Vec<Generation>>>;

    /// Gives a lease back without a page. One that is not given back runs out.
    fn leave<'a>(&'a self, key: &'a PageKey, owner: Generation) -> Answer<'a, ()>;
}

/// Asking for a page.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) key: PageKey,
    /// What the page is rendered from, as far as it is known: noted where the answer is [`Opened::Granted`].
    pub(crate) tags: Vec<Tag>,
    /// How long the right to render lasts.
    pub(crate) lease: Duration,
    /// To render even if another replica holds the lease: it had its time.
    pub(crate) insist: bool,
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It is kept, young enough, and every tag has the generation it was kept with.
    Current(Box<Found>),
    /// Another replica renders it.
    Busy,
    /// Render it.
    Granted(Noted),
}

/// A page that another replica rendered.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) page: Page,
    /// Of the page's tags, in their order.
    pub(crate) generations: Vec<Generation>,
    /// Time since its render began.
    pub(crate) age: Duration,
    pub(crate) life: Duration,
    pub(crate) hard: Duration,
}

/// The state of purges before a render reads anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Whose lease it is.
    pub(crate) owner: Generation,
    /// What every purge of any tag changes.
    pub(crate) position: Generation,
    /// Of the tags that were asked with, in their order.
    pub(crate) generations: Vec<Generation>,
}

/// A page to keep.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) key: PageKey,
    pub(crate) page: Arc<Page>,
    /// For each of the page's tags what was noted of it; none where the render found it.
    pub(crate) noted: Vec<Option<Generation>>,
    pub(crate) position: Generation,
    pub(crate) owner: Generation,
    /// Time since its render began.
    pub(crate) age: Duration,
    pub(crate) life: Duration,
    pub(crate) hard: Duration,
}

impl Offer {
    /// How much longer it is kept.
    pub(crate) fn remaining(&self) -> Duration {
        self.hard.saturating_sub(self.age)
    }
}

/// Whether a page of this age is young enough to be taken for new: the last quarter of a life is for rendering the next one
/// while this is still served.
pub(crate) fn is_young(age: Duration, life: Duration) -> bool {
    age * 4 < life * 3
}
