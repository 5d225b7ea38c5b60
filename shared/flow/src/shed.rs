//! Which requests are not taken any more, and why.
//!
//! Looked at are bytes (in this process, and waiting on the broker), the age of the oldest message, and the broker's
//! alarm. Not looked at is the predicted wait: a paused database is what the queue is for, and orders that wait an hour
//! for it are worth more than orders that were refused. What is not known sheds nothing.
//!
//! Each class has limits of its own, and those of a class that is worth more are never below those of one that is worth
//! less ([`Policy::new`] refuses them): so at any load that sheds orders, page events were shed before.

use std::time::Duration;

use crate::class::Class;

/// Where a class ends. Zero: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of bodies that this process holds, of all classes together.
    pub held_bytes: u64,
    /// Bytes that wait on the broker, of all classes that it carries.
    pub waiting_bytes: u64,
    /// Age of the oldest message of the class's own queue.
    pub oldest: Duration,
}

/// What a class meets now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// The broker has a resource alarm.
    pub alarm: bool,
    /// As [`Limits::held_bytes`].
    pub held_bytes: u64,
    /// As [`Limits::waiting_bytes`], where it is known.
    pub waiting_bytes: Option<u64>,
    /// As [`Limits::oldest`], where it is known.
    pub oldest: Option<Duration>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The broker has an alarm and takes nothing.
    Alarm,
    /// This process holds as many bytes as it may.
    HeldBytes,
    /// As many bytes wait on the broker as may.
    WaitingBytes,
    /// What waits is too old for more of it to be worth anything.
    Age,
}

/// Whether a request is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is.
    Take,
    /// It is not.
    Shed(Reason),
}

/// The limits of every class.
#[derive(Debug, Clone)]
pub struct Policy {
    limits: [Limits; Class::ALL.len()],
    resume_percent: u8,
}

impl Policy {
    /// `limits` are those of [`Class::ALL`], in that order. A class that is shed is taken again once the load is below
    /// `resume_percent` (1 to 100) of the limit, so that it does not flap around it.
    ///
    /// # Errors
    /// In words, where a class that is worth less could outlive one that is worth more.
    pub fn new(limits: [Limits; Class::ALL.len()], resume_percent: u8) -> Result<Self, String> {
        if !(1..=100).contains(&resume_percent) {
            return Err(format!("resume_percent must be 1 to 100, not {resume_percent}"));
        }
        let pairs =
            [(Class::Orders, Class::Events), (Class::Orders, Class::Catalogue), (Class::Catalogue, Class::Events)];
        for (more, less) in pairs {
            let (above, below) = (limits[more as usize], limits[less as usize]);
            let ordered = [
                ("held_bytes", unlimited(above.held_bytes) >= unlimited(below.held_bytes)),
                ("waiting_bytes", unlimited(above.waiting_bytes) >= unlimited(below.waiting_bytes)),
                ("oldest_s", unlimited(above.oldest.as_millis()) >= unlimited(below.oldest.as_millis())),
            ];
            if let Some((name, _)) = ordered.iter().find(|(_, holds)| !holds) {
                let (more, less) = (more.name(), less.name());
                return Err(format!(
                    "{name} of {more} is below that of {less}, which would then be shed later: raise it"
                ));
            }
        }
        Ok(Self { limits, resume_percent })
    }

    /// Whether a request of `class` is taken at this load; `before` is the decision of the last look.
    pub fn decide(&self, class: Class, load: &Load, before: Decision) -> Decision {
        let limits = self.limits[class as usize];
        let percent = if matches!(before, Decision::Shed(_)) { self.resume_percent } else { 100 };
        let reached = |limit: u128, value: Option<u128>| {
            // In hundredths, so that nothing is rounded.
            limit > 0 && value.is_some_and(|value| value * 100 >= limit * u128::from(percent))
        };
        if load.alarm {
            Decision::Shed(Reason::Alarm)
        } else if reached(limits.held_bytes.into(), Some(load.held_bytes.into())) {
            Decision::Shed(Reason::HeldBytes)
        } else if reached(limits.waiting_bytes.into(), load.waiting_bytes.map(u128::from)) {
            Decision::Shed(Reason::WaitingBytes)
        } else if reached(limits.oldest.as_millis(), load.oldest.map(|age| age.as_millis())) {
            Decision::Shed(Reason::Age)
        } else {
            Decision::Take
        }
    }
}

