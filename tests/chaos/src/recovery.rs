//! How long the shop took to come back after a fault: pure arithmetic over what was seen.

use serde::Serialize;

/// A backlog of so few messages is none: about a second of the load.
const NO_BACKLOG: u64 = 50;
/// The level before a fault is the highest of so many seconds.
const BEFORE_S: f64 = 5.0;

/// A look at the queues: when, in seconds from the start, and how many messages waited; `None` while nobody could say.
pub type Depth = (f64, Option<u64>);

/// From the end of a fault, seconds; `None` where it was not seen before the end of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Recovery {
    /// Until an order was accepted.
    pub first_202_s: Option<f64>,
    /// Until the backlog was gone, or no longer than before the fault.
    pub drained_s: Option<f64>,
}

/// The recovery from a fault that lasted from `begin` to `end`. `accepted` and `depths` are ascending.
pub fn recovery(begin: f64, end: f64, accepted: &[f64], depths: &[Depth]) -> Recovery {
    let first = accepted.get(accepted.partition_point(|at| *at < end));
    let before = depths.iter().filter(|(at, _)| (begin - BEFORE_S..=begin).contains(at));
    let level = before.filter_map(|(_, depth)| *depth).max().unwrap_or(0).max(NO_BACKLOG);
    let after = &depths[depths.partition_point(|(at, _)| *at < end)..];
    let drained = after.iter().find(|(_, depth)| depth.is_some_and(|depth| depth <= level));
    Recovery { first_202_s: first.map(|at| at - end), drained_s: drained.map(|(at, _)| at - end) }
}

/// Percentiles of a few values, by the nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are no larger.
    pub p50: f64,
    /// 99% of them; with fewer than a hundred the largest.
    pub p99: f64,
    /// All of them.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { p50: rank(50)?, p99: rank(99)?, max: *values.last()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_counts_from_the_end_of_the_fault() {
        let accepted = [1.0, 9.9, 12.5, 13.0];
        let depths = [(8.0, Some(20)), (10.5, None), (11.0, Some(900)), (14.0, Some(300)), (17.0, Some(40))];
        let found = recovery(9.0, 10.0, &accepted, &depths);
        assert_eq!(found, Recovery { first_202_s: Some(2.5), drained_s: Some(7.0) });
    }

    #[test]
    fn a_backlog_that_was_there_before_need_not_be_gone() {
        let depths = [(8.0, Some(500)), (11.0, Some(900)), (12.0, Some(480))];
        assert_eq!(recovery(9.0, 10.0, &[], &depths).drained_s, Some(2.0));
    }

    #[test]
    fn what_was_not_seen_is_none_and_not_zero() {
        assert_eq!(recovery(9.0, 10.0, &[5.0], &[(11.0, None), (12.0, Some(9_999))]), Recovery::default());
    }

    #[test]
    fn percentiles_of_a_few_are_values_that_were_seen() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0]), Some(Spread { p50: 3.0, p99: 3.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { p50: 2.0, p99: 4.0, max: 4.0 }));
        let hundred = Spread::of((1..=200).map(f64::from)).unwrap();
        assert_eq!((hundred.p50, hundred.p99, hundred.max), (100.0, 198.0, 200.0));
    }
}
