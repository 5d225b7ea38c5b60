//! A seat without a clock and without IO: times are since a start that the seat chose.

use std::time::Duration;

use flow::{Allowance, Budget, Claim, Next, Rank, Steady, shares};
use store::governor::{Lease, View};

use crate::governor_config::GovernorConfig;

/// A consumer that has used this part of its share, or waited for it this part of the time, could use more.
const USED: f64 = 0.75;
const WAITED: f64 = 0.5;
/// What a consumer is given beyond what it used, so that it can grow.
const ROOM: f64 = 1.5;
/// Commits remembered between two renewals; of more, the latest.
const COMMITS: usize = 512;

#[derive(Debug)]
pub(super) struct Core {
    config: GovernorConfig,
    rank: Rank,
    /// What counts now: the configuration's, or the one that was found in the database.
    pub(super) budget: Budget,
    pub(super) share: u32,
    /// Of all consumers of the database.
    pub(super) factor: f64,
    pub(super) leases: usize,
    pub(super) limited: bool,
    pub(super) rows: u64,
    pub(super) transactions: u64,
    pub(super) waited: Duration,
    pub(super) allowance: Allowance,
    pub(super) steady: Steady,
    valid_until: Duration,
    waiting_since: Option<Duration>,
    since: Since,
}

/// What happened since the last renewal.
#[derive(Debug, Default)]
struct Since {
    at: Duration,
    rows: f64,
    transactions: f64,
    waited: Duration,
    commits: Vec<Duration>,
}

impl Core {
    pub(super) fn new(config: GovernorConfig, rank: Rank, budget: Budget, at: Duration) -> Self {
        let mut core = Self {
            rank,
            budget,
            share: 0,
            factor: 1.0,
            leases: 0,
            limited: false,
            rows: 0,
            transactions: 0,
            waited: Duration::ZERO,
            allowance: Allowance::new(config.slice(), at),
            steady: Steady::new(config.steadiness()),
            valid_until: at,
            waiting_since: None,
            since: Since { at, ..Since::default() },
            config,
        };
        core.allot(at);
        core
    }

    /// Whether there is a budget at all.
    pub(super) fn is_governed(&self) -> bool {
        !self.budget.is_unlimited()
    }

    /// A budget was found where there was none, or taken away. Nothing is held of it yet.
    pub(super) fn change_budget(&mut self, budget: Budget, at: Duration) {
        (self.budget, self.share, self.leases, self.limited) = (budget, 0, 0, false);
        self.since = Since { at, ..Since::default() };
        self.allot(at);
    }

    /// When the next batch may begin, and how large it may be.
    pub(super) fn next(&mut self, at: Duration) -> Next {
        let next = if self.is_governed() && at >= self.valid_until { Next::Never } else { self.allowance.next(at) };
        self.count_waiting(at);
        self.waiting_since = (!matches!(next, Next::Now(_))).then_some(at);
        next
    }

