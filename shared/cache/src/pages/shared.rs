//! The second level over [`Cache`]: Redis, or this process's memory.

use futures::FutureExt as _;

use super::key::PageKey;
use super::second::{Answer, Ask, Noted, Offer, Opened, Second};
use crate::tags::{Generation, Tag};
use crate::{Cache, Part};

impl Second for Cache {
    fn is_available(&self) -> bool {
        Self::is_available(self)
    }

    fn generations<'a>(&'a self, tags: &'a [Tag]) -> Answer<'a, Vec<Option<Generation>>> {
        async move {
            match &self.part {
                Part::Memory(memory) => Ok(memory.held_generations(tags).await),
                Part::Remote(remote) => self.counted(remote.generations(tags).await),
            }
        }
        .boxed()
    }

    fn open<'a>(&'a self, ask: &'a Ask) -> Answer<'a, Opened> {
        async move {
            match &self.part {
                // The first level is all there is, and one render at a time is its own affair.
                Part::Memory(memory) => {
                    let position = memory.position();
                    let mut generations = Vec::with_capacity(ask.tags.len());
                    for tag in &ask.tags {
                        generations.push(memory.generation(tag, &self.generations).await);
                    }
                    Ok(Opened::Granted(Noted { owner: self.generations.fresh(), position, generations }))
                }
                Part::Remote(remote) => self.counted(remote.open_page(ask, &self.generations).await),
            }
        }
        .boxed()
    }

    fn keep<'a>(&'a self, offer: &'a Offer) -> Answer<'a, Option<Vec<Generation>>> {
        async move {
            match &self.part {
                Part::Memory(memory) => {
                    let mut generations = Vec::with_capacity(offer.noted.len());
                    for (tag, noted) in offer.page.tags.iter().zip(&offer.noted) {
                        let now = memory.generation(tag, &self.generations).await;
                        if noted.is_some_and(|noted| noted != now) {
                            return Ok(None);
                        }
                        generations.push(now);
                    }
                    // A purge changes the position before it changes a tag, so what was read above is from before it.
                    let found = offer.noted.iter().any(Option::is_none);
                    Ok((!found || memory.position() == offer.position).then_some(generations))
                }
                Part::Remote(remote) => self.counted(remote.keep_page(offer, &self.generations).await),
            }
        }
        .boxed()
    }

    fn leave<'a>(&'a self, key: &'a PageKey, owner: Generation) -> Answer<'a, ()> {
        async move {
            match &self.part {
                Part::Memory(_) => Ok(()),
                Part::Remote(remote) => self.counted(remote.leave_page(key, owner).await),
            }
        }
        .boxed()
    }
}
