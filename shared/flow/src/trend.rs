//! How fast a queue gets shorter, seen from its length alone: right for any number of publishers and consumers.

use std::collections::VecDeque;
use std::time::Duration;

use crate::drain::Drain;
use crate::meter::exact;

/// The lengths of one queue over a window of time, oldest first.
#[derive(Debug, Clone)]
pub struct Trend {
    window: Duration,
    seen: VecDeque<(Duration, u64)>,
}

impl Trend {
    /// A trend over the last `window`.
    pub fn new(window: Duration) -> Self {
        Self { window, seen: VecDeque::new() }
    }

    /// The queue has `length` at `now`, a time since a start that the caller chose. A time that goes back begins anew.
    pub fn record(&mut self, now: Duration, length: u64) {
        if self.seen.back().is_some_and(|(last, _)| now <= *last) {
            self.seen.clear();
        }
        self.seen.push_back((now, length));
        while self.seen.len() > 2
            && self.seen.front().is_some_and(|(first, _)| now.saturating_sub(*first) > self.window)
        {
            self.seen.pop_front();
        }
    }

    /// The length is not known any more, nor is what came of it.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Messages per second by which it gets shorter; negative while it grows, `None` until it was seen twice.
    pub fn net_per_second(&self) -> Option<f64> {
        let (first, before) = *self.seen.front()?;
        let (last, now) = *self.seen.back()?;
        let seconds = last.saturating_sub(first).as_secs_f64();
        (seconds > 0.0).then(|| (exact(before) - exact(now)) / seconds)
    }

    /// When it will be empty at this rate.
    pub fn drain(&self) -> Drain {
        let Some((_, waiting)) = self.seen.back() else { return Drain::Unknown };
        Drain::estimate(*waiting, Some(0.0), self.net_per_second())
    }
}

/// After how many seconds a client that is turned away should ask again: when the queue is empty, but 1 at least and `most`
/// at most. A queue that grows, or of which nothing is known, says nothing better than `most` and `unknown`.
pub fn come_back_after(drain: Drain, unknown: u32, most: u32) -> u32 {
    let seconds = match drain {
        Drain::Empty => 1,
        // Below `most`, which is a u32.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the min")]
        Drain::In(time) => time.as_secs_f64().ceil().min(f64::from(most)) as u32,
        Drain::Growing => most,
        Drain::Unknown => unknown,
    };
    seconds.clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_net_rate_is_what_the_length_says_whoever_publishes_and_consumes() {
        let mut trend = Trend::new(10 * SECOND);
        assert_eq!(trend.drain(), Drain::Unknown);
        trend.record(SECOND, 1_000);
        assert_eq!(trend.net_per_second(), None, "one look is no rate");
        trend.record(3 * SECOND, 800);
        assert_eq!(trend.net_per_second(), Some(100.0));
        assert_eq!(trend.drain(), Drain::In(8 * SECOND));
        trend.record(4 * SECOND, 1_400);
        assert_eq!(trend.drain(), Drain::Growing);
        trend.record(60 * SECOND, 0);
        assert_eq!(trend.drain(), Drain::Empty);
        trend.forget();
        assert_eq!(trend.net_per_second(), None);
    }

    #[test]
    fn an_old_look_does_not_count_for_ever() {
        let mut trend = Trend::new(5 * SECOND);
        for second in 0..20_u32 {
            trend.record(second * SECOND, if second < 10 { 1_000 } else { 1_000 - u64::from(second - 10) * 100 });
        }
        assert_eq!(trend.net_per_second(), Some(100.0));
    }

    #[test]
    fn a_client_is_asked_back_for_when_there_is_room_within_bounds() {
        let after = |drain| come_back_after(drain, 5, 60);
        assert_eq!(after(Drain::Empty), 1);
        assert_eq!(after(Drain::In(Duration::from_millis(1))), 1);
        assert_eq!(after(Drain::In(Duration::from_millis(12_100))), 13);
        assert_eq!(after(Drain::In(Duration::MAX)), 60);
        assert_eq!(after(Drain::Growing), 60);
        assert_eq!(after(Drain::Unknown), 5);
    }
}
