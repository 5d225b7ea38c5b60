//! What a CDN has yet to be told, and when: pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cache::Tag;
use tokio::time::Instant;

/// Tags by the time at which they are to be purged; each is there once, whatever happened to it. Bounded: where one more tag
/// would be too many, the one that all pages have takes the place of all.
#[derive(Debug)]
pub(super) struct Schedule {
    after: Duration,
    again: Option<Duration>,
    at_most: usize,
    tags: HashMap<Tag, (Instant, Round)>,
    order: BTreeSet<(Instant, Tag)>,
}

/// Which purge of a change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// The first.
    First,
    /// The second, for what the CDN fetched in between from a process that had not heard.
    Again,
}

/// How much one request may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Tags.
    pub(super) tags: usize,
    /// Bytes of their texts, each with a separator.
    pub(super) bytes: usize,
}

/// Tags on their way, and since when each was due.
pub(super) type Taken = Vec<(Tag, Round, Instant)>;

impl Schedule {
    pub(super) fn new(after: Duration, again: Option<Duration>, at_most: usize) -> Self {
        Self { after, again, at_most: at_most.max(1), tags: HashMap::new(), order: BTreeSet::new() }
    }

    /// The tag was purged, and the CDN does not know yet.
    pub(super) fn add(&mut self, tag: &Tag, now: Instant) {
        self.put(tag.clone(), now + self.after, Round::First);
    }

    /// All pages are to be purged.
    pub(super) fn add_everything(&mut self, now: Instant) {
        self.tags.clear();
        self.order.clear();
        self.insert(Tag::everything(), now, Round::First);
    }

    fn put(&mut self, tag: Tag, at: Instant, round: Round) {
        if self.owes(&Tag::everything()) || self.owes(&tag) {
            return;
        }
        if !self.tags.contains_key(&tag) && self.tags.len() >= self.at_most {
            // As soon as the first of those that it takes the place of.
            self.add_everything(self.next_due().map_or(at, |first| first.min(at)));
            return;
        }
        self.insert(tag, at, round);
    }

    /// Whether the first purge of a change of `tag` is to come: then it is one of this change as well.
    fn owes(&self, tag: &Tag) -> bool {
        self.tags.get(tag).is_some_and(|(_, round)| *round == Round::First)
    }

    fn insert(&mut self, tag: Tag, at: Instant, round: Round) {
        if let Some((before, _)) = self.tags.insert(tag.clone(), (at, round)) {
            self.order.remove(&(before, tag.clone()));
        }
        self.order.insert((at, tag));
    }

    /// When something is due; none while nothing is to come.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// What is due by `now`, as much as one request takes; those first that were due first.
    pub(super) fn take(&mut self, now: Instant, limits: Limits) -> Taken {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some((at, tag)) = self.order.first() {
            bytes += tag.in_header().len() + 1;
            if *at > now || taken.len() >= limits.tags || (bytes > limits.bytes && !taken.is_empty()) {
                break;
            }
            if let Some((at, tag)) = self.order.pop_first()
                && let Some((_, round)) = self.tags.remove(&tag)
            {
                taken.push((tag, round, at));
            }
        }
        taken
    }

    /// The CDN has purged what was taken. What was purged for the first time is once more later, unless it has changed since.
    pub(super) fn done(&mut self, taken: Taken, now: Instant) {
        let Some(again) = self.again else { return };
        for (tag, round, _) in taken {
            if round == Round::First && !self.tags.contains_key(&tag) {
                self.put(tag, now + again, Round::Again);
            }
        }
    }

    /// The CDN is not known to have purged what was taken: it is due still, for as long as it was.
    pub(super) fn failed(&mut self, taken: Taken) {
        let everything = |(tag, round, _): &&(Tag, Round, Instant)| *tag == Tag::everything() && *round == Round::First;
        if let Some((_, _, at)) = taken.iter().find(everything) {
            self.add_everything(*at);
            return;
        }
        for (tag, round, at) in taken {
            self.put(tag, at, round);
        }
    }

    /// How many tags wait.
    pub(super) fn len(&self) -> usize {
        self.tags.len()
    }