    /// A call committed `rows` rows, or failed (none).
    pub(super) fn settle(&mut self, charged: f64, messages: usize, call: &Call, at: Duration) {
        let before = self.allowance.per_message();
        self.allowance.settle(charged, messages, call.rows, call.took, at);
        self.transactions += 1;
        self.since.transactions += 1.0;
        self.rows += call.rows.unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "rows of one call stay far below 2^53")]
        let used = call.rows.map_or(before * messages as f64, |rows| rows as f64);
        self.since.rows += used;
        if let Some(commit) = call.commit {
            if self.since.commits.len() == COMMITS {
                self.since.commits.remove(0);
            }
            self.since.commits.push(commit);
        }
    }

    /// Looks back at the time since the last renewal: how much more this consumer could use, how quick commits were.
    pub(super) fn look_back(&mut self, at: Duration) -> u32 {
        self.count_waiting(at);
        let since = std::mem::replace(&mut self.since, Since { at, ..Since::default() });
        let time = at.saturating_sub(since.at);
        if self.config.adaptive {
            self.steady.observe(median(since.commits), time);
        }
        let seconds = time.as_secs_f64().max(0.001);
        let used = |amount: f64, per_s: Option<f64>| per_s.map_or(0.0, |per_s| amount / (per_s * seconds).max(1e-9));
        let of_share = used(since.rows, self.allowance.rows_per_s())
            .max(used(since.transactions, self.allowance.transactions_per_s()));
        self.limited = of_share >= USED || since.waited.as_secs_f64() >= WAITED * seconds;
        if self.limited { shares::WHOLE } else { shares::parts(of_share * ROOM * shares::fraction(self.share)) }
    }

    /// What to hold from now on, by what the others hold. A share that shrinks does so before the others are told.
    pub(super) fn take(&mut self, view: &View, demand: u32, at: Duration) -> Taken {
        let mut claims = vec![Claim { rank: self.rank, demand }];
        claims.extend(view.others.iter().map(|other| Claim { rank: other.rank, demand: other.demand }));
        let fair = shares::fair(&claims, self.config.kept_for_analytics())[0];
        let held = view.others.iter().map(|other| u64::from(other.share)).sum();
        let share = shares::grant(fair, held);
        if share < self.share {
            self.share = share;
            self.allot(at);
        }
        let factor = shares::parts(self.steady.factor());
        Taken { lease: Lease { rank: self.rank, demand, share, factor }, below_fair: share < fair }
    }

    /// The lease was renewed, by a request that was sent at `asked`.
    pub(super) fn renewed(&mut self, view: &View, lease: &Lease, budget: Budget, asked: Duration, at: Duration) {
        let factor = view.others.iter().map(|other| other.factor).chain([lease.factor]).min();
        self.factor = shares::fraction(factor.unwrap_or(shares::WHOLE));
        (self.budget, self.share, self.leases) = (budget, lease.share, view.others.len() + 1);
        self.valid_until = asked + self.config.lease();
        self.allot(at);
    }

    /// Whether the lease has run out.
    pub(super) fn has_run_out(&self, at: Duration) -> bool {
        at >= self.valid_until
    }

    fn allot(&mut self, at: Duration) {
        self.allowance.set(self.budget, shares::fraction(self.share) * self.factor, at);
    }

    fn count_waiting(&mut self, at: Duration) {
        if let Some(since) = &mut self.waiting_since {
            let waited = at.saturating_sub(std::mem::replace(since, at));
            self.waited += waited;
            self.since.waited += waited;
        }
    }
}

/// What a call of the handler came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// None where it failed.
    pub(super) rows: Option<u64>,
    pub(super) took: Duration,
    pub(super) commit: Option<Duration>,
}

