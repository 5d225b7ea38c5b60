//! Several workers on one database, second by second, with the real arithmetic and a clock of the test's own.

#![cfg(test)]

use std::time::Duration;

use flow::shares::{self, WHOLE};
use flow::{Allowance, Budget, Claim, Next, Rank};
use proptest::prelude::*;

const STEP: Duration = Duration::from_millis(1);
const RENEW: Duration = Duration::from_secs(1);
const SLICE: Duration = Duration::from_millis(20);
const KEPT: u32 = WHOLE / 10;

/// A worker whose queue is never empty.
struct Worker {
    rank: Rank,
    allowance: Allowance,
    share: u32,
    renews_at: Duration,
    /// When its batch commits, how many messages it has, what they were charged.
    batch: Option<(Duration, usize, f64)>,
}

struct Site {
    budget: Budget,
    now: Duration,
    workers: Vec<Worker>,
    /// Rows committed in each second, by rank.
    seconds: Vec<[u64; 2]>,
    random: u64,
}

impl Site {
    fn new(rows_per_s: u32, seed: u64) -> Self {
        let budget = format!("{rows_per_s} rows/s").parse().unwrap();
        Self { budget, now: Duration::ZERO, workers: Vec::new(), seconds: vec![[0; 2]], random: seed }
    }

    /// 0 to `below` - 1, by a linear congruential generator (Knuth's MMIX).
    fn chance(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn join(&mut self, rank: Rank) {
        let mut allowance = Allowance::new(SLICE, self.now);
        allowance.set(self.budget, 0.0, self.now);
        // Processes do not renew in step.
        let renews_at = self.now + Duration::from_millis(self.chance(200));
        self.workers.push(Worker { rank, allowance, share: 0, renews_at, batch: None });
    }

    fn renew(&mut self, me: usize) {
        let claims: Vec<Claim> = self.workers.iter().map(|worker| Claim { rank: worker.rank, demand: WHOLE }).collect();
        let held = self.workers.iter().map(|worker| u64::from(worker.share)).sum::<u64>();
        let fair = shares::fair(&claims, KEPT)[me];
        let worker = &mut self.workers[me];
        worker.share = shares::grant(fair, held - u64::from(worker.share));
        worker.allowance.set(self.budget, shares::fraction(worker.share), self.now);
        worker.renews_at = self.now + if worker.share < fair { RENEW / 5 } else { RENEW };
    }

    /// Orders of one to three lines: an order, its lines, their movements and an event; and the SKU's row for each batch.
    fn rows(&mut self, messages: usize) -> u64 {
        1 + (0..messages).map(|_| 2 + 2 * (1 + self.chance(3))).sum::<u64>()
    }

    fn work(&mut self, me: usize) {
        if let Some((due, messages, charged)) = self.workers[me].batch
            && due <= self.now
        {
            let rows = self.rows(messages);
            let worker = &mut self.workers[me];
            worker.allowance.settle(charged, messages, Some(rows), Duration::from_millis(10), self.now);
            worker.batch = None;
            let rank = usize::from(worker.rank == Rank::Analytics);
            self.seconds.last_mut().unwrap()[rank] += rows;
        }
        if self.workers[me].batch.is_none()
            && let Next::Now(messages) = self.workers[me].allowance.next(self.now)
        {
            let takes = Duration::from_millis(2 + self.chance(16));
            let messages = messages.min(128);
            let worker = &mut self.workers[me];
            let charged = worker.allowance.charge(messages, self.now);
            worker.batch = Some((self.now + takes, messages, charged));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            if self.now.subsec_millis() == 0 {
                self.seconds.push([0; 2]);
            }
            for me in 0..self.workers.len() {
                if self.workers[me].renews_at <= self.now {
                    self.renew(me);
                }
                self.work(me);
            }
        }
    }

    /// Rows of each whole second since `from`.
    fn since(&self, from: usize) -> impl Iterator<Item = u64> + '_ {
        let whole = &self.seconds[from..self.seconds.len() - 1];
        whole.iter().map(|[checkout, analytics]| checkout + analytics)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// The promise: while the queue is not empty, every second is within 5% of the budget, however many share it.
    #[test]
    fn every_second_is_within_five_percent_of_the_budget(
        rows_per_s in 1_500_u32..20_000, workers in prop::sample::select(vec![1_usize, 2, 4]), seed: u64,
    ) {
        let mut site = Site::new(rows_per_s, seed);
        (0..workers).for_each(|_| site.join(Rank::Checkout));
        site.run(Duration::from_secs(20));
        for rows in site.since(4) {
            let off = rows.abs_diff(u64::from(rows_per_s));
            prop_assert!(off * 20 <= u64::from(rows_per_s), "{rows} of {rows_per_s} in a second: {:?}", site.seconds);
        }
    }

    /// One is added while the others work: no second above the budget by more than the same 5%.
    #[test]
    fn a_newcomer_takes_only_what_the_others_have_given_up(
        rows_per_s in 1_500_u32..20_000, workers in 1_usize..4, seed: u64,
    ) {
        let mut site = Site::new(rows_per_s, seed);
        (0..workers).for_each(|_| site.join(Rank::Checkout));
        site.run(Duration::from_secs(6));
        site.join(Rank::Checkout);
        site.run(Duration::from_secs(8));
        for rows in site.since(1) {
            prop_assert!(rows * 20 <= u64::from(rows_per_s) * 21, "{rows} of {rows_per_s}: {:?}", site.seconds);
        }
        let shares: Vec<u32> = site.workers.iter().map(|worker| worker.share).collect();
        prop_assert!(shares.iter().all(|share| share.abs_diff(shares[0]) <= 2), "{shares:?}");
    }
}

#[test]
fn analytics_has_its_tenth_and_no_more_while_checkout_is_hungry() {
    let mut site = Site::new(10_000, 7);
    for rank in [Rank::Checkout, Rank::Checkout, Rank::Analytics, Rank::Analytics] {
        site.join(rank);
    }
    site.run(Duration::from_secs(15));
    for [_, analytics] in &site.seconds[4..14] {
        assert!((900..=1_100).contains(analytics), "{:?}", site.seconds);
    }
}
