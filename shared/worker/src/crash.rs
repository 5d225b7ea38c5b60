//! Messages that take the process down with them: an abort, a stack overflow, memory without end. No code of the
//! process runs when that happens, so the only witness is the broker's count of deliveries.
//!
//! The count is a poor witness: a killed process brings back *everything* that was prefetched on its connection, and so
//! do a connection that breaks and a stop, again and again in a long outage. So nothing is held against a message at first.
//! After `alone_after` redeliveries it is a *suspect* and is handled apart, while the worker does nothing else, with few other
//! suspects beside it: an innocent one passes here and is gone. Each redelivery makes the company smaller, an eighth of what it
//! was, and the last of `park_after_crashes` runs with seven others. So hundreds of neighbours are through in some calls, and yet
//! whatever stood before the culprit's eight is settled when they die, and they come back first in line.
//!
//! After `park_after_crashes` more it is *due*, and gets a **last chance**: it goes back as a fresh copy that says so
//! ([`model::headers::SUSPICION`]), and whoever takes that puts it on **trial**: it runs alone, once the database answers, and a
//! [`Witness`](crate::Witness) notes before that it does. The note is a row, so it outlives the process, and tells what the
//! broker's count can't: that this message ran and no other did. It is taken back once the process has lived through the run.
//! Only a message with `park_after_trials` notes and no end of any is parked, before it runs again. So whatever merely stood in the
//! prefetch of processes that died, however many culprits there are, has its trial, passes and is gone.
//!
//! **A process gives eight last chances in its life**: what was queued behind the culprit was brought back as often, and a queue
//! hands out in order, so the first eight that are due are most likely the culprit and who ran with it. The others begin again: they
//! run in company, and are due after `park_after_crashes` more. If there are several culprits, the next one is found so. One
//! culprit costs at most `alone_after`, `park_after_crashes` and `park_after_trials` crashes together, and each further one the
//! latter two.
//!
//! What this process gave back itself (a stop, an outage, a copy that was not confirmed) it remembers and takes off the
//! count: it is alive, so that message did not kill it. A process whose connection broke gives no last chances any more: what came
//! back may have come back from there. And none is given before the database has answered a question: a process that has just
//! begun knows nothing of an outage.
//!
//! What is left: a process that is killed for another reason during a trial, in `park_after_trials` of the same message. That
//! message is parked, which loses nothing.
//!
//! A broker that does not count deliveries says 0, and nothing is ever suspected. The broker's own delivery limit is the
//! backstop there.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use model::MessageId;

use crate::config::Config;

/// By how much each redelivery makes the company of a suspect smaller, what is left of it at last, and so how many a process gives
/// a last chance.
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
    /// It has its last chance: alone, and noted before.
    Trial,
}

/// What speaks against a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) id: &'a MessageId,
    /// How often the broker had handed it out before.
    pub(crate) redeliveries: u32,
    /// What it says of itself, above 0 where it has its last chance.
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

#[derive(Debug)]
struct Memory {
    /// How often this process itself gave a message back.
    given_back: HashMap<MessageId, u32>,
    /// How many suspects may be given a last chance yet.
    last_chances: usize,
}

impl Memory {
    fn unexplained(&self, record: &Record<'_>) -> u32 {
        let ours = self.given_back.get(record.id).copied().unwrap_or(0);
        record.redeliveries.saturating_sub(ours)
    }
}

