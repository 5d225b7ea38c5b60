//! The demo's live picture: what arrives, what the database is given, and what waits between the two.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use flow::{Drain, Meter, sentence};
use indicatif::{ProgressBar, ProgressStyle};

/// Seconds that the picture shows.
const WINDOW: usize = 60;
/// Seconds that arrivals are averaged over: a spike ends from one second to the next, and what was before it says nothing of now.
const ARRIVALS: usize = 1;
/// Seconds that the database's rate is averaged over, which is steady but for its batches.
const DATABASE: usize = 3;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Totals at a moment since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    /// Orders answered 202.
    pub(super) accepted: u64,
    /// Orders that the database holds.
    pub(super) stored: u64,
}

impl Totals {
    /// Orders in the queue or in a worker's hands.
    pub(super) fn waiting(self) -> u64 {
        self.accepted.saturating_sub(self.stored)
    }
}

/// Meters behind the picture, and the terminal in front of it. Without a terminal it prints a line a second.
pub(super) struct Picture {
    arrivals: Meter,
    database: Meter,
    /// How many waited at the end of each second, oldest first.
    waiting: VecDeque<u64>,
    second: u64,
    screen: Option<ProgressBar>,
}

impl Picture {
    pub(super) fn new() -> Self {
        let screen = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{msg}") {
                bar.set_style(style);
            }
            bar
        });
        let meter = || Meter::new(WINDOW);
        Self { arrivals: meter(), database: meter(), waiting: VecDeque::new(), second: 0, screen }
    }

    /// Takes the totals at `elapsed` since the start and redraws.
    pub(super) fn show(&mut self, elapsed: Duration, totals: Totals) {
        let second = elapsed.as_secs();
        if second > self.second {
            let line = self.end_second(second, totals);
            if self.screen.is_none() {
                // Nothing depends on this line: a closed standard error must not end the demo.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        }
        self.second = second;
        self.arrivals.record(second, totals.accepted.saturating_sub(self.arrivals.total()));
        self.database.record(second, totals.stored.saturating_sub(self.database.total()));
        if let Some(bar) = &self.screen {
            bar.set_message(self.lines(totals));
        }
    }

    /// Leaves the last state of the picture above what follows.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.screen {
            bar.abandon();
        }
    }

    /// The fullest second of the database so far.
    pub(super) fn peak_database(&self) -> u64 {
        self.database.peak()
    }

    /// The fullest second of arrivals so far.
    pub(super) fn peak_arrivals(&self) -> u64 {
        self.arrivals.peak()
    }

    /// Counts the seconds before `next` as whole, and says what came of them.
    fn end_second(&mut self, next: u64, totals: Totals) -> String {
        self.arrivals.advance(next);
        self.database.advance(next);
        if self.waiting.len() == WINDOW {
            self.waiting.pop_front();
        }
        self.waiting.push_back(totals.waiting());
        self.line(totals)
    }

    fn lines(&self, totals: Totals) -> String {
        let row = |name: &str, line: String, number: String| format!("  {name:<11} {line:<WINDOW$} {number:>8}");
        [
            row("arrivals/s", sparkline(self.arrivals.buckets()), rate(&self.arrivals, ARRIVALS)),
            row("database/s", sparkline(self.database.buckets()), rate(&self.database, DATABASE)),
            row("waiting", sparkline(self.waiting.iter().copied()), totals.waiting().to_string()),
            format!("  {}", self.sentence(totals)),
        ]
        .join("\n")
    }

    fn line(&self, totals: Totals) -> String {
        format!(
            "{:>3} s  arrivals/s {:>6}  database/s {:>6}  waiting {:>6}  {}",
            self.second,
            rate(&self.arrivals, ARRIVALS),
            rate(&self.database, DATABASE),
            totals.waiting(),
            self.sentence(totals)
        )
    }

    fn sentence(&self, totals: Totals) -> String {
        let (waiting, leaving) = (totals.waiting(), self.database.per_second(DATABASE));
        let drain = match Drain::estimate(waiting, Some(0.0), leaving) {
            // Less than the database takes in a second is under way rather than waiting, and too little to tell a trend.
            Drain::In(time) if time < Duration::from_secs(1) => Drain::In(time),
            _ => Drain::estimate(waiting, self.arrivals.per_second(ARRIVALS), leaving),
        };
        sentence(waiting, drain)
    }
}

fn rate(meter: &Meter, seconds: usize) -> String {
    meter.per_second(seconds).map_or_else(|| "–".to_owned(), |rate| format!("{rate:.0}"))
}

/// A row of blocks, the highest value at full height; a zero is the lowest block.
fn sparkline(values: impl Iterator<Item = u64> + Clone) -> String {
    let highest = values.clone().max().unwrap_or(0).max(1);
    let steps = LEVELS.len() as u64 - 1;
    values
        .map(|value| LEVELS[usize::try_from((value * steps).div_ceil(highest)).unwrap_or(0).min(LEVELS.len() - 1)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_shows_the_highest_value_at_full_height_and_zero_as_the_lowest() {
        assert_eq!(sparkline([0, 1, 50, 100].into_iter()), "▁▂▅█");
        assert_eq!(sparkline([0, 0].into_iter()), "▁▁");
    }

    #[test]
    fn rates_come_from_totals_and_what_waits_is_their_difference() {
        let mut picture = Picture::new();
        picture.show(Duration::from_millis(500), Totals { accepted: 100, stored: 20 });
        picture.show(Duration::from_millis(1_500), Totals { accepted: 150, stored: 80 });
        assert_eq!(picture.peak_arrivals(), 100);
        assert_eq!(picture.waiting, [70]);
        assert!(picture.line(Totals { accepted: 150, stored: 80 }).contains("waiting     70"));
    }

    #[test]
    fn the_second_that_has_ended_says_whether_what_waits_grows() {
        let mut picture = Picture::new();
        let mut totals = Totals::default();
        let steady = "Keeping up: 1 waiting, clear at once.";
        let seconds = [
            (151, 150, steady),
            (150, 150, steady),
            (900, 300, "Absorbing a spike: 601 waiting, and still growing."),
            (900, 300, "Absorbing a spike: 1,201 waiting, and still growing."),
            (90, 300, "Draining: 991 waiting, clear in 5 s."),
        ];
        for (second, (arrive, stored, said)) in (0..).zip(seconds) {
            totals = Totals { accepted: totals.accepted + arrive, stored: totals.stored + stored };
            picture.show(Duration::from_millis(second * 1_000 + 900), totals);
            let line = picture.end_second(second + 1, totals);
            assert!(line.ends_with(said), "second {second}: {line}");
        }
    }
}
