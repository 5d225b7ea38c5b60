//! When a database gets slower under its load, less of the budget is given out; when it has recovered, more again.
//!
//! Lowered by a factor and raised by a little at a time ("additive increase, multiplicative decrease"), so that it comes
//! off quickly and feels its way back.

use std::time::Duration;

/// How a [`Steady`] judges and answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steadiness {
    /// A commit is slow from so many times the baseline on.
    pub slow_factor: f64,
    /// And only if it takes this much longer: what is quick may double by chance.
    pub slow_by: Duration,
    /// What the factor is multiplied with when commits are slow; below 1.
    pub lower_to: f64,
    /// How much the factor rises per second while they are not.
    pub raise_per_s: f64,
    /// The factor never falls below this; above 0.
    pub floor: f64,
    /// The time in which the baseline follows what it sees by two thirds, while nothing is throttled.
    pub baseline: Duration,
}

/// How much longer the baseline takes to follow while the budget is lowered: slowness that throttling does not mend is in
/// the end the database's ordinary state, and not to be throttled for ever.
const THROTTLED: f64 = 10.0;

/// The part of a budget that is given out, by how quickly commits go.
#[derive(Debug, Clone)]
pub struct Steady {
    rules: Steadiness,
    factor: f64,
    baseline_s: Option<f64>,
}

impl Steady {
    /// Gives out the whole, and knows no baseline yet.
    pub fn new(rules: Steadiness) -> Self {
        Self { rules, factor: 1.0, baseline_s: None }
    }

    /// The part of the budget to give out, from the floor to 1.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// What a commit takes in good times; none before the first.
    pub fn baseline(&self) -> Option<Duration> {
        self.baseline_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Learns what a commit took lately (the median of a second or so; none where there was no commit), `since` after the
    /// last time.
    pub fn observe(&mut self, commit: Option<Duration>, since: Duration) {
        let rules = self.rules;
        let slow = commit.is_some_and(|commit| self.is_slow(commit.as_secs_f64()));
        self.factor = if slow {
            (self.factor * rules.lower_to).max(rules.floor)
        } else {
            (self.factor + rules.raise_per_s * since.as_secs_f64()).min(1.0)
        };
        if let Some(commit) = commit {
            self.follow(commit.as_secs_f64(), since);
        }
    }

    fn is_slow(&self, commit: f64) -> bool {
        self.baseline_s.is_some_and(|baseline| {
            commit > baseline * self.rules.slow_factor && commit - baseline > self.rules.slow_by.as_secs_f64()
        })
    }

    fn follow(&mut self, commit: f64, since: Duration) {
        let Some(baseline) = &mut self.baseline_s else {
            self.baseline_s = Some(commit);
            return;
        };
        let pace = if self.factor < 1.0 { THROTTLED } else { 1.0 };
        let weight = 1.0 - (-since.as_secs_f64() / (self.rules.baseline.as_secs_f64() * pace)).exp();
        *baseline += (commit - *baseline) * weight;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules() -> Steadiness {
        Steadiness {
            slow_factor: 3.0,
            slow_by: Duration::from_millis(20),
            lower_to: 0.8,
            raise_per_s: 0.02,
            floor: 0.2,
            baseline: Duration::from_mins(1),
        }
    }

    fn after(steady: &mut Steady, commit_ms: u64, seconds: u32) -> f64 {
        (0..seconds).for_each(|_| steady.observe(Some(Duration::from_millis(commit_ms)), SECOND));
        steady.factor()
    }

    #[test]
    fn slow_commits_lower_it_quickly_and_good_ones_raise_it_slowly() {
        let mut steady = Steady::new(rules());
        assert!((after(&mut steady, 5, 60) - 1.0).abs() < 1e-9);
        let lowered = after(&mut steady, 60, 3);
        assert!((lowered - 0.8_f64.powi(3)).abs() < 1e-9, "{lowered}");
        assert!(after(&mut steady, 6, 10) < 0.75, "ten seconds do not undo three");
        assert!((after(&mut steady, 6, 60) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_quick_may_vary() {
        let mut steady = Steady::new(rules());
        after(&mut steady, 1, 60);
        assert!((after(&mut steady, 20, 60) - 1.0).abs() < 1e-9, "20 ms is no slowness, whatever it was before");
    }

    #[test]
    fn slowness_that_stays_becomes_the_ordinary_state() {
        let mut steady = Steady::new(rules());
        after(&mut steady, 10, 60);
        assert!((after(&mut steady, 100, 60) - 0.2).abs() < 1e-9, "throttled to the floor, and no further");
        assert!((after(&mut steady, 100, 3_600) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn silence_is_no_slowness() {
        let mut steady = Steady::new(rules());
        after(&mut steady, 5, 60);
        after(&mut steady, 100, 2);
        (0..60).for_each(|_| steady.observe(None, SECOND));
        assert!((steady.factor() - 1.0).abs() < 1e-9);
        assert!(steady.baseline().unwrap() < Duration::from_millis(6));
    }

    proptest! {
        #[test]
        fn it_stays_between_the_floor_and_the_whole(
            commits in prop::collection::vec((prop::option::of(0_u64..10_000), 0_u64..5_000), 0..300),
        ) {
            let mut steady = Steady::new(rules());
            for (commit, since) in commits {
                steady.observe(commit.map(Duration::from_millis), Duration::from_millis(since));
                prop_assert!((0.2..=1.0).contains(&steady.factor()));
            }
        }

        #[test]
        fn a_slower_database_is_never_given_more(commit in 0_u64..500, slower in 0_u64..500) {
            let of = |commit| {
                let mut steady = Steady::new(rules());
                after(&mut steady, 10, 30);
                after(&mut steady, commit, 1)
            };
            prop_assert!(of(commit + slower) <= of(commit));
        }
    }
}
