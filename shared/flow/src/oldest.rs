//! How old the oldest message of a queue is, also while nobody takes one and says so.

use std::time::Duration;

use crate::beat::Seen;

/// Rates of heartbeats are over some seconds: for so long they may tell of work that is over.
const RATES_LAST: Duration = Duration::from_secs(10);

/// An age, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// The age.
    pub time: Duration,
    /// It may be more: nobody said how old the message was when it was first known to wait.
    pub at_least: bool,
}

/// What is known of the oldest message of one queue.
///
/// A worker says how old a message was that it just took; what waits behind it is about as old. While none is taken that
/// age grows with time: what was not taken waits on. Where no worker ever said anything, the time since messages were first
/// seen to wait is a lower bound. Where messages are handled and none of them is new, as retries come round, it is not
/// known. A worker that ended without a word is believed until its last heartbeat expires, so an age that grows from there
/// may be too low by that.
#[derive(Debug, Clone, Default)]
pub struct Oldest {
    head: Option<Head>,
    /// Messages that waited at the last look.
    before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    /// When it was this old.
    at: Duration,
    age: Age,
    /// Messages that are still there, of those that waited then.
    left: u64,
}

impl Oldest {
    /// The age at `now`, a time since a start that the caller chose: `ready` messages wait, by the word of the broker, which
    /// has so many `consumers`, and this was `seen` of workers. `None` where it is not known: nobody says how many wait, or
    /// somebody takes them without a word.
    pub fn record(&mut self, now: Duration, ready: Option<u64>, consumers: Option<u32>, seen: &Seen) -> Option<Age> {
        let before = std::mem::replace(&mut self.before, ready.unwrap_or(0));
        let taken = seen.oldest.map(|time| Age { time, at_least: false });
        let Some(ready) = ready.filter(|ready| *ready > 0) else {
            self.head = None;
            return taken;
        };
        if let Some(age) = taken {
            self.head = Some(Head { at: now, age, left: ready });
            return taken;
        }
        if consumers != Some(0) && self.may_be_taken(now, seen) {
            self.head = None;
            return None;
        }
        // Where nothing is handled, what leaves the queue is in somebody's hand, and comes back.
        let handled = seen.handled_per_s.is_none_or(|rate| rate > 0.0);
        let gone = if handled { before.saturating_sub(ready) } else { 0 };
        let first_seen = Head { at: now, age: Age { time: Duration::ZERO, at_least: true }, left: ready };
        let head = self.head.map(|head| Head { left: head.left.saturating_sub(gone), ..head });
        let head = head.filter(|head| head.left > 0).unwrap_or(first_seen);
        self.head = Some(head);
        Some(Age { time: head.age.time.saturating_add(now.saturating_sub(head.at)), ..head.age })
    }

    /// Whether somebody takes messages and does not say how old they are.
    fn may_be_taken(&self, now: Duration, seen: &Seen) -> bool {
        let works = seen.handled_per_s.is_none_or(|rate| rate > 0.0);
        // What was just taken is still being handled.
        let just_taken = self.head.is_some_and(|head| !head.age.at_least && now.saturating_sub(head.at) <= RATES_LAST);
        seen.workers == 0 || (works && !just_taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn exactly(seconds: u32) -> Age {
        Age { time: SECOND * seconds, at_least: false }
    }

    fn at_least(seconds: u32) -> Age {
        Age { time: SECOND * seconds, at_least: true }
    }

    /// A worker that took a message which was so old, or none.
    fn worker(oldest: Option<Duration>) -> Seen {
        Seen { workers: 1, handled_per_s: Some(0.0), oldest, ..Seen::default() }
    }

    #[test]
    fn what_a_worker_said_last_grows_while_nothing_is_taken() {
        let mut oldest = Oldest::default();
        let mut look = |second: u32, ready, seen: Seen| oldest.record(SECOND * second, Some(ready), Some(1), &seen);
        assert_eq!(look(1, 900, worker(Some(SECOND * 40))), Some(exactly(40)));
        assert_eq!(look(2, 800, worker(Some(SECOND * 41))), Some(exactly(41)));
        // The database is away: what the worker took ahead is no longer ready, and comes back.
        assert_eq!(look(3, 750, worker(None)), Some(exactly(42)));
        assert_eq!(look(3_602, 90_000, worker(None)), Some(exactly(3_641)));
        // Nor does a worker that ends change it.
        assert_eq!(oldest.record(SECOND * 3_603, Some(90_001), Some(0), &Seen::default()), Some(exactly(3_642)));
    }

    #[test]
    fn where_nobody_ever_said_anything_the_time_since_it_was_seen_is_a_lower_bound() {
        let mut oldest = Oldest::default();
        let mut look = |second: u32, ready| oldest.record(SECOND * second, Some(ready), Some(0), &Seen::default());
        assert_eq!(look(1, 0), None);
        assert_eq!(look(2, 5), Some(at_least(0)));
        assert_eq!(look(62, 9), Some(at_least(60)));
        // Some were taken by hand, of those that were first seen; at last all of them.
        assert_eq!(look(63, 7), Some(at_least(61)));
        assert_eq!(look(64, 4), Some(at_least(0)));
        assert_eq!(look(65, 4), Some(at_least(1)));
        assert_eq!(look(66, 0), None);
        assert_eq!(look(67, 1), Some(at_least(0)));
    }

    #[test]
    fn what_is_handled_though_none_of_it_is_new_has_no_known_age() {
        let mut oldest = Oldest::default();
        let busy = |oldest| Seen { handled_per_s: Some(5.0), ..worker(oldest) };
        assert_eq!(oldest.record(SECOND, Some(5), Some(1), &busy(Some(SECOND * 3))), Some(exactly(3)));
        assert_eq!(
            oldest.record(SECOND * 5, Some(5), Some(1), &busy(None)),
            Some(exactly(7)),
            "it is still at work on that"
        );
        assert_eq!(oldest.record(SECOND * 12, Some(5), Some(1), &busy(None)), None);
        assert_eq!(oldest.record(SECOND * 13, Some(5), Some(1), &worker(None)), Some(at_least(0)));
        assert_eq!(oldest.record(SECOND * 14, Some(5), Some(1), &worker(None)), Some(at_least(1)));
    }

    #[test]
    fn what_somebody_takes_without_a_word_has_no_known_age() {
        let mut oldest = Oldest::default();
        assert_eq!(oldest.record(SECOND, Some(5), Some(1), &worker(Some(SECOND))), Some(exactly(1)));
        assert_eq!(oldest.record(SECOND * 9, Some(5), Some(1), &Seen::default()), None, "it is silent, and may take");
        assert_eq!(oldest.record(SECOND * 10, Some(5), Some(0), &Seen::default()), Some(at_least(0)));
        assert_eq!(oldest.record(SECOND * 11, None, None, &Seen::default()), None, "the broker is away");
        assert_eq!(oldest.record(SECOND * 12, Some(5), Some(0), &Seen::default()), Some(at_least(0)));
    }
}
