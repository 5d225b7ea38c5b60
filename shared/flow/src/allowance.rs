//! One worker's share of a budget, as batches: how many messages the next one may have, and when it may begin.
//!
//! What a batch writes is known only afterwards. So a batch is paid for by an estimate when it begins, and settled with
//! what it wrote: what it wrote beyond the estimate is owed and waited for, so the mean rate is exact, whatever the
//! estimate. A batch is worth a *slice*, a small part of a second, so that a second holds many. One with a small share has
//! its batches less often, by the root of its share: what a database pays for is the commits of all, and what makes a
//! second's rows uneven is how much a few commits move that fall on one side of its end by chance.

use std::time::Duration;

use crate::bucket::Bucket;
use crate::budget::Budget;

/// Rows that a message is taken to write before any was seen: an order of one line writes five or six.
const FIRST_ESTIMATE: f64 = 6.0;
/// The weight of the newest call in the estimate and in the usual time.
const NEWEST: f64 = 0.2;
/// A small share waits for its batch so many slices at most: nobody's orders wait long for company.
const LONGEST: f64 = 8.0;

/// When the next batch may begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Now, with so many messages at most; 1 or more.
    Now(usize),
    /// Not before so long.
    After(Duration),
    /// Not with this share.
    Never,
}

/// A worker's share of a database's rows and transactions per second.
#[derive(Debug, Clone)]
pub struct Allowance {
    budget: Budget,
    share: f64,
    rows: Bucket,
    transactions: Bucket,
    slice_s: f64,
    /// Rows that a message writes.
    per_message: f64,
    /// What a call usually takes, seconds.
    call_s: f64,
}

impl Allowance {
    /// Nothing yet; `slice` is what a batch of a worker with the whole budget is worth, in time.
    pub fn new(slice: Duration, at: Duration) -> Self {
        Self {
            budget: Budget::UNLIMITED,
            share: 0.0,
            rows: Bucket::new(at),
            transactions: Bucket::new(at),
            slice_s: slice.as_secs_f64(),
            per_message: FIRST_ESTIMATE,
            call_s: 0.0,
        }
    }

    /// From now on it is `share` (0 to 1) of `budget`.
    pub fn set(&mut self, budget: Budget, share: f64, at: Duration) {
        (self.budget, self.share) = (budget, share);
        self.fill(at);
    }

    /// Rows per second that it comes to; none where rows are not limited.
    pub fn rows_per_s(&self) -> Option<f64> {
        self.budget.rows_per_s.map(|rows| f64::from(rows.get()) * self.share)
    }

    /// Transactions per second that it comes to; none where transactions are not limited.
    pub fn transactions_per_s(&self) -> Option<f64> {
        self.budget.transactions_per_s.map(|transactions| f64::from(transactions.get()) * self.share)
    }

    /// Rows that a message is taken to write.
    pub fn per_message(&self) -> f64 {
        self.per_message
    }

    /// When the next batch may begin, and how large it may be.
    pub fn next(&mut self, at: Duration) -> Next {
        let mut wait = Duration::ZERO;
        let mut messages = usize::MAX;
        if let Some(per_s) = self.rows_per_s() {
            let slice = self.per_message.max(per_s * self.apart_s());
            let Some(rows) = self.rows.wait(slice, at) else { return Next::Never };
            wait = wait.max(rows);
            messages = whole(self.rows.level(at) / self.per_message).max(1);
        }
        if self.transactions_per_s().is_some() {
            let Some(one) = self.transactions.wait(1.0, at) else { return Next::Never };
            wait = wait.max(one);
        }
        if wait.is_zero() { Next::Now(messages) } else { Next::After(wait) }
    }

    /// A batch of `messages` begins. Returns what it was charged per message, for [`Self::settle`] and
    /// [`Self::give_back`].
    pub fn charge(&mut self, messages: usize, at: Duration) -> f64 {
        self.rows.spend(count(messages) * self.per_message, at);
        self.per_message
    }

    /// A call with `messages` of them committed `rows` rows (or, where that is not known, because it failed, what it was
    /// charged) and took `took`.
    pub fn settle(&mut self, charged: f64, messages: usize, rows: Option<u64>, took: Duration, at: Duration) {
        self.call_s += (took.as_secs_f64() - self.call_s) * NEWEST;
        self.fill(at);
        self.transactions.spend(1.0, at);
        let Some(rows) = rows else {
            // The call was made in vain and comes again: it is paid for twice.
            return self.rows.spend(count(messages) * charged, at);
        };
        let rows = exact(rows);
        self.per_message += (rows / count(messages.max(1)) - self.per_message) * NEWEST;
        // A message that was handled before writes nothing, and is work all the same.
        self.per_message = self.per_message.max(1.0);
        let left = count(messages) * charged - rows;
        if left < 0.0 { self.rows.spend(-left, at) } else { self.rows.give_back(left, at) }
    }

