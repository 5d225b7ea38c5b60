//! Messages that are to be retried or parked, or to get their last chance, while the broker takes no publishes.
//!
//! A retry is a copy, published with confirm. Under a memory alarm, say, no copy can be published, and the broker would
//! put the original back at the head of its queue: it would be handled and fail again at once, as fast as the machine can
//! go. So such deliveries are held until the broker takes publishes again. They sit in the prefetch window, and enough of
//! them would fill it and stop the queue for everyone. So they get a quarter of it; what is beyond that waits a little,
//! during which no new batch is taken, and goes back.

use std::collections::VecDeque;
use std::time::Duration;

use broker::Settle;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::batch::Taken;
use crate::config::Config;

/// A decided delivery whose copy could not be sent.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub(crate) taken: Taken,
    pub(crate) wanted: Wanted,
}

/// What is to become of it.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A retry or a park.
    Settle(Settle),
    /// Its last chance: handled here and now it may take the process down, again and again until the broker takes copies.
    LastChance,
}

/// What is held, oldest first.
#[derive(Debug)]
pub(crate) struct Held<T = Unsent> {
    waiting: VecDeque<(Instant, T)>,
    share: usize,
    give_back_after: Duration,
    hold: Duration,
    poll: Duration,
    next_look: Instant,
}

impl<T> Held<T> {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            share: config.held_share(),
            give_back_after: config.give_back(),
            hold: config.hold(),
            poll: config.held_poll(),
            next_look: now,
        }
    }

    pub(crate) fn add(&mut self, unsent: impl IntoIterator<Item = T>, now: Instant) {
        self.waiting.extend(unsent.into_iter().map(|one| (now, one)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is more than the share: no new batch until that is mended.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.len() > self.share
    }

    /// Ends when it is time to look at them again.
    pub(crate) fn look(&self) -> Sleep {
        sleep_until(self.next_look)
    }

    /// Everything: the broker takes publishes, or the worker stops.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|(_, one)| one).collect()
    }

    /// What goes back to the queue now: the oldest of the surplus once they have waited, and whatever has been held for
    /// too long.
    pub(crate) fn take_back(&mut self, now: Instant) -> Vec<T> {
        self.next_look = now + self.poll;
        let surplus = self.waiting.len().saturating_sub(self.share);
        let limit = |place| if place < surplus { self.give_back_after.min(self.hold) } else { self.hold };
        let waited_enough = |(place, (since, _)): &(usize, &(Instant, T))| now.duration_since(*since) >= limit(*place);
        let count = self.waiting.iter().enumerate().take_while(waited_enough).count();
        self.waiting.drain(..count).map(|(_, one)| one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(now: Instant) -> Held<u32> {
        let config = Config { prefetch: 40, give_back_ms: 1_000, hold_ms: 60_000, ..Config::default() };
        Held::new(&config, now)
    }

    #[test]
    fn a_quarter_of_the_prefetch_is_held_and_the_oldest_beyond_it_go_back_after_a_delay() {
        let start = Instant::now();
        let mut held = held(start);
        held.add(0..10, start);
        assert!(!held.is_over());
        held.add(10..13, start);
        assert!(held.is_over());
        assert!(held.take_back(start + Duration::from_millis(999)).is_empty());
        assert_eq!(held.take_back(start + Duration::from_secs(1)), [0, 1, 2]);
        assert!(!held.is_over());
        assert!(held.take_back(start + Duration::from_secs(59)).is_empty());
    }

    #[test]
    fn nothing_is_held_for_ever() {
        let start = Instant::now();
        let mut held = held(start);
        held.add([1], start);
        held.add([2], start + Duration::from_secs(30));
        assert_eq!(held.take_back(start + Duration::from_mins(1)), [1]);
        assert_eq!(held.take_back(start + Duration::from_secs(90)), [2]);
        assert!(held.is_empty());
    }

    #[test]
    fn when_the_broker_takes_publishes_everything_goes() {
        let start = Instant::now();
        let mut held = held(start);
        held.add(0..30, start);
        assert_eq!(held.take_all().len(), 30);
        assert!(held.is_empty());
    }
}
