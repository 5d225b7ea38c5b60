//! Messages that take the process down with them: an abort, a stack overflow, memory without end. No code of the
//! process runs when that happens, so the only witness is the broker's count of deliveries.
//!
//! The count is a poor witness: a killed process brings back *everything* that was prefetched on its connection, and so
//! do a connection that breaks and a stop, again and again in a long outage. So nothing is held against a message at first.
//! After `alone_after` redeliveries it is a *suspect* and is handled apart, while the worker does nothing else, with few other
//! suspects beside it: an innocent one passes here and is gone. Each redelivery makes the company smaller, an eighth of what it
//! was, and the last of `park_after_crashes` runs alone. So hundreds of neighbours are through in some calls, and yet whatever
//! stood before the culprit is settled when it dies alone, and the culprit comes back first in line.
//!
//! After `park_after_crashes` more it is *due*, and gets a **last chance**: it goes back as a fresh copy that says so
//! ([`model::headers::SUSPICION`]), whose deliveries the broker counts anew. Whatever brought it back before, outages and
//! restarts included, is settled with that: it runs alone once more, in a shop whose database answers. Only one that comes back
//! from there is parked before it runs again.
//!
//! **A process decides about one message in its life**, a last chance or a park: what was queued behind the culprit was
//! brought back as often, and a queue hands out in order, so the first that is due is most likely it. The others begin again:
//! they run in company, and are due after `park_after_crashes` more. If there are several culprits, the next one is found so; a
//! message that comes back from its last chance behind such a one runs alone once more, as it may have come back with it.
//! One culprit costs at most `alone_after + park_after_crashes + 1` crashes, and each further one `park_after_crashes + 1`.
//!
//! What this process gave back itself (a stop, an outage, a copy that was not confirmed) it remembers and takes off the
//! count: it is alive, so that message did not kill it. One that has its last chance behind it goes back as a copy, for those to
//! know who remember nothing. A process whose connection broke parks nobody any more: what came back may have come back from
//! there. And nobody is decided about before the database has answered a question: a process that has just begun knows
//! nothing of an outage, and a message that can't be tried can't show that it is innocent.
//!
//! What is left: a message that got its last chance, waits in the hand of a process that is killed for another reason, and
//! meets a third that is the first to look at it. It is parked, which loses nothing.
//!
//! A broker that does not count deliveries says 0, and nothing is ever suspected. The broker's own delivery limit is the
//! backstop there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::MessageId;

use crate::config::Config;

/// By how much each redelivery makes the company of a suspect smaller: two steps from a batch of the default 128 to one message.
const SHRINK: usize = 8;

/// How a delivery is to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// In a batch, like any other.
    Together,
    /// With at most so many suspects in one call, itself included, and nothing else beside it.
    Apart(usize),
    /// Not now: it goes back as a copy that says how much is held against it, and has its last chance.
    LastChance,
    /// Not at all: parked.
    Park,
}

/// What speaks against a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) id: &'a MessageId,
    /// How often the broker had handed it out before.
    pub(crate) redeliveries: u32,
    /// What it says of itself, above 0 where it has had its last chance.
    pub(crate) suspicion: u32,
}

impl Record<'_> {
    /// All that anybody counted.
    pub(crate) fn total(&self) -> u32 {
        self.suspicion.saturating_add(self.redeliveries)
    }
}

/// What one worker knows of redelivered messages.
#[derive(Debug)]
pub(crate) struct Suspects {
    alone_after: u32,
    park_after_crashes: u32,
    park_after: u32,
    remembered: usize,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// How often this process itself gave a message back.
    given_back: HashMap<MessageId, u32>,
    /// No suspect is given a last chance or parked any more.
    decides_no_more: bool,
    /// One was passed over that is due as often: it may be why others came back from their last chance.
    passed_over: bool,
}

impl Memory {
    fn unexplained(&self, record: &Record<'_>) -> u32 {
        let ours = self.given_back.get(record.id).copied().unwrap_or(0);
        record.suspicion.saturating_add(record.redeliveries.saturating_sub(ours))
    }
}