    /// So many messages of a batch were not handled after all.
    pub fn give_back(&mut self, charged: f64, messages: usize, at: Duration) {
        self.rows.give_back(count(messages) * charged, at);
    }

    /// How far apart the batches of this share are, seconds.
    fn apart_s(&self) -> f64 {
        (self.slice_s / self.share.max(f64::MIN_POSITIVE).sqrt()).min(self.slice_s * LONGEST)
    }

    /// Silence saves up one slice; what comes in while a call of the usual length runs is kept besides.
    fn fill(&mut self, at: Duration) {
        let kept_s = self.apart_s() + self.call_s;
        let rows = self.rows_per_s().unwrap_or(0.0);
        self.rows.set(rows, self.per_message.max(rows * kept_s), at);
        let transactions = self.transactions_per_s().unwrap_or(0.0);
        self.transactions.set(transactions, (transactions * kept_s).max(1.0), at);
    }
}

fn count(messages: usize) -> f64 {
    exact(messages as u64)
}

#[expect(clippy::cast_precision_loss, reason = "rows of a batch stay far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never below 0, and rounding down is meant"
)]
fn whole(count: f64) -> usize {
    count.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLICE: Duration = Duration::from_millis(40);

    fn allowance(budget: &str, share: f64) -> Allowance {
        let mut allowance = Allowance::new(SLICE, Duration::ZERO);
        allowance.set(budget.parse().unwrap(), share, Duration::ZERO);
        allowance
    }

    #[test]
    fn a_batch_is_worth_a_slice_of_a_second() {
        let mut allowance = allowance("6000 rows/s", 0.25);
        assert_eq!(allowance.next(Duration::ZERO), Next::After(2 * SLICE));
        assert_eq!(allowance.next(2 * SLICE), Next::Now(20), "120 rows, as the root of a quarter is a half");
        assert_eq!(allowance.next(Duration::from_mins(1)), Next::Now(20), "silence is not saved up");
    }

    #[test]
    fn what_a_batch_wrote_beyond_the_estimate_is_waited_for() {
        let mut allowance = allowance("1000 rows/s", 1.0);
        assert_eq!(allowance.next(SLICE), Next::Now(6));
        let charged = allowance.charge(6, SLICE);
        // 36 of the 40 rows are charged; it writes 136.
        allowance.settle(charged, 6, Some(136), Duration::ZERO, SLICE);
        let Next::After(wait) = allowance.next(SLICE) else { panic!("it owes") };
        assert!(wait.abs_diff(Duration::from_millis(136)) <= Duration::from_micros(1), "{wait:?}");
    }

    #[test]
    fn however_small_a_share_one_message_passes_in_the_end() {
        let mut allowance = allowance("10 rows/s", 0.01);
        let Next::After(wait) = allowance.next(Duration::ZERO) else { panic!("it must wait") };
        assert!(wait > Duration::from_secs(59) && wait < Duration::from_secs(61), "{wait:?}");
        assert_eq!(allowance.next(wait + Duration::from_millis(1)), Next::Now(1));
    }

    #[test]
    fn transactions_are_counted_by_calls_and_rows_without_a_ceiling_do_not_limit() {
        let mut allowance = allowance("20 transactions/s", 0.5);
        let begin = Duration::from_millis(100);
        assert_eq!(allowance.next(begin), Next::Now(usize::MAX));
        let charged = allowance.charge(500, begin);
        // Bisected: three calls.
        for messages in [500, 250, 250] {
            allowance.settle(charged, messages, (messages < 500).then_some(1_000), Duration::ZERO, begin);
        }
        let Next::After(wait) = allowance.next(begin) else { panic!("it owes two transactions") };
        assert!(wait.abs_diff(Duration::from_millis(300)) <= Duration::from_micros(1), "{wait:?}");
    }

    #[test]
    fn no_share_is_no_batch() {
        let mut allowance = allowance("1000 rows/s", 0.0);
        assert_eq!(allowance.next(Duration::from_secs(9)), Next::Never);
        allowance.set(Budget::UNLIMITED, 0.0, Duration::from_secs(9));
        assert_eq!(allowance.next(Duration::from_secs(9)), Next::Now(usize::MAX));
    }
}
