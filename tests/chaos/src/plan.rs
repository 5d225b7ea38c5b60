//! Which faults, when: a pure function of a seed and a length.
//!
//! Each round holds every class once, in an order of its own for each room, and there are as many rounds as fit: so every
//! class comes equally often. Within a room a fault begins when the one before it is undone and the shop had a rest; rooms
//! overlap as chance has it.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use crate::class::{Class, Room};

/// From here on faults last as long as they do in life.
const LONG: Duration = Duration::from_mins(10);
/// Between a fault that is undone and the next in its room, seconds at least.
const REST_S: u64 = 3;

/// A fault that will be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Its position among all, by time.
    pub n: usize,
    /// What.
    pub class: Class,
    /// What it strikes, one of [`Class::targets`].
    pub target: &'static str,
    /// When it begins, from the start.
    #[serde(serialize_with = "seconds")]
    pub at: Duration,
    /// From its begin until it is undone.
    #[serde(serialize_with = "seconds")]
    pub lasts: Duration,
    /// What else is left to chance begins with this.
    pub dice: u64,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The faults of a run, by time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What it was made from.
    pub seed: u64,
    /// Every fault.
    pub faults: Vec<Planned>,
}

impl Plan {
    /// The plan of `seed` for a run of this length, with `only` these classes.
    ///
    /// A run that is too short for one round is as long as that takes.
    ///
    /// # Panics
    /// Never: a class has at least one target.
    pub fn new(seed: u64, length: Duration, only: &[Class]) -> Self {
        let short = length < LONG;
        let rounds = rounds(length, only, short);
        let mut faults = Vec::new();
        for room in Room::ALL {
            let classes: Vec<Class> = only.iter().copied().filter(|class| class.room() == room).collect();
            // Each room has its own chance: a class more in one of them changes nothing in the others.
            let rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ (room as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            faults.extend(Course { rng, short }.of(&classes, rounds, length));
        }
        faults.sort_by_key(|fault| (fault.at, fault.class));
        for (n, fault) in faults.iter_mut().enumerate() {
            fault.n = n;
        }
        Self { seed, faults }
    }

    /// The faults of a room, by time.
    pub fn of(&self, room: Room) -> impl Iterator<Item = &Planned> {
        self.faults.iter().filter(move |fault| fault.class.room() == room)
    }
}

/// How many rounds the fullest room has time for.
fn rounds(length: Duration, classes: &[Class], short: bool) -> u64 {
    let need = |room| {
        let of_room = classes.iter().filter(|class| class.room() == room);
        of_room.map(|class| mean(*class, short) + class.undo() + REST_S).sum::<u64>()
    };
    let fullest = Room::ALL.into_iter().map(need).max().unwrap_or(0).max(1);
    (length.as_secs() / fullest).max(1)
}

fn mean(class: Class, short: bool) -> u64 {
    let lasts = class.lasts(short);
    (lasts.start() + lasts.end()).div_ceil(2)
}

struct Course {
    rng: Xoshiro256PlusPlus,
    short: bool,
}

impl Course {
    fn of(mut self, classes: &[Class], rounds: u64, length: Duration) -> Vec<Planned> {
        let mut faults = Vec::new();
        let turn: Vec<usize> = classes.iter().map(|class| self.rng.random_range(0..class.targets().len())).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..classes.len()).collect();
            order.shuffle(&mut self.rng);
            for position in order {
                let class = classes[position];
                let targets = class.targets();
                let target = targets[(turn[position] + usize::try_from(round).unwrap_or(0)) % targets.len()];
                let lasts = class.lasts(self.short);
                let lasts = self.rng.random_range(lasts.start() * 1_000..=lasts.end() * 1_000);
                let lasts = Duration::from_millis(lasts);
                faults.push(Planned { n: 0, class, target, at: Duration::ZERO, lasts, dice: self.rng.random() });
            }
        }
        self.spread(&mut faults, length);
        faults
    }

    /// Gives each its time: what is left of the length becomes more rest, unevenly, so that rooms do not march in step.
    fn spread(&mut self, faults: &mut [Planned], length: Duration) {
        let takes = |fault: &Planned| fault.lasts + Duration::from_secs(fault.class.undo() + REST_S);
        let busy: Duration = faults.iter().map(takes).sum();
        let spare = length.saturating_sub(busy);
        let weights: Vec<u32> = faults.iter().map(|_| self.rng.random_range(1..=10)).collect();
        let all = weights.iter().sum::<u32>().max(1);
        let mut at = Duration::ZERO;
        for (fault, weight) in faults.iter_mut().zip(weights) {
            at += spare * weight / all;
            fault.at = at;
            at += takes(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::world::ROLES;

    const LENGTHS: [u64; 4] = [1, 3, 20, 60];

    fn plan(seed: u64, minutes: u64) -> Plan {
        Plan::new(seed, Duration::from_mins(minutes), Class::ALL)
    }

    #[test]
    fn the_same_seed_plans_the_same_and_another_one_another() {
        for minutes in LENGTHS {
            assert_eq!(plan(7, minutes), plan(7, minutes));
            assert_ne!(plan(7, minutes).faults, plan(8, minutes).faults);
        }
    }

    #[test]
    fn every_class_comes_equally_often_and_twenty_minutes_hold_two_hundred_faults() {
        for minutes in LENGTHS {
            let plan = plan(3, minutes);
            let mut times: BTreeMap<Class, usize> = BTreeMap::new();
            for fault in &plan.faults {
                *times.entry(fault.class).or_default() += 1;
            }
            assert_eq!(times.len(), Class::ALL.len());
            let rounds = times[&Class::RoleKilled];
            assert!(times.values().all(|count| *count == rounds), "{times:?}");
            if minutes == 20 {
                assert!(plan.faults.len() >= 200, "{}", plan.faults.len());
            }
        }
    }

    #[test]
    fn twenty_minutes_strike_all_that_a_class_can_strike() {
        for seed in 0..20 {
            let plan = plan(seed, 20);
            for class in Class::ALL {
                let of_class = plan.faults.iter().filter(|fault| fault.class == *class);
                let struck: BTreeSet<&str> = of_class.map(|fault| fault.target).collect();
                let all: BTreeSet<&str> = class.targets().iter().copied().collect();
                assert_eq!(struck, all, "{class}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_process_of_every_role_is_killed() {
        let killed = ROLES.iter().filter(|(name, _)| Class::RoleKilled.targets().contains(name));
        let killed: BTreeSet<&str> = killed.map(|(_, role)| *role).collect();
        let all: BTreeSet<&str> = ROLES.iter().map(|(_, role)| *role).collect();
        assert_eq!(killed, all);
    }

    #[test]
    fn faults_of_a_room_leave_time_to_undo_and_to_rest() {
        for minutes in LENGTHS {
            let plan = plan(5, minutes);
            for room in Room::ALL {
                let faults: Vec<_> = plan.of(room).collect();
                for pair in faults.windows(2) {
                    let free = pair[0].at + pair[0].lasts + Duration::from_secs(pair[0].class.undo() + REST_S);
                    assert!(pair[1].at >= free, "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn a_run_is_not_much_longer_than_it_was_asked_to_be() {
        for minutes in [3, 20, 60] {
            let last = plan(9, minutes).faults.iter().map(|fault| fault.at + fault.lasts).max().unwrap();
            assert!(last.as_secs() <= minutes * 60 * 5 / 4, "{minutes} min: {last:?}");
        }
    }

    #[test]
    fn one_class_alone_fills_the_time() {
        let plan = Plan::new(1, Duration::from_mins(2), &[Class::RedisFlushed]);
        assert!(plan.faults.len() > 20 && plan.faults.iter().all(|fault| fault.class == Class::RedisFlushed));
    }

    #[test]
    fn names_are_unique_and_find_their_class() {
        for class in Class::ALL {
            assert_eq!(Class::named(class.name()), Some(*class));
        }
    }
}