/// Zero stands for no limit.
fn unlimited(limit: impl Into<u128>) -> u128 {
    match limit.into() {
        0 => u128::MAX,
        limit => limit,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(held_bytes: u64, waiting_bytes: u64, oldest_s: u64) -> Limits {
        Limits { held_bytes, waiting_bytes, oldest: Duration::from_secs(oldest_s) }
    }

    fn policy() -> Policy {
        Policy::new([limits(300, 3_000, 0), limits(200, 2_000, 600), limits(100, 1_000, 60)], 80).unwrap()
    }

    fn waiting(bytes: u64) -> Load {
        Load { waiting_bytes: Some(bytes), ..Load::default() }
    }

    #[test]
    fn events_go_first_and_orders_last() {
        let policy = policy();
        let shed = |class, bytes| policy.decide(class, &waiting(bytes), Decision::Take) != Decision::Take;
        let at = |bytes| Class::ALL.map(|class| shed(class, bytes));
        assert_eq!(at(999), [false, false, false]);
        assert_eq!(at(1_000), [false, false, true]);
        assert_eq!(at(2_000), [false, true, true]);
        assert_eq!(at(3_000), [true, true, true]);
    }

    #[test]
    fn an_alarm_sheds_everything_and_a_paused_database_no_order() {
        let policy = policy();
        let alarm = Load { alarm: true, ..Load::default() };
        let paused = Load { oldest: Some(Duration::from_hours(24)), waiting_bytes: Some(500), ..Load::default() };
        for class in Class::ALL {
            assert_eq!(policy.decide(class, &alarm, Decision::Take), Decision::Shed(Reason::Alarm));
        }
        assert_eq!(policy.decide(Class::Orders, &paused, Decision::Take), Decision::Take);
        assert_eq!(policy.decide(Class::Events, &paused, Decision::Take), Decision::Shed(Reason::Age));
    }

    #[test]
    fn what_is_shed_stays_so_until_the_load_is_well_below_the_limit() {
        let policy = policy();
        let mut decision = Decision::Take;
        let told: Vec<bool> = [999, 1_000, 900, 800, 799, 900, 999]
            .into_iter()
            .map(|bytes| {
                decision = policy.decide(Class::Events, &waiting(bytes), decision);
                decision != Decision::Take
            })
            .collect();
        assert_eq!(told, [false, true, true, true, false, false, false]);
    }

    #[test]
    fn limits_that_would_shed_orders_before_events_are_refused() {
        let wrong = Policy::new([limits(0, 500, 0), limits(0, 2_000, 0), limits(0, 1_000, 0)], 80);
        assert!(wrong.unwrap_err().contains("waiting_bytes of orders is below that of events"));
        // No limit is the highest one.
        assert!(Policy::new([limits(0, 5, 5), limits(0, 5, 5), limits(0, 0, 5)], 80).is_err());
        assert!(Policy::new([limits(0, 0, 0); 3], 0).is_err());
    }

    prop_compose! {
        fn any_limits()(held in 0_u64..50, waiting in 0_u64..50, oldest in 0_u64..50) -> Limits {
            limits(held, waiting, oldest)
        }
    }

    /// Ordered as [`Policy::new`] asks for; at random hardly any would be.
    fn ordered_limits() -> impl Strategy<Value = [Limits; 3]> {
        [any_limits(), any_limits(), any_limits()].prop_map(|mut limits| {
            let sorted = |value: fn(&Limits) -> u64| {
                let mut values = limits.map(|limits| value(&limits));
                values.sort_unstable_by_key(|value| std::cmp::Reverse(unlimited(*value)));
                values
            };
            let held = sorted(|limits| limits.held_bytes);
            let waiting = sorted(|limits| limits.waiting_bytes);
            let oldest = sorted(|limits| limits.oldest.as_secs());
            for (number, limits) in limits.iter_mut().enumerate() {
                *limits = super::tests::limits(held[number], waiting[number], oldest[number]);
            }
            limits
        })
    }

    prop_compose! {
        fn any_load()(
            alarm in prop::bool::weighted(0.1),
            held_bytes in 0_u64..60,
            waiting_bytes in prop::option::of(0_u64..60),
            oldest in prop::option::of(0_u64..60),
        ) -> Load {
            Load { alarm, held_bytes, waiting_bytes, oldest: oldest.map(Duration::from_secs) }
        }
    }

    proptest! {
        /// Over any history, with any limits that are accepted at all.
        #[test]
        fn whenever_a_class_is_shed_every_class_that_is_worth_less_is_shed_too(
            limits in ordered_limits(),
            resume in 1_u8..=100,
            loads in prop::collection::vec(any_load(), 1..40),
        ) {
            let policy = Policy::new(limits, resume).unwrap();
            let mut decisions = Class::ALL.map(|_| Decision::Take);
            for load in &loads {
                for class in Class::ALL {
                    decisions[class as usize] = policy.decide(class, load, decisions[class as usize]);
                }
                let shed = decisions.map(|decision| decision != Decision::Take);
                prop_assert!(!shed[0] || shed[1], "orders are shed and the catalogue is not: {decisions:?}");
                prop_assert!(!shed[1] || shed[2], "the catalogue is shed and events are not: {decisions:?}");
            }
        }

        #[test]
        fn a_higher_load_never_takes_what_a_lower_one_sheds(
            load in any_load(), more in 0_u64..60, class in prop::sample::select(&Class::ALL), resume in 1_u8..=100,
        ) {
            let limits = [limits(30, 30, 30), limits(20, 20, 20), limits(10, 10, 10)];
            let policy = Policy::new(limits, resume).unwrap();
            let higher = Load {
                held_bytes: load.held_bytes + more,
                waiting_bytes: load.waiting_bytes.map(|bytes| bytes + more),
                oldest: load.oldest.map(|age| age + Duration::from_secs(more)),
                ..load
            };
            if policy.decide(class, &load, Decision::Take) != Decision::Take {
                prop_assert_ne!(policy.decide(class, &higher, Decision::Take), Decision::Take);
            }
        }

        #[test]
        fn what_is_not_known_sheds_nothing(class in prop::sample::select(&Class::ALL)) {
            prop_assert_eq!(policy().decide(class, &Load::default(), Decision::Take), Decision::Take);
        }
    }
}
