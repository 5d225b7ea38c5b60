//! What the broker told of purges. Not required for the bound, which holds if every announcement is lost: it makes changes
//! visible sooner, and while Redis is away at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::tags::Tag;

/// Announcements are numbered as they come. An entry remembers the last that is in it, so that a reader has nothing to look
/// up while nothing is announced.
#[derive(Debug)]
pub(crate) struct Told {
    last: AtomicU64,
    at_most: usize,
    tags: RwLock<Tags>,
}

#[derive(Debug, Default)]
struct Tags {
    /// The number of the last announcement of each tag.
    last: HashMap<Tag, u64>,
    /// Which tags were named up to this one is not known any more.
    forgotten: u64,
}

impl Told {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { last: AtomicU64::new(0), at_most: at_most.max(1), tags: RwLock::default() }
    }

    /// The number of the last announcement.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Hears that `purged` were purged.
    pub(crate) fn hear(&self, purged: &[Tag]) {
        let mut tags = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let number = self.last() + 1;
        if tags.last.len() + purged.len() > self.at_most {
            // Which of them were named is forgotten: all entries are asked for once more, which costs a call each.
            tags.last.clear();
            tags.forgotten = number - 1;
        }
        tags.last.extend(purged.iter().take(self.at_most).map(|tag| (tag.clone(), number)));
        if purged.len() > self.at_most {
            tags.forgotten = number;
        }
        self.last.store(number, Ordering::Release);
    }

    /// Whether one of `tags` was named after announcement `since`.
    pub(crate) fn names(&self, tags: &[Tag], since: u64) -> bool {
        let held = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        since < held.forgotten || tags.iter().any(|tag| held.last.get(tag).is_some_and(|number| *number > since))
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
        told.hear(&[tag("A")]);
        let since = told.last();
        assert!(!told.names(&[tag("A")], since));
        told.hear(&[tag("B")]);
        assert!(!told.names(&[tag("A")], since));
        assert!(told.names(&[tag("A"), tag("B")], since));
        assert!(!told.names(&[tag("B")], told.last()));
    }

    #[test]
    fn what_is_forgotten_counts_as_named() {
        let told = Told::new(2);
        told.hear(&[tag("A")]);
        let since = told.last();
        told.hear(&[tag("B"), tag("C")]);
        assert!(told.names(&[tag("A")], since - 1), "A itself is forgotten");
        assert!(!told.names(&[tag("A")], since));
        told.hear(&[tag("D"), tag("E"), tag("F")]);
        assert!(told.names(&[tag("A")], since), "more than can be remembered");
        assert!(!told.names(&[tag("A")], told.last()));
    }
}
