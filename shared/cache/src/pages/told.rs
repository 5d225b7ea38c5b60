//! What the broker told of purges. Not required for the bound, which holds if every announcement is lost: it makes the bound a
//! shorter one, and changes visible while Redis is away at all.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::held::Moment;
use crate::tags::Tag;

/// Announcements whose time is remembered. One that is forgotten counts as long ago: readers of what it names wait at once.
const TIMES: usize = 1_024;

/// Announcements are numbered as they come. An entry remembers the last that is in it, so that a reader has nothing to look
/// up while nothing is announced.
#[derive(Debug)]
pub(crate) struct Told {
    last: AtomicU64,
    at_most: usize,
    tags: RwLock<Tags>,
}

#[derive(Debug, Clone, Copy)]
struct Named {
    before: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Tags {
    /// The numbers of the last announcement of each tag and of the one before.
    last: HashMap<Tag, Named>,
    /// Which tags were named up to this one is not known any more.
    forgotten: u64,
    /// When the last of them were heard, without a gap.
    heard: VecDeque<Moment>,
}

impl Told {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { last: AtomicU64::new(0), at_most: at_most.max(1), tags: RwLock::default() }
    }

    /// The number of the last announcement.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Hears at `now` that `purged` were purged.
    pub(crate) fn hear(&self, purged: &[Tag], now: Moment) {
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.last() + 1;
        if tags.last.len() + purged.len() > self.at_most {
            // Which of them were named is forgotten: all entries are asked for once more, which costs a call each.
            tags.last.clear();
            tags.forgotten = number - 1;
        }
        for tag in purged.iter().take(self.at_most) {
            let named = tags.last.entry(tag.clone()).or_insert(Named { before: 0, last: 0 });
            *named = Named { before: named.last, last: number };
        }
        if purged.len() > self.at_most {
            tags.forgotten = number;
        }
        if tags.heard.len() >= TIMES {
            tags.heard.pop_front();
        }
        tags.heard.push_back(now);
        self.last.store(number, Ordering::Release);
    }

    /// Whether one of `tags` was named after announcement `since`: if so, a moment before which it was not.
    pub(crate) fn named(&self, tags: &[Tag], since: u64) -> Option<Moment> {
        let held = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        let last = self.last();
        if since < held.forgotten {
            return Some(held.heard_at(since + 1, last));
        }
        let named = tags.iter().filter_map(|tag| held.last.get(tag).filter(|named| named.last > since));
        // Of three since then, which of the others was the first is not remembered: then none was before the next of any tag.
        let first = named.map(|named| if named.before <= since { named.last } else { since + 1 }).min()?;
        Some(held.heard_at(first, last))
    }
}

impl Tags {
    /// When announcement `number` of `last` in all was heard.
    fn heard_at(&self, number: u64, last: u64) -> Moment {
        let back = usize::try_from((last + 1).saturating_sub(number)).unwrap_or(usize::MAX);
        let at = self.heard.len().checked_sub(back).and_then(|index| self.heard.get(index));
        at.copied().unwrap_or(Moment::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(sku: &str) -> Tag {
        Tag::product(&"eu".parse().unwrap(), &sku.parse().unwrap())
    }

    #[test]
    fn an_announcement_concerns_its_tags_alone_and_what_came_before_it() {
        let told = Told::new(10);
        told.hear(&[tag("A")], 1);
        let since = told.last();
        assert_eq!(told.named(&[tag("A")], since), None);
        told.hear(&[tag("B")], 2);
        assert_eq!(told.named(&[tag("A")], since), None);
        assert_eq!(told.named(&[tag("A"), tag("B")], since), Some(2));
        assert_eq!(told.named(&[tag("B")], told.last()), None);
    }

    #[test]
    fn what_is_named_again_and_again_was_named_at_the_first_time_that_is_not_in_it() {
        let told = Told::new(10);
        told.hear(&[tag("A")], 1);
        let since = told.last();
        for now in 2..6 {
            told.hear(&[tag("A")], now);
        }
        assert_eq!(told.named(&[tag("A")], since), Some(2));
        told.hear(&[tag("B")], 6);
        assert_eq!(told.named(&[tag("B")], since), Some(6), "what others were told does not concern it");
        for now in 7..10_000 {
            told.hear(&[tag("B")], now);
        }
        assert_eq!(told.named(&[tag("A")], since), Some(Moment::MIN), "so long ago that nobody knows when");
        assert_eq!(told.named(&[tag("B")], told.last() - 1), Some(9_999));
    }

    #[test]
    fn what_is_forgotten_counts_as_named() {
        let told = Told::new(2);
        told.hear(&[tag("A")], 1);
        let since = told.last();
        told.hear(&[tag("B"), tag("C")], 2);
        assert_eq!(told.named(&[tag("A")], since - 1), Some(1), "A itself is forgotten");
        assert_eq!(told.named(&[tag("A")], since), None);
        told.hear(&[tag("D"), tag("E"), tag("F")], 3);
        assert_eq!(told.named(&[tag("A")], since), Some(2), "more than can be remembered");
        assert_eq!(told.named(&[tag("A")], told.last()), None);
    }
}