impl Suspects {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            alone_after: config.alone_after,
            park_after_crashes: config.park_after_crashes,
            park_after: config.alone_after.saturating_add(config.park_after_crashes),
            remembered: config.remembered_redeliveries,
            memory: Mutex::new(Memory { given_back: HashMap::new(), last_chances: SHRINK }),
        }
    }

    /// What a message says of itself that goes back for its last chance: how often it had come back, and 1 at least.
    pub(crate) fn last_chance(&self) -> u32 {
        self.park_after.max(1)
    }

    /// Whether this process would give the message its last chance, if the database answers.
    pub(crate) fn may_decide_about(&self, record: &Record<'_>) -> bool {
        record.suspicion == 0
            && record.redeliveries >= self.park_after
            && self.with(|memory| memory.last_chances > 0 && self.is_due(memory.unexplained(record)))
    }

    /// Whether it came back from the smallest company, as far as one can tell, and often enough.
    fn is_due(&self, unexplained: u32) -> bool {
        unexplained >= self.park_after && self.step(unexplained) == 0
    }

    /// How far a suspect is on its way from a large company to the smallest.
    fn step(&self, unexplained: u32) -> u32 {
        unexplained.saturating_sub(self.alone_after) % self.park_after_crashes.max(1)
    }

    fn company(&self, unexplained: u32) -> usize {
        let steps_left = self.park_after_crashes.saturating_sub(1).saturating_sub(self.step(unexplained));
        SHRINK.saturating_pow(steps_left.max(1))
    }

    /// How to handle a message with this record. [`Care::LastChance`] is said once, and only where the database `answers`: an
    /// outage makes redeliveries too, and a trial has time.
    pub(crate) fn care(&self, record: &Record<'_>, answers: bool) -> Care {
        if record.suspicion > 0 {
            return Care::Trial;
        }
        if record.redeliveries < self.alone_after {
            return Care::Together;
        }
        self.with(|memory| {
            let unexplained = memory.unexplained(record);
            if unexplained < self.alone_after {
                Care::Together
            } else if answers && memory.last_chances > 0 && self.is_due(unexplained) {
                memory.last_chances -= 1;
                Care::LastChance
            } else {
                Care::Apart(self.company(unexplained))
            }
        })
    }

    /// This process put the message back, and lives.
    pub(crate) fn gave_back(&self, id: &MessageId) {
        self.with(|memory| {
            if memory.given_back.len() >= self.remembered {
                // What is forgotten looks like the work of a crash from now on. So this process decides about nobody any
                // more: suspects run apart, and one that is guilty leaves it to the next life.
                memory.given_back.clear();
                memory.last_chances = 0;
            }
            *memory.given_back.entry(id.clone()).or_default() += 1;
        });
    }

    /// A connection broke under deliveries: they come again, and nobody knows which.
    pub(crate) fn lost_hold(&self) {
        self.with(|memory| memory.last_chances = 0);
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
        let apart = [Care::Apart(64), Care::Apart(8), Care::Apart(8)];
        assert_eq!(cares[..6], [[together; 3], apart].concat());
        assert_eq!(cares[6..], [Care::LastChance, Care::Apart(8)], "who was passed over comes up again");
        assert_eq!(care(&suspects(), 1, 9, 0, true), Care::LastChance);
    }

    #[test]
    fn one_that_has_its_last_chance_is_on_trial_however_often_it_was_handed_out_since() {
        let carried = suspects().last_chance();
        for redeliveries in 0..100 {
            assert_eq!(care(&suspects(), 1, redeliveries, carried, true), Care::Trial);
            assert_eq!(
                care(&suspects(), 1, redeliveries, carried, false),
                Care::Trial,
                "it waits for the database there"
            );
        }
    }

    #[test]
    fn a_process_gives_eight_last_chances_in_its_life_and_the_others_run_in_company_again() {
        let suspects = suspects();
        let cares: Vec<_> = (0..10).map(|number| care(&suspects, number, 6, 0, true)).collect();
        assert_eq!(cares, [vec![Care::LastChance; 8], vec![Care::Apart(64); 2]].concat());
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
        let record = Record { id: &id(1), redeliveries: 9, suspicion: 0 };
        assert_eq!(suspects.care(&record, false), Care::Apart(64));
        assert!(suspects.may_decide_about(&record), "once it answers");
        suspects.lost_hold();
        assert!(!suspects.may_decide_about(&record));
        assert_eq!(suspects.care(&record, true), Care::Apart(64));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let suspects = Suspects::new(&Config { remembered_redeliveries: 3, ..Config::default() });
        for number in 0..100 {
            suspects.gave_back(&id(number));
            assert!(suspects.with(|memory| memory.given_back.len()) <= 3);
        }
        assert_ne!(care(&suspects, 0, 99, 0, true), Care::LastChance, "what was forgotten is not held against it");
        suspects.forget(&id(99));
        assert!(!suspects.with(|memory| memory.given_back.contains_key(&id(99))));
    }

    /// A message in a queue: its number, the broker's count, and what it says of itself.
    type Queued = (usize, u32, u32);

    /// What a process takes at once.
    const BATCH: usize = 16;

    /// What outlives a process.
    #[derive(Default)]
    struct Lasting {
        queue: Vec<Queued>,
        /// Trials that began, and of which nobody noted an end.
        notes: HashMap<usize, u32>,
        parked: Vec<usize>,
        handled: Vec<usize>,
    }

    impl Lasting {
        /// One life of a process that takes everything in order, a batch at a time, and dies of the first call with a culprit
        /// in it. Gives whether it died; the crash brings back all of that call and whatever was not settled before it.
        fn live(&mut self, culprits: &[bool], config: &Config) -> bool {
            let suspects = Suspects::new(config);
            while !self.queue.is_empty() {
                // How many may be in a call, whether it is a trial, and who is in it.
                let mut calls: Vec<(usize, bool, Vec<Queued>)> = vec![(BATCH, false, Vec::new())];
                for (number, redeliveries, suspicion) in
                    self.queue.drain(..BATCH.min(self.queue.len())).collect::<Vec<_>>()
                {
                    let queued = (number, redeliveries, suspicion);
                    match care(&suspects, number, redeliveries, suspicion, true) {
                        Care::LastChance => self.queue.push((number, 0, suspects.last_chance())),
                        Care::Together => calls[0].2.push(queued),
                        Care::Trial => calls.push((1, true, vec![queued])),
                        Care::Apart(most) => {
                            let fits = |(size, trial, call): &(usize, bool, Vec<Queued>)| {
                                *size == most && !trial && call.len() < most
                            };
                            if calls.len() == 1 || !calls.last().is_some_and(fits) {
                                calls.push((most, false, Vec::new()));
                            }
                            calls.last_mut().unwrap().2.push(queued);
                        }
                    }
                }
                let mut calls = calls.into_iter();
                while let Some((_, trial, call)) = calls.next() {
                    if trial {
                        let begun = self.notes.entry(call[0].0).or_default();
                        *begun += 1;
                        if *begun > config.park_after_trials {
                            self.parked.push(call[0].0);
                            continue;
                        }
                    }
                    if call.iter().any(|(number, ..)| culprits[*number]) {
                        let back =
                            call.into_iter().chain(calls.flat_map(|(_, _, call)| call)).chain(self.queue.drain(..));
                        self.queue = back.map(|(number, count, said)| (number, count + 1, said)).collect();
                        return true;
                    }
                    for (number, ..) in call {
                        self.notes.remove(&number);
                        self.handled.push(number);
                    }
                }
            }
            false
        }
    }

    proptest! {
        #[test]
        fn every_culprit_is_parked_after_a_bounded_number_of_crashes_and_no_innocent_is(
            culprits in prop::collection::vec(prop::bool::weighted(0.1), 1..40),
        ) {
            let config = Config::default();
            let queue = (0..culprits.len()).map(|number| (number, 0, 0)).collect();
            let (mut crashes, mut lasting) = (0_usize, Lasting { queue, ..Lasting::default() });
            while lasting.live(&culprits, &config) {
                crashes += 1;
                prop_assert!(crashes < 300, "the process dies again and again");
            }
            let guilty: Vec<_> = (0..culprits.len()).filter(|number| culprits[*number]).collect();
            let Lasting { mut parked, handled, .. } = lasting;
            parked.sort_unstable();
            prop_assert_eq!(&parked, &guilty, "no innocent is parked");
            prop_assert_eq!(handled.len() + parked.len(), culprits.len());
            prop_assert!(crashes <= if guilty.is_empty() { 0 } else { 8 + 5 * (guilty.len() - 1) }, "{} crashes", crashes);
        }

        #[test]
        fn an_innocent_is_not_parked_however_often_processes_were_stopped_under_it(restarts in 0_u32..500) {
            // Nobody remembers anything: each of them has died since. Then the database is back.
            if care(&suspects(), 1, restarts, 0, true) == Care::LastChance {
                prop_assert_eq!(care(&suspects(), 1, 0, suspects().last_chance(), true), Care::Trial);
            }
        }
    }
}
