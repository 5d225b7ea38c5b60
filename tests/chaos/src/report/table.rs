//! The report on a terminal.

use std::fmt::Write as _;

use super::Report;
use crate::recovery::Spread;

impl Report {
    /// What is printed at the end of a run.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<20} {:>5} {:>7} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}\n",
            "class", "count", "failed", "202 p50", "p99", "max", "drain p50", "p99", "max"
        );
        for class in &self.classes {
            let (accepts, drains) = (cells(class.first_202_s), cells(class.drained_s));
            let _ = writeln!(
                text,
                "{:<20} {:>5} {:>7} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}",
                class.class.name(),
                class.injected,
                class.failed,
                accepts[0],
                accepts[1],
                accepts[2],
                drains[0],
                drains[1],
                drains[2]
            );
        }
        let _ = writeln!(
            text,
            "(seconds from the end of a fault, unrouted orders replayed; others may have been under way)\n"
        );
        for (name, value) in self.figures().into_iter().chain(self.last_words()) {
            let _ = writeln!(text, "  {name:<28}  {value}");
        }
        text
    }

    /// The figures beside the classes, by name.
    pub(super) fn figures(&self) -> Vec<(String, String)> {
        let [accepted, refused, unanswered, not_sent] = self.load;
        let [taken, again, denied, back] = self.client;
        let mut rows = vec![
            ("verdict".to_owned(), self.word().to_owned()),
            ("seed".to_owned(), self.seed.to_string()),
            ("faults injected".to_owned(), format!("{} in {:.0} s", self.injected, self.took_s)),
            (
                "load".to_owned(),
                format!("{accepted} accepted, {refused} refused, {unanswered} without answer, {not_sent} not sent"),
            ),
            (
                "client that asks again".to_owned(),
                format!("{taken} accepted, {again} tries again, {denied} refused, {back} cancelled or refunded"),
            ),
        ];
        if let Some(verdict) = &self.verdict {
            rows.extend(verdict.counts.iter().map(|(name, count)| (name.clone(), count.to_string())));
            let named = verdict.breaches.named().iter().take(20);
            rows.extend(named.map(|breach| ("BROKEN".to_owned(), breach.to_string())));
        }
        rows.extend(self.failures.iter().map(|(class, why)| (format!("not done: {class}"), why.clone())));
        rows.extend(self.lost.iter().map(|queue| ("lost by RabbitMQ".to_owned(), queue.clone())));
        rows.extend(self.unrest.iter().map(|why| ("not at rest".to_owned(), why.clone())));
        rows.push(("processes that ended by themselves".to_owned(), self.deaths.len().to_string()));
        rows
    }

    /// Of each process that ended by itself.
    pub(super) fn last_words(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.deaths.iter().map(|death| {
            let last = death.said.lines().last().unwrap_or_default();
            let ended = format!("{:.0} s, {}: {last}", death.at_s, death.status);
            (format!("ended by itself: {}", death.process), ended)
        })
    }

    /// The verdict in a word.
    pub(super) fn word(&self) -> &'static str {
        match (self.clean, self.complete) {
            (true, true) => "clean: every promise was kept",
            (true, false) => "incomplete: no promise was broken, but not everything was tried",
            (false, _) if !self.lost.is_empty() => "none: RabbitMQ lost queues of its own, so nothing can be judged",
            (false, _) if self.verdict.is_none() => "none: the run was not judged",
            (false, _) => "BROKEN: a promise was not kept",
        }
    }
}

/// p50, p99 and max.
pub(super) fn cells(spread: Option<Spread>) -> [String; 3] {
    match spread {
        Some(Spread { p50, p99, max }) => [p50, p99, max].map(|time| format!("{time:.1}")),
        None => ["–"; 3].map(ToOwned::to_owned),
    }
}