impl Suspects {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            alone_after: config.alone_after,
            park_after_crashes: config.park_after_crashes,
            park_after: config.alone_after.saturating_add(config.park_after_crashes),
            remembered: config.remembered_redeliveries,
            memory: Mutex::default(),
        }
    }

    /// What a message says of itself that goes back for its last chance: one redelivery more, and it is due again.
    pub(crate) fn last_chance(&self) -> u32 {
        self.park_after.saturating_sub(1).max(1)
    }

    /// Whether this process would decide about the message, if the database answers.
    pub(crate) fn may_decide_about(&self, record: &Record<'_>) -> bool {
        record.total() >= self.park_after
            && self.with(|memory| !memory.decides_no_more && self.is_due(record, memory.unexplained(record)))
    }

    /// Whether it came back from running alone, as far as one can tell, and often enough.
    fn is_due(&self, record: &Record<'_>, unexplained: u32) -> bool {
        unexplained >= self.park_after && (record.suspicion > 0 || self.step(unexplained) == 0)
    }

    /// How far a suspect is on its way from a large company to none.
    fn step(&self, unexplained: u32) -> u32 {
        unexplained.saturating_sub(self.alone_after) % self.park_after_crashes.max(1)
    }

    fn company(&self, record: &Record<'_>, unexplained: u32) -> usize {
        if record.suspicion > 0 {
            return 1;
        }
        let steps_left = self.park_after_crashes.saturating_sub(1).saturating_sub(self.step(unexplained));
        SHRINK.saturating_pow(steps_left)
    }

    /// How to handle a message with this record. [`Care::LastChance`] or [`Care::Park`] is said once, and only where the
    /// database `answers`: an outage makes redeliveries too, and parking has time.
    pub(crate) fn care(&self, record: &Record<'_>, answers: bool) -> Care {
        if record.total() < self.alone_after {
            return Care::Together;
        }
        self.with(|memory| {
            let unexplained = memory.unexplained(record);
            if unexplained < self.alone_after {
                Care::Together
            } else if answers && !memory.decides_no_more && self.is_due(record, unexplained) {
                if record.suspicion > 0 && memory.passed_over {
                    return Care::Apart(1);
                }
                memory.decides_no_more = true;
                if record.suspicion == 0 { Care::LastChance } else { Care::Park }
            } else {
                memory.passed_over |= record.suspicion == 0 && unexplained >= self.park_after;
                Care::Apart(self.company(record, unexplained))
            }
        })
    }

    /// This process put the message back, and lives.
    pub(crate) fn gave_back(&self, id: &MessageId) {
        self.with(|memory| {
            if memory.given_back.len() >= self.remembered {
                // What is forgotten looks like the work of a crash from now on. So this process decides about nobody any
                // more: suspects run apart, and one that is guilty leaves the verdict to the next life.
                memory.given_back.clear();
                memory.decides_no_more = true;
            }
            *memory.given_back.entry(id.clone()).or_default() += 1;
        });
    }

    /// A connection broke under deliveries: they come again, and nobody knows which.
    pub(crate) fn lost_hold(&self) {
        self.with(|memory| memory.decides_no_more = true);
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

    fn care(suspects: &Suspects, number: usize, redeliveries: u32, suspicion: u32, answers: bool) -> Care {
        suspects.care(&Record { id: &id(number), redeliveries, suspicion }, answers)
    }

    #[test]
    fn a_message_is_trusted_then_handled_in_ever_smaller_company_then_given_a_last_chance() {
        let cares: Vec<_> = (0..8).map(|redeliveries| care(&suspects(), 1, redeliveries, 0, true)).collect();
        let together = Care::Together;
        let apart = [Care::Apart(64), Care::Apart(8), Care::Apart(1)];
        assert_eq!(cares[..6], [[together; 3], apart].concat());
        assert_eq!(cares[6..], [Care::LastChance, Care::Apart(8)], "who was passed over comes up again");
        assert_eq!(care(&suspects(), 1, 9, 0, true), Care::LastChance);
    }

    #[test]
    fn one_that_comes_back_from_its_last_chance_is_parked_before_it_runs() {
        let carried = suspects().last_chance();
        assert_eq!(care(&suspects(), 1, 0, carried, true), Care::Apart(1), "it has it");
        assert_eq!(care(&suspects(), 1, 1, carried, true), Care::Park);
        assert_eq!(care(&suspects(), 1, 2, carried, true), Care::Park, "it may have been passed over");
    }

    #[test]
    fn one_that_comes_back_from_its_last_chance_behind_another_suspect_is_not_parked_for_it() {
        let (suspects, carried) = (suspects(), suspects().last_chance());
        assert_eq!(care(&suspects, 1, 7, 0, true), Care::Apart(8), "it was passed over, and its step is not the last");
        assert_eq!(care(&suspects, 2, 1, carried, true), Care::Apart(1));
    }

    #[test]
    fn a_process_decides_about_one_suspect_in_its_life_and_gives_the_others_the_benefit_of_the_doubt() {
        let suspects = suspects();
        let cares: Vec<_> = (0..4).map(|number| care(&suspects, number, 6, 0, true)).collect();
        assert_eq!(cares, [Care::LastChance, Care::Apart(64), Care::Apart(64), Care::Apart(64)]);
        assert_eq!(care(&suspects, 5, 9, 5, true), Care::Apart(1), "one that had its last chance has no company");
    }

    #[test]
    fn what_the_process_gave_back_itself_is_not_held_against_the_message() {
        let suspects = suspects();
        for redeliveries in 0..51 {
            assert_eq!(care(&suspects, 1, redeliveries, 0, true), Care::Together);
            suspects.gave_back(&id(1));
        }
        assert_eq!(care(&suspects, 2, 51, 0, true), Care::LastChance, "another message has no such excuse");
    }

    #[test]
    fn nobody_is_decided_about_while_the_database_is_away_or_after_a_connection_broke() {
        let suspects = suspects();
        assert_eq!(care(&suspects, 1, 9, 5, false), Care::Apart(1));
        suspects.lost_hold();
        assert!(!suspects.may_decide_about(&Record { id: &id(1), redeliveries: 9, suspicion: 5 }));
        assert_eq!(care(&suspects, 1, 9, 5, true), Care::Apart(1));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let suspects = Suspects::new(&Config { remembered_redeliveries: 3, ..Config::default() });
        for number in 0..100 {
            suspects.gave_back(&id(number));
            assert!(suspects.with(|memory| memory.given_back.len()) <= 3);
        }
        assert_eq!(care(&suspects, 0, 100, 5, true), Care::Apart(1), "what was forgotten is not held against it");
        suspects.forget(&id(99));
        assert!(!suspects.with(|memory| memory.given_back.contains_key(&id(99))));
    }

    /// A message in a queue: its number, the broker's count, and what it says of itself.
    type Queued = (usize, u32, u32);

    /// What a process takes at once.
    const BATCH: usize = 16;

    /// One life of a process that takes everything in order, a batch at a time, and dies of the first call with a culprit in it.
    /// Gives whether it died; the crash brings back all of that call and whatever was not settled before it.
    fn live(queue: &mut Vec<Queued>, culprits: &[bool], parked: &mut Vec<usize>, handled: &mut Vec<usize>) -> bool {
        let suspects = suspects();
        while !queue.is_empty() {
            let mut calls: Vec<(usize, Vec<Queued>)> = vec![(BATCH, Vec::new())];
            for (number, redeliveries, suspicion) in queue.drain(..BATCH.min(queue.len())).collect::<Vec<_>>() {
                match care(&suspects, number, redeliveries, suspicion, true) {
                    Care::Park => parked.push(number),
                    Care::LastChance => queue.push((number, 0, suspects.last_chance())),
                    Care::Together => calls[0].1.push((number, redeliveries, suspicion)),
                    Care::Apart(most) => {
                        if calls.len() == 1
                            || calls.last().is_none_or(|(size, call)| *size != most || call.len() == most)
                        {
                            calls.push((most, Vec::new()));
                        }
                        calls.last_mut().unwrap().1.push((number, redeliveries, suspicion));
                    }
                }
            }
            let fatal = calls.iter().position(|(_, call)| call.iter().any(|(number, ..)| culprits[*number]));
            let left: Vec<Queued> =
                calls.split_off(fatal.unwrap_or(calls.len())).into_iter().flat_map(|(_, c)| c).collect();
            handled.extend(calls.into_iter().flat_map(|(_, call)| call).map(|(number, ..)| number));
            if fatal.is_some() {
                *queue = left.into_iter().chain(queue.drain(..)).map(|(n, count, said)| (n, count + 1, said)).collect();
                return true;
            }
        }
        false
    }

    proptest! {
        #[test]
        fn every_culprit_is_parked_after_a_bounded_number_of_crashes_and_no_innocent_is(
            culprits in prop::collection::vec(prop::bool::weighted(0.1), 1..40),
        ) {
            let mut queue: Vec<Queued> = (0..culprits.len()).map(|number| (number, 0, 0)).collect();
            let (mut crashes, mut parked, mut handled) = (0_usize, Vec::new(), Vec::new());
            while live(&mut queue, &culprits, &mut parked, &mut handled) {
                crashes += 1;
                prop_assert!(crashes < 200, "the process dies again and again");
            }
            let guilty: Vec<_> = (0..culprits.len()).filter(|number| culprits[*number]).collect();
            parked.sort_unstable();
            prop_assert_eq!(&parked, &guilty, "in order of delivery no innocent is parked");
            prop_assert_eq!(handled.len() + parked.len(), culprits.len());
            prop_assert!(crashes <= if guilty.is_empty() { 0 } else { 7 + 4 * (guilty.len() - 1) }, "{} crashes", crashes);
        }

        #[test]
        fn an_innocent_is_not_parked_however_often_processes_were_stopped_under_it(restarts in 0_u32..500) {
            // Nobody remembers anything: each of them has died since. Then the database is back.
            match care(&suspects(), 1, restarts, 0, true) {
                Care::LastChance => {
                    prop_assert_eq!(care(&suspects(), 1, 0, suspects().last_chance(), true), Care::Apart(1));
                }
                other => prop_assert_ne!(other, Care::Park),
            }
        }
    }
}
