//! When each tag is purged: pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cache::{Purge, Tag};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::change::note;

/// Tells a caller that its purge is done, or why it is not known to be.
pub(crate) type Told = oneshot::Receiver<Result<(), String>>;

/// The tags that wait for their purge, and those that were purged within the last while.
#[derive(Debug)]
pub(crate) struct Slots {
    /// The least time between two purges of a tag, from begin to begin.
    every: Duration,
    tags: HashMap<Tag, Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// When its last purge began.
    last: Option<Instant>,
    /// A purge of it failed, and may have been done all the same: whoever has to be told of it was not.
    owed: bool,
    pending: Option<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    versions: BTreeMap<String, i64>,
    /// Somebody else may have done it, and told nobody.
    owed: bool,
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

/// A purge whose time has come.
#[derive(Debug)]
pub(crate) struct Due {
    /// What to purge.
    pub(crate) purge: Purge,
    /// Whether an earlier purge of this tag may have been done without anybody having been told.
    pub(crate) owed: bool,
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

impl Due {
    /// Tells everyone who waits for it. A caller that is gone has its message delivered again.
    pub(crate) fn tell(self, outcome: &Result<(), String>) {
        for waiting in self.waiting {
            let _ = waiting.send(outcome.clone());
        }
    }
}

impl Slots {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, tags: HashMap::new() }
    }

    /// Asks for a purge: at once if the tag was not purged lately, else together with all that ask until it may be again.
    /// `urgent`: at once whenever it was.
    pub(crate) fn ask(&mut self, purge: Purge, urgent: bool) -> Told {
        let (tell, told) = oneshot::channel();
        let slot = self.tags.entry(purge.tag).or_default();
        if urgent {
            slot.last = None;
        }
        let pending = slot.pending.get_or_insert_default();
        for (aggregate, version) in purge.versions {
            note(&mut pending.versions, aggregate, version);
        }
        pending.waiting.push(tell);
        told
    }

    /// A purge of `tag` that is about to be asked for may have been done by somebody who did not live to tell of it.
    pub(crate) fn owe(&mut self, tag: Tag) {
        self.tags.entry(tag).or_default().pending.get_or_insert_default().owed = true;
    }

    /// The purges whose time has come by `now`, which counts as their begin. Forgets tags that were not purged lately.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let every = self.every;
        let mut due = Vec::new();
        self.tags.retain(|tag, slot| {
            let rests = slot.last.is_some_and(|last| now < last + every);
            if !rests && let Some(Pending { versions, owed, waiting }) = slot.pending.take() {
                slot.last = Some(now);
                due.push(Due { purge: Purge { tag: tag.clone(), versions }, owed: owed || slot.owed, waiting });
                return true;
            }
            rests || slot.owed || slot.pending.is_some()
        });
        due
    }

    /// When the next purge is due; none while nobody asks.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Instant> {
        let pending = self.tags.values().filter(|slot| slot.pending.is_some());
        pending.map(|slot| slot.last.map_or(now, |last| last + self.every)).min()
    }

    /// The purge of `tag` was done, and whoever has to be told of it was.
    pub(crate) fn done(&mut self, tag: &Tag) {
        if let Some(slot) = self.tags.get_mut(tag) {
            slot.owed = false;
        }
    }

    /// The purge of `tag` failed, or is not known to have been done: the next may come at once.
    pub(crate) fn failed(&mut self, tag: &Tag) {
        if let Some(slot) = self.tags.get_mut(tag) {
            slot.owed = true;
            slot.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn purge(sku: &str, version: i64) -> Purge {
        let tag = Tag::product(&"eu".parse().unwrap(), &sku.parse().unwrap());
        Purge { versions: BTreeMap::from([(tag.to_string(), version)]), tag }
    }

    fn due(slots: &mut Slots, now: Instant) -> Vec<(String, i64)> {
        let mut due: Vec<(String, i64)> = slots.take_due(now).into_iter().flat_map(|due| due.purge.versions).collect();
        due.sort();
        due
    }

    #[tokio::test]
    async fn the_first_change_is_purged_at_once_and_those_of_the_next_second_together_after_it() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        let mut told = vec![slots.ask(purge("MUG", 1), false)];
        assert_eq!(slots.next_due(start), Some(start));
        assert_eq!(due(&mut slots, start), [("product:eu:MUG".to_owned(), 1)]);
        for version in [4, 2, 3] {
            told.push(slots.ask(purge("MUG", version), false));
            assert!(due(&mut slots, start + SECOND / 2).is_empty());
        }
        // Another tag does not wait for this one.
        told.push(slots.ask(purge("CUP", 1), false));
        assert_eq!(due(&mut slots, start + SECOND / 2), [("product:eu:CUP".to_owned(), 1)]);
        assert_eq!(slots.next_due(start), Some(start + SECOND));
        assert_eq!(due(&mut slots, start + SECOND), [("product:eu:MUG".to_owned(), 4)]);
        assert_eq!(slots.next_due(start), None);
    }

    #[tokio::test]
    async fn what_is_urgent_does_not_wait_and_takes_along_what_does() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        let _told = slots.ask(purge("MUG", 1), false);
        slots.take_due(start);
        let _told = slots.ask(purge("MUG", 3), false);
        assert!(slots.take_due(start).is_empty());
        let _told = slots.ask(purge("MUG", 2), true);
        assert_eq!(due(&mut slots, start), [("product:eu:MUG".to_owned(), 3)]);
    }

    #[tokio::test]
    async fn everyone_is_told_and_nobody_before_the_purge_that_holds_his_change() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        let mut first = slots.ask(purge("MUG", 1), false);
        let taken = slots.take_due(start);
        let mut second = slots.ask(purge("MUG", 2), false);
        for due in taken {
            due.tell(&Ok(()));
        }
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert!(second.try_recv().is_err(), "it came while the first purge was under way");
        for due in slots.take_due(start + SECOND) {
            due.tell(&Err("away".to_owned()));
        }
        assert_eq!(second.try_recv(), Ok(Err("away".to_owned())));
    }

    #[tokio::test]
    async fn what_somebody_else_may_have_purged_is_owed_once() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        slots.owe(purge("MUG", 1).tag);
        let _told = slots.ask(purge("MUG", 1), false);
        assert!(slots.take_due(start)[0].owed);
        slots.done(&purge("MUG", 1).tag);
        let _told = slots.ask(purge("MUG", 2), false);
        assert!(!slots.take_due(start + SECOND)[0].owed);
    }

    #[tokio::test]
    async fn a_failed_purge_is_owed_until_one_is_done_and_is_tried_again_without_waiting() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        let _told = slots.ask(purge("MUG", 1), false);
        let [due] = &slots.take_due(start)[..] else { panic!() };
        let tag = due.purge.tag.clone();
        slots.failed(&tag);
        let _told = slots.ask(purge("MUG", 1), false);
        let again = slots.take_due(start);
        assert!(again[0].owed);
        slots.done(&tag);
        let _told = slots.ask(purge("MUG", 2), false);
        assert!(!slots.take_due(start + SECOND)[0].owed);
    }

    #[tokio::test]
    async fn only_tags_of_the_last_second_are_remembered() {
        let (mut slots, start) = (Slots::new(SECOND), Instant::now());
        for n in 0..1_000_u32 {
            let _told = slots.ask(purge(&n.to_string(), 1), false);
        }
        assert_eq!(slots.take_due(start).len(), 1_000);
        slots.take_due(start + SECOND);
        assert_eq!(slots.tags.len(), 0);
    }
}
