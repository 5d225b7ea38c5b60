//! Messages that take the process down with them: an abort, a stack overflow, memory without end. No code of the
//! process runs when that happens, so the only witness is the broker's count of deliveries.
//!
//! The count is a poor witness: a killed process brings back *everything* that was prefetched on its connection, and so
//! does a connection that breaks. So nothing is held against a message at first. After `alone_after` redeliveries it is a
//! *suspect* and is handled alone, while the worker does nothing else; an innocent one passes here and is gone. After
//! `park_after_crashes` more it is parked before it runs, **but at most one in a process's life**: what was queued behind
//! the culprit was brought back as often, and a queue hands out in order, so the first that is due is most likely it. If
//! it was not, or if there are several, the culprit runs again, the process dies once more, and the next life parks it.
//! So one culprit costs at most `alone_after + park_after_crashes` restarts, and k culprits k − 1 more.
//!
//! What this process gave back itself (a stop, an outage, a copy that was not confirmed) it remembers and takes off the
//! count: it is alive, so that message did not kill it. While the database is away nobody is parked at all.
//!
//! A broker that does not count deliveries says 0, and nothing is ever suspected. The broker's own delivery limit is the
//! backstop there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::MessageId;

use crate::config::Config;

/// How a delivery is to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// In a batch, like any other.
    Together,
    /// On its own, with nothing beside it.
    Alone,
    /// Not at all: parked.
    Park,
}

/// What one worker knows of redelivered messages.
#[derive(Debug)]
pub(crate) struct Suspects {
    alone_after: u32,
    park_after: u32,
    remembered: usize,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// How often this process itself gave a message back.
    given_back: HashMap<MessageId, u32>,
    /// No suspect is parked any more.
    parks_no_more: bool,
}

impl Suspects {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            alone_after: config.alone_after,
            park_after: config.alone_after.saturating_add(config.park_after_crashes),
            remembered: config.remembered_redeliveries,
            memory: Mutex::default(),
        }
    }

    /// How to handle a message that the broker had handed out `redeliveries` times before. [`Care::Park`] is said once,
    /// and only where the database `answers`: an outage makes redeliveries too, and parking has time.
    pub(crate) fn care(&self, id: &MessageId, redeliveries: u32, answers: bool) -> Care {
        if redeliveries < self.alone_after {
            return Care::Together;
        }
        self.with(|memory| {
            let ours = memory.given_back.get(id).copied().unwrap_or(0);
            let unexplained = redeliveries.saturating_sub(ours);
            if unexplained < self.alone_after {
                Care::Together
            } else if unexplained < self.park_after || memory.parks_no_more || !answers {
                Care::Alone
            } else {
                memory.parks_no_more = true;
                Care::Park
            }
        })
    }

    /// This process put the message back, and lives.
    pub(crate) fn gave_back(&self, id: &MessageId) {
        self.with(|memory| {
            if memory.given_back.len() >= self.remembered {
                // What is forgotten looks like the work of a crash from now on. So this process parks nobody any more:
                // suspects run alone, and one that is guilty leaves the verdict to the next life.
                memory.given_back.clear();
                memory.parks_no_more = true;
            }
            *memory.given_back.entry(id.clone()).or_default() += 1;
        });
    }

    /// The message is settled for good.
    pub(crate) fn forget(&self, id: &MessageId) {
        self.with(|memory| {
            if !memory.given_back.is_empty() {
                memory.given_back.remove(id);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Memory) -> T) -> T {
        // No code under this lock can panic half-way through a change.
        work(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn suspects() -> Suspects {
        Suspects::new(&Config::default())
    }

    fn id(number: usize) -> MessageId {
        format!("m-{number}").parse().unwrap()
    }

    #[test]
    fn a_message_is_trusted_then_handled_alone_then_parked_before_it_runs() {
        let cares: Vec<_> = (0..8).map(|redeliveries| suspects().care(&id(1), redeliveries, true)).collect();
        let (together, alone, park) = (Care::Together, Care::Alone, Care::Park);
        assert_eq!(cares, [together, together, together, alone, alone, alone, park, park]);
    }

    #[test]
    fn a_process_parks_one_suspect_in_its_life_and_gives_the_others_the_benefit_of_the_doubt() {
        let suspects = suspects();
        let cares: Vec<_> = (0..4).map(|number| suspects.care(&id(number), 9, true)).collect();
        assert_eq!(cares, [Care::Park, Care::Alone, Care::Alone, Care::Alone]);
    }

    #[test]
    fn what_the_process_gave_back_itself_is_not_held_against_the_message() {
        let suspects = suspects();
        for redeliveries in 0..50 {
            assert_eq!(suspects.care(&id(1), redeliveries, true), Care::Together);
            suspects.gave_back(&id(1));
        }
        assert_eq!(suspects.care(&id(2), 50, true), Care::Park, "another message has no such excuse");
    }

    #[test]
    fn nobody_is_parked_while_the_database_is_away() {
        let suspects = suspects();
        assert_eq!(suspects.care(&id(1), 9, false), Care::Alone);
        assert_eq!(suspects.care(&id(1), 9, true), Care::Park);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let suspects = Suspects::new(&Config { remembered_redeliveries: 3, ..Config::default() });
        for number in 0..100 {
            suspects.gave_back(&id(number));
            assert!(suspects.with(|memory| memory.given_back.len()) <= 3);
        }
        assert_eq!(suspects.care(&id(0), 100, true), Care::Alone, "what was forgotten is not held against it");
        suspects.forget(&id(99));
        assert!(!suspects.with(|memory| memory.given_back.contains_key(&id(99))));
    }

    proptest! {
        /// Lives of a process that takes everything in order, each ended by the first culprit that runs.
        #[test]
        fn every_culprit_is_parked_after_a_bounded_number_of_crashes_and_every_innocent_is_handled_or_parked(
            culprits in prop::collection::vec(prop::bool::weighted(0.1), 1..40),
        ) {
            let mut queue: Vec<(usize, u32)> = (0..culprits.len()).map(|number| (number, 0)).collect();
            let (mut crashes, mut parked, mut handled) = (0_usize, Vec::new(), Vec::new());
            while !queue.is_empty() {
                let suspects = suspects();
                let mut crashed_at = None;
                for (place, (number, redeliveries)) in queue.iter().enumerate() {
                    match suspects.care(&id(*number), *redeliveries, true) {
                        Care::Park => parked.push(*number),
                        Care::Together | Care::Alone if culprits[*number] => {
                            crashed_at = Some(place);
                            break;
                        }
                        Care::Together | Care::Alone => handled.push(*number),
                    }
                }
                let Some(place) = crashed_at else { break };
                crashes += 1;
                // The crash brings back it and all behind it.
                queue = queue.split_off(place).into_iter().map(|(number, count)| (number, count + 1)).collect();
            }
            let guilty: Vec<_> = (0..culprits.len()).filter(|number| culprits[*number]).collect();
            prop_assert_eq!(&parked, &guilty, "in order of delivery no innocent is parked");
            prop_assert_eq!(handled.len() + parked.len(), culprits.len());
            prop_assert!(crashes <= if guilty.is_empty() { 0 } else { 6 + guilty.len() - 1 }, "{} crashes", crashes);
        }
    }
}