/// What a renewal decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) lease: Lease,
    /// Others still hold what is due to this one.
    pub(super) below_fair: bool,
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use flow::shares::WHOLE;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn core(budget: &str) -> Core {
        Core::new(GovernorConfig::default(), Rank::Checkout, budget.parse().unwrap(), Duration::ZERO)
    }

    fn alone() -> View {
        View { budget: None, others: Vec::new() }
    }

    fn renew(core: &mut Core, view: &View, at: Duration) -> Lease {
        let demand = core.look_back(at);
        let taken = core.take(view, demand, at);
        let budget = view.budget.unwrap_or(core.budget);
        core.renewed(view, &taken.lease, budget, at, at);
        taken.lease
    }

    fn call(rows: u64, commit_ms: u64) -> Call {
        let commit = Duration::from_millis(commit_ms);
        Call { rows: Some(rows), took: commit, commit: Some(commit) }
    }

    #[test]
    fn without_a_lease_there_is_no_batch_and_with_one_until_it_runs_out() {
        let mut core = core("1000 rows/s");
        assert_eq!(core.next(seconds(1)), Next::Never);
        assert_eq!(renew(&mut core, &alone(), seconds(1)).share, WHOLE);
        assert!(matches!(core.next(seconds(2)), Next::Now(_)));
        assert!(matches!(core.next(Duration::from_millis(3_999)), Next::Now(_)));
        assert_eq!(core.next(seconds(4)), Next::Never, "3 s after the renewal was asked for");
    }

    #[test]
    fn whoever_uses_its_share_or_waits_for_it_asks_for_all_and_others_for_what_they_use() {
        let mut core = core("1000 rows/s");
        core.next(Duration::ZERO);
        assert_eq!(renew(&mut core, &alone(), seconds(1)).demand, WHOLE, "it waited");
        core.next(seconds(1) + Duration::from_millis(100));
        core.settle(6.0, 133, &call(800, 5), seconds(2));
        assert_eq!(renew(&mut core, &alone(), seconds(2)).demand, WHOLE, "800 of 1,000 used");
        core.settle(6.0, 33, &call(200, 5), seconds(3));
        let lease = renew(&mut core, &alone(), seconds(3));
        assert!(lease.demand.abs_diff(300_000) <= 1, "{lease:?}");
        assert_eq!(lease.share, WHOLE, "nobody else wants the rest");
        assert_eq!(renew(&mut core, &alone(), seconds(4)).demand, 0);
    }

    #[test]
    fn a_share_shrinks_before_the_others_are_told_and_grows_afterwards() {
        let mut core = core("1000 rows/s");
        renew(&mut core, &alone(), seconds(1));
        let other = Lease { rank: Rank::Checkout, demand: WHOLE, share: 0, factor: WHOLE };
        let taken = core.take(&View { budget: None, others: vec![other] }, WHOLE, seconds(2));
        assert_eq!((taken.lease.share, core.share, taken.below_fair), (WHOLE / 2, WHOLE / 2, false));
        assert!((core.allowance.rows_per_s().unwrap() - 500.0).abs() < 1e-6);
        let taken = core.take(&alone(), WHOLE, seconds(3));
        assert_eq!((taken.lease.share, core.share), (WHOLE, WHOLE / 2), "not before the renewal is through");
    }

    #[test]
    fn the_lowest_factor_of_all_counts_for_everybody() {
        let mut core = core("1000 rows/s");
        core.next(Duration::ZERO);
        let slow = Lease { rank: Rank::Checkout, demand: 0, share: 10_000, factor: WHOLE / 2 };
        renew(&mut core, &View { budget: None, others: vec![slow] }, seconds(1));
        let per_s = core.allowance.rows_per_s().unwrap();
        assert!((per_s - 990.0 / 2.0).abs() < 1.0, "{per_s}");
    }

    #[test]
    fn slow_commits_lower_what_is_given_out_and_a_setting_turns_that_off() {
        for (adaptive, lowered) in [(true, 0.8), (false, 1.0)] {
            let config = GovernorConfig { adaptive, ..GovernorConfig::default() };
            let mut core = Core::new(config, Rank::Checkout, "1000 rows/s".parse().unwrap(), Duration::ZERO);
            for (second, commit_ms) in [(1, 4), (2, 4), (3, 120)] {
                (0..9).for_each(|_| core.settle(6.0, 1, &call(6, commit_ms), seconds(second)));
                renew(&mut core, &alone(), seconds(second));
            }
            assert!((core.factor - lowered).abs() < 1e-6, "{}", core.factor);
        }
    }

    #[test]
    fn a_budget_in_the_database_wins_and_without_any_nothing_is_limited() {
        let mut core = core("1000 rows/s");
        let written = "50 transactions/s".parse().unwrap();
        renew(&mut core, &View { budget: Some(written), others: Vec::new() }, seconds(1));
        assert_eq!((core.budget, core.allowance.rows_per_s()), (written, None));
        core.change_budget(Budget::UNLIMITED, seconds(2));
        assert_eq!(core.next(seconds(60)), Next::Now(usize::MAX));
    }
}