    /// How long ago the first of those was due that wait for their first purge.
    pub(super) fn overdue(&self, now: Instant) -> Duration {
        let first = self.order.iter().find(|(_, tag)| self.owes(tag));
        first.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_millis(50);
    const AGAIN: Duration = Duration::from_secs(2);
    const MANY: Limits = Limits { tags: 100, bytes: 10_000 };

    fn tag(n: u32) -> Tag {
        Tag::product(&"eu".parse().unwrap(), &n.to_string().parse().unwrap())
    }

    fn schedule(at_most: usize) -> (Schedule, Instant) {
        (Schedule::new(AFTER, Some(AGAIN), at_most), Instant::now())
    }

    #[tokio::test]
    async fn a_tag_waits_once_however_often_it_changes_and_is_purged_twice() {
        let (mut schedule, start) = schedule(10);
        for _ in 0..5 {
            schedule.add(&tag(1), start);
        }
        assert!(schedule.take(start, MANY).is_empty(), "nobody may have heard yet");
        let taken = schedule.take(start + AFTER, MANY);
        assert_eq!(taken, [(tag(1), Round::First, start + AFTER)]);
        schedule.done(taken, start + AFTER);
        assert!(schedule.take(start + AGAIN, MANY).is_empty());
        let taken = schedule.take(start + AFTER + AGAIN, MANY);
        assert_eq!(taken, [(tag(1), Round::Again, start + AFTER + AGAIN)]);
        schedule.done(taken, start + AFTER + AGAIN);
        assert_eq!((schedule.len(), schedule.next_due()), (0, None));
    }

    #[tokio::test]
    async fn a_change_between_the_two_purges_takes_the_place_of_the_second() {
        let (mut schedule, start) = schedule(10);
        schedule.add(&tag(1), start);
        let taken = schedule.take(start + AFTER, MANY);
        schedule.done(taken, start + AFTER);
        schedule.add(&tag(1), start + AFTER);
        assert_eq!(schedule.next_due(), Some(start + AFTER * 2));
        // And one that comes while the request is under way is not covered by it.
        let taken = schedule.take(start + AFTER * 2, MANY);
        schedule.add(&tag(1), start + AFTER * 2);
        schedule.done(taken, start + AFTER * 2);
        assert_eq!(schedule.take(start + AFTER * 3, MANY), [(tag(1), Round::First, start + AFTER * 3)]);
    }

    #[tokio::test]
    async fn too_many_tags_become_one_purge_of_everything_which_covers_what_follows() {
        let (mut schedule, start) = schedule(3);
        for n in 0..1_000 {
            schedule.add(&tag(n), start);
        }
        let taken = schedule.take(start + AFTER, MANY);
        let everything = [(Tag::everything(), Round::First, start + AFTER)];
        assert_eq!(taken, everything);
        schedule.add(&tag(1), start);
        schedule.failed(taken);
        assert_eq!(schedule.take(start + AFTER, MANY), everything, "it covers the tag that came");
        assert_eq!(schedule.len(), 0);
    }

    #[tokio::test]
    async fn second_purges_that_are_too_many_put_no_first_one_off() {
        let (mut schedule, start) = schedule(3);
        for n in 0..3 {
            schedule.add(&tag(n), start);
        }
        let taken = schedule.take(start + AFTER, MANY);
        schedule.add(&tag(7), start + AFTER);
        schedule.done(taken, start + AFTER);
        assert_eq!(schedule.take(start + AFTER * 2, MANY), [(Tag::everything(), Round::First, start + AFTER * 2)]);
    }

    #[tokio::test]
    async fn however_often_it_failed_a_change_is_overdue_since_it_was_due() {
        let (mut schedule, start) = schedule(100);
        schedule.add(&tag(1), start);
        for minutes in 1..=3 {
            let now = start + AFTER + Duration::from_mins(minutes);
            let taken = schedule.take(now, MANY);
            schedule.failed(taken);
            assert_eq!(schedule.overdue(now), Duration::from_mins(minutes));
        }
    }

    #[tokio::test]
    async fn what_failed_is_due_at_once_and_a_request_takes_what_fits() {
        let (mut schedule, start) = schedule(100);
        for n in 0..10 {
            schedule.add(&tag(n), start + Duration::from_millis(n.into()));
        }
        let now = start + AFTER * 2;
        let taken = schedule.take(now, Limits { tags: 3, bytes: 10_000 });
        assert_eq!(taken.iter().map(|(tag, ..)| tag.clone()).collect::<Vec<_>>(), [tag(0), tag(1), tag(2)]);
        assert!(schedule.overdue(now) > Duration::ZERO);
        schedule.failed(taken);
        assert_eq!(schedule.len(), 10);
        // "product:eu:0" and a separator are 13 bytes.
        assert_eq!(schedule.take(now, Limits { tags: 100, bytes: 40 }).len(), 3);
        assert_eq!(schedule.take(now, Limits { tags: 100, bytes: 1 }).len(), 1, "one that is longer goes by itself");
    }
}
