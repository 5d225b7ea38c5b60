//! How old a replica's data are, from positions: pure.
//!
//! The clock of neither server is asked. The primary's position is noted with the time at which it was asked for; a replica
//! that has replayed a noted position has everything that was committed by that time. On a primary where nothing happens the
//! latest mark is replayed already, so the lag is nothing, where the time of the last replayed transaction would grow.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::position::Position;

/// Marks kept at most. A replica that is further behind is known to be so; how much, only coarsely.
const MOST_MARKS: usize = 512;

/// The primary's positions at times, oldest first.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: VecDeque<(Instant, Position)>,
}

impl Marks {
    /// The primary is at `position` at `asked` or later: the time is taken before it is asked.
    pub(super) fn note(&mut self, asked: Instant, position: Position) {
        if self.marks.back().is_some_and(|(_, last)| *last > position) {
            // It went back: another server, or a crash that lost log which nobody was told of. Older marks mean nothing.
            self.marks.clear();
        }
        if self.marks.len() >= MOST_MARKS {
            // Every second one: what is asked of them later comes out older than it is, never younger.
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.marks.push_back((asked, position));
    }

    /// The latest time by which everything committed is in `replayed`; `None` where nothing is known of that. Marks before
    /// that time are forgotten.
    pub(super) fn fresh_as_of(&mut self, replayed: Position) -> Option<Instant> {
        let passed = self.marks.partition_point(|(_, position)| *position <= replayed);
        self.marks.drain(..passed.checked_sub(1)?);
        self.marks.front().map(|(asked, _)| *asked)
    }

    /// Bytes of log that `replayed` is behind the latest mark.
    pub(super) fn bytes_behind(&self, replayed: Position) -> Option<u64> {
        self.marks.back().map(|(_, latest)| latest.bytes_since(replayed))
    }

    pub(super) fn forget(&mut self) {
        self.marks.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn marks(start: Instant, positions: &[u64]) -> Marks {
        let mut marks = Marks::default();
        for (second, position) in (0..).zip(positions) {
            marks.note(at(start, second), Position::from(*position));
        }
        marks
    }

    #[test]
    fn a_replica_is_as_fresh_as_the_latest_mark_that_it_has_passed() {
        let start = Instant::now();
        let mut marks = marks(start, &[100, 200, 300]);
        assert_eq!(marks.bytes_behind(Position::from(250)), Some(50));
        assert_eq!(marks.fresh_as_of(Position::from(99)), None);
        assert_eq!(marks.fresh_as_of(Position::from(250)), Some(at(start, 1)));
        assert_eq!(marks.fresh_as_of(Position::from(299)), Some(at(start, 1)));
        assert_eq!(marks.fresh_as_of(Position::from(300)), Some(at(start, 2)));
        assert_eq!(marks.fresh_as_of(Position::from(900)), Some(at(start, 2)), "ahead of what was noted");
    }

    #[test]
    fn on_an_idle_primary_a_replica_stays_fresh() {
        let start = Instant::now();
        let mut marks = marks(start, &[100; 60]);
        assert_eq!(marks.fresh_as_of(Position::from(100)), Some(at(start, 59)));
        assert_eq!(marks.bytes_behind(Position::from(100)), Some(0));
    }

    #[test]
    fn a_replica_that_goes_back_is_not_believed_until_it_has_caught_up() {
        let start = Instant::now();
        let mut marks = marks(start, &[100, 200, 300]);
        assert_eq!(marks.fresh_as_of(Position::from(300)), Some(at(start, 2)));
        assert_eq!(marks.fresh_as_of(Position::from(150)), None, "restarted from an older state");
        marks.note(at(start, 3), Position::from(400));
        assert_eq!(marks.fresh_as_of(Position::from(400)), Some(at(start, 3)));
    }

    #[test]
    fn a_primary_that_goes_back_makes_older_marks_void() {
        let start = Instant::now();
        let mut marks = marks(start, &[100, 900]);
        marks.note(at(start, 2), Position::from(500));
        assert_eq!(marks.fresh_as_of(Position::from(499)), None);
        assert_eq!(marks.fresh_as_of(Position::from(950)), Some(at(start, 2)));
    }

    #[test]
    fn however_long_a_replica_hangs_the_marks_are_bounded_and_never_flatter_it() {
        let start = Instant::now();
        let mut marks = Marks::default();
        for second in 0..10_000 {
            marks.note(at(start, second), Position::from(second * 10));
            assert!(marks.marks.len() <= MOST_MARKS);
        }
        for replayed in [5, 12_345, 50_000, 99_985] {
            let fresh = marks.fresh_as_of(Position::from(replayed));
            assert!(fresh.is_none_or(|time| time <= at(start, replayed / 10)), "{replayed}");
        }
        assert_eq!(marks.fresh_as_of(Position::from(99_990)), Some(at(start, 9_999)));
    }
}
