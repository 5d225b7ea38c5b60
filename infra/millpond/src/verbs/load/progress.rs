//! How far the run is: a bar on a terminal, a line every five seconds elsewhere.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use capacity::{Counts, Live, Look};
use indicatif::{ProgressBar, ProgressStyle};

use super::super::complain;

const LINE_EVERY: Duration = Duration::from_secs(5);
/// Rates are taken over this time at least: a shorter one flickers.
const RATE_OVER: Duration = Duration::from_secs(1);

/// The picture of a run.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    lasts: Duration,
    printed: Duration,
    before: (Duration, Counts),
    rates: (f64, f64),
}

impl Progress {
    pub(super) fn new(lasts: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let seconds = ProgressBar::new(lasts.as_millis().try_into().unwrap_or(u64::MAX));
            match ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}") {
                Ok(style) => seconds.with_style(style),
                Err(_) => seconds,
            }
        });
        let before = (Duration::ZERO, Counts::default());
        Self { bar, lasts, printed: Duration::ZERO, before, rates: (0.0, 0.0) }
    }

    /// Redraws, or prints a line where one is due.
    pub(super) fn show(&mut self, at: Duration, live: &Live, look: Option<&Look>) {
        let (counts, waiting) = live.counts();
        let passed = at.saturating_sub(self.before.0);
        if passed >= RATE_OVER {
            let rate = |now: u64, then: u64| {
                Duration::from_secs(now.saturating_sub(then)).div_f64(passed.as_secs_f64()).as_secs_f64()
            };
            self.rates = (rate(counts.sent, self.before.1.sent), rate(counts.accepted, self.before.1.accepted));
            self.before = (at, counts);
        }
        let text = || describe(self.rates, &counts, waiting, look);
        match &self.bar {
            Some(bar) => {
                bar.set_position(at.min(self.lasts).as_millis().try_into().unwrap_or(u64::MAX));
                bar.set_message(text());
            }
            None if at.saturating_sub(self.printed) >= LINE_EVERY => {
                complain(&format!("{:>4} s  {}", at.as_secs(), text()));
                self.printed = at;
            }
            None => {}
        }
    }

    /// Leaves the last state above what follows.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

fn describe((sent, accepted): (f64, f64), counts: &Counts, waiting: u64, look: Option<&Look>) -> String {
    let refused = counts.refused + counts.unanswered;
    let mut line = format!("{sent:.0}/s sent, {accepted:.0}/s accepted, {} in all, {refused} refused", counts.accepted);
    if waiting + counts.not_sent > 0 {
        let _ = write!(line, ", {waiting} waiting, {} not sent", counts.not_sent);
    }
    let stored = look.and_then(|look| look.stored);
    let queue = look.and_then(|look| look.orders_waiting);
    if let Some(queue) = queue.or(stored.map(|stored| counts.orders_accepted.saturating_sub(stored))) {
        let _ = write!(line, ", {queue} queued");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_not_as_it_should_be() {
        let counts = Counts { accepted: 90, orders_accepted: 90, refused: 4, unanswered: 1, ..Counts::default() };
        let good = describe((100.0, 95.0), &counts, 0, None);
        assert_eq!(good, "100/s sent, 95/s accepted, 90 in all, 5 refused");
        let look = Look { stored: Some(60), ..Look::default() };
        let late = describe((100.0, 95.0), &Counts { not_sent: 3, ..counts }, 7, Some(&look));
        assert!(late.ends_with(", 7 waiting, 3 not sent, 30 queued"), "{late}");
    }
}
