//! From what became of a message to how its delivery ends: a pure table.
//!
//! | fate | ends as |
//! |---|---|
//! | done | ack |
//! | poison, malformed, crashing | park at once |
//! | later, panicked, hung | retry by the ladder; the failure number `park_after_attempts` parks |
//! | contended | retry by the ladder, for ever: a lock is not the message's fault |
//! | unknown type or version | retry on the last rung, for ever, with an alarm: the release that knows it is on its way |
//!
//! A retry counts an attempt whatever its reason, because the broker does the counting. So a message that went round as
//! unknown or contended eight times and *then* fails on its own account is parked at that first failure.

use std::time::Duration;

use broker::Settle;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its effect is committed.
    Done,
    /// The handler says that it can never have an effect.
    Poison(String),
    /// The handler says not now.
    Later(String),
    /// The handler panicked on it, and on nothing else.
    Panicked(String),
    /// The handler did not come back from it in time, and from its neighbours it did.
    Hung(Duration),
    /// It met a lock each time, and its neighbours did not.
    Contended(String),
    /// It can't be read.
    Malformed(String),
    /// This build does not know its type or version.
    Unknown(String),
    /// It was redelivered often, and whenever it ran alone its process ended: it seems to take the process down.
    Crashing {
        /// How often the broker had handed it out before.
        redeliveries: u32,
        /// How often it ran alone, and nothing came of it.
        alone: u32,
    },
}

/// When to retry and when to give up.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    /// The queue's own delays, ascending.
    pub(crate) delays: Vec<Duration>,
    /// The failure that parks, counted from 1.
    pub(crate) park_after_attempts: u32,
}

impl Ladder {
    /// How a delivery with this fate ends, after `attempt` earlier failures.
    pub(crate) fn decide(&self, fate: Fate, attempt: u32) -> Settle {
        match fate {
            Fate::Done => Settle::Ack,
            Fate::Poison(reason) => Settle::Park { reason: format!("poison: {reason}") },
            Fate::Malformed(reason) => Settle::Park { reason: format!("malformed: {reason}") },
            Fate::Crashing { redeliveries, alone } => Settle::Park {
                reason: format!(
                    "crashing: redelivered {redeliveries} times without a settlement, and whenever it ran alone ({alone} \
                     times) its process ended; it seems to take the process down and was not run again"
                ),
            },
            Fate::Later(reason) => self.again_or_park(attempt, format!("later: {reason}")),
            Fate::Panicked(message) => self.again_or_park(attempt, format!("panicked: {message}")),
            Fate::Hung(timeout) => {
                let reason = format!("hung: not handled within {} ms, though its neighbours were", timeout.as_millis());
                self.again_or_park(attempt, reason)
            }
            Fate::Contended(reason) => self.again(attempt, format!("contended: {reason}")),
            Fate::Unknown(reason) => Settle::Retry { after: self.last(), reason },
        }
    }

    fn again_or_park(&self, attempt: u32, reason: String) -> Settle {
        let failures = attempt.saturating_add(1);
        if failures >= self.park_after_attempts {
            return Settle::Park { reason: format!("failed {failures} times, at last {reason}") };
        }
        self.again(attempt, reason)
    }

    /// One rung higher with each attempt, and then on the last.
    fn again(&self, attempt: u32, reason: String) -> Settle {
        let rung = usize::try_from(attempt).unwrap_or(usize::MAX);
        Settle::Retry { after: self.delays.get(rung).copied().unwrap_or_else(|| self.last()), reason }
    }

    fn last(&self) -> Duration {
        self.delays.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use broker::topology::RETRY_DELAYS;
    use proptest::prelude::*;

    use super::*;

    fn ladder() -> Ladder {
        Ladder { delays: RETRY_DELAYS.to_vec(), park_after_attempts: 8 }
    }

    fn own_failures() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Later("x".to_owned())),
            Just(Fate::Panicked("x".to_owned())),
            Just(Fate::Hung(Duration::from_secs(1))),
        ]
    }

    fn delay(settle: &Settle) -> Option<Duration> {
        if let Settle::Retry { after, .. } = settle { Some(*after) } else { None }
    }

    #[test]
    fn what_is_done_is_acked_and_what_can_never_be_done_is_parked_at_once_with_its_reason() {
        assert_eq!(ladder().decide(Fate::Done, 7), Settle::Ack);
        for (fate, word) in [
            (Fate::Poison("22003".to_owned()), "poison: 22003"),
            (Fate::Malformed("not JSON".to_owned()), "malformed: not JSON"),
            (Fate::Crashing { redeliveries: 6, alone: 2 }, "redelivered 6 times"),
        ] {
            let Settle::Park { reason } = ladder().decide(fate, 0) else { panic!("not parked") };
            assert!(reason.contains(word), "{reason}");
        }
    }

    #[test]
    fn delays_climb_the_ladder_and_the_eighth_failure_parks() {
        let failures: Vec<_> = (0..8).map(|attempt| ladder().decide(Fate::Later("x".to_owned()), attempt)).collect();
        let seconds: Vec<_> = failures.iter().map(|settle| delay(settle).map(|delay| delay.as_secs())).collect();
        assert_eq!(seconds, [Some(1), Some(10), Some(60), Some(600), Some(600), Some(600), Some(600), None]);
        let Settle::Park { reason } = &failures[7] else { panic!("not parked") };
        assert_eq!(reason, "failed 8 times, at last later: x");
    }

    proptest! {
        #[test]
        fn a_failure_of_its_own_is_retried_before_the_limit_and_parked_from_it_on(
            fate in own_failures(), attempt in 0..100_u32, limit in 1..20_u32,
        ) {
            let ladder = Ladder { park_after_attempts: limit, ..ladder() };
            let parked = matches!(ladder.decide(fate, attempt), Settle::Park { .. });
            prop_assert_eq!(parked, attempt + 1 >= limit);
        }

        #[test]
        fn neither_a_lock_nor_a_rolling_upgrade_ever_parks(attempt: u32, limit in 1..20_u32) {
            let ladder = Ladder { park_after_attempts: limit, ..ladder() };
            prop_assert!(delay(&ladder.decide(Fate::Contended("55P03".to_owned()), attempt)).is_some());
            let unknown = ladder.decide(Fate::Unknown("order.placed 2".to_owned()), attempt);
            prop_assert_eq!(delay(&unknown), Some(Duration::from_mins(10)));
        }

        #[test]
        fn every_delay_is_a_rung(fate in own_failures(), attempt in 0..7_u32) {
            let after = delay(&ladder().decide(fate, attempt));
            prop_assert!(after.is_some_and(|after| RETRY_DELAYS.contains(&after)));
        }
    }
}
