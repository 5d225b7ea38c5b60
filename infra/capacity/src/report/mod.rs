//! What a run measured: for scripts as JSON, for people as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::live::{Latency, Second, Snapshot};
use crate::observe::Look;

/// What a run was asked for, in words and numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Described {
    /// Begins every key of the run.
    pub run: String,
    /// Where it went.
    pub url: String,
    /// When it began (RFC 3339).
    pub started_at: String,
    /// Its course: `1000/s for 30 s`.
    pub load: String,
    /// What was sent: `orders of HOT`.
    pub mix: String,
    /// What randomness began with.
    pub seed: u64,
    /// Connections.
    pub connections: usize,
    /// It measures capacity: latencies are those of a closed loop.
    pub saturating: bool,
    /// Where `queue` comes from, or why it is missing.
    pub queue_seen: String,
    /// Where the databases' figures come from, or why they are missing.
    pub database_seen: String,
}

/// What was seen of the system behind the ingress.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observed {
    /// In order.
    pub looks: Vec<Look>,
    /// How long after the last answer everything accepted was stored, counted and out of the queues; `None` where that was
    /// not seen.
    pub drained_in: Option<Duration>,
    /// Orders confirmed.
    pub confirmed: Option<u64>,
}

/// The report. Its fields are stable: a script may rely on them. Fields that were not observed are `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Version of these fields, 1.
    pub format: u32,
    /// See [`Described`].
    pub run: String,
    /// See [`Described`].
    pub url: String,
    /// See [`Described`].
    pub started_at: String,
    /// See [`Described`].
    pub load: String,
    /// See [`Described`].
    pub mix: String,
    /// See [`Described`].
    pub seed: u64,
    /// See [`Described`].
    pub connections: usize,
    /// See [`Described`].
    pub saturating: bool,
    /// It was stopped before its plan was over.
    pub interrupted: bool,
    /// From the first planned time to the last answer, seconds.
    pub duration_s: f64,
    /// Arrivals whose time came: `sent + not_sent`.
    pub planned: u64,
    /// Requests sent: `accepted + refused + unanswered`.
    pub sent: u64,
    /// Arrivals that were not sent: too many waited, or there was no connection.
    pub not_sent: u64,
    /// The most that ever waited for a connection.
    pub most_waiting: u64,
    /// Requests taken: orders answered 202, page events answered 2xx.
    pub accepted: u64,
    /// Of these, orders.
    pub orders_accepted: u64,
    /// Page events in accepted requests.
    pub events_accepted: u64,
    /// Refusals by HTTP status.
    pub refused: BTreeMap<u16, u64>,
    /// What the first refusal of each status said.
    pub first_refusals: BTreeMap<u16, String>,
    /// Requests that no answer came to: their outcome is unknown.
    pub unanswered: u64,
    /// `accepted / duration_s`.
    pub accepted_per_s: f64,
    /// `events_accepted / duration_s`.
    pub events_accepted_per_s: f64,
    /// Of all answers, refusals too, from their planned times.
    pub latency_ms: Option<Milliseconds>,
    /// Where `queue` comes from, or why it is missing.
    pub queue_seen: String,
    /// Where the databases' figures come from, or why they are missing.
    pub database_seen: String,
    /// Orders that the databases gained from the start to the last look, anybody's.
    pub stored: Option<u64>,
    /// Page events that analytics counted from the start to the last look, anybody's.
    pub events_counted: Option<u64>,
    /// Orders that were confirmed (units reserved), anybody's.
    pub confirmed: Option<u64>,
    /// From the last answer until everything accepted was stored and counted, seconds. `null`: not seen, or not in time.
    pub drained_in_s: Option<f64>,
    /// `confirmed`, over the time from the start until everything was drained.
    pub confirmed_per_s: Option<f64>,
    /// `events_counted`, over the same time.
    pub events_counted_per_s: Option<f64>,
    /// Second by second, also those of the drain.
    pub seconds: Vec<Point>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Milliseconds {
    /// Half of the answers came within it.
    pub p50: f64,
    /// 90%.
    pub p90: f64,
    /// 99%.
    pub p99: f64,
    /// 99.9%.
    pub p999: f64,
    /// All of them.
    pub max: f64,
}

/// A second of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Point {
    /// Its begin, from the start.
    pub t: u64,
    /// Arrivals planned in it.
    pub planned: u64,
    /// Requests sent in it.
    pub sent: u64,
    /// Arrivals given up in it.
    pub not_sent: u64,
    /// Requests taken in it.
    pub accepted: u64,
    /// Page events taken in it.
    pub events_accepted: u64,
    /// Requests refused in it.
    pub refused: u64,
    /// Requests given up in it.
    pub unanswered: u64,
    /// Arrivals waiting for a connection.
    pub waiting: u64,
    /// Latency of the answers that came in it, ms.
    pub p50_ms: Option<f64>,
    /// The same.
    pub p99_ms: Option<f64>,
    /// The same.
    pub max_ms: Option<f64>,
    /// Orders between their 202 and the database, at its end.
    pub queue: Option<u64>,
    /// Messages of page events in their queue, at its end.
    pub events_queue: Option<u64>,
    /// Orders that the databases gained in it.
    pub stored_per_s: Option<f64>,
    /// Page events that analytics counted in it.
    pub events_counted_per_s: Option<f64>,
    /// Rows that `PostgreSQL` wrote in it.
    pub rows_per_s: Option<f64>,
    /// Transactions that it committed in it.
    pub commits_per_s: Option<f64>,
}

impl Report {
    /// Puts together what was asked for, what the generator counted and what was observed.
    pub fn new(
        described: Described,
        snapshot: Snapshot,
        took: Duration,
        interrupted: bool,
        observed: &Observed,
    ) -> Self {
        let counts = snapshot.counts;
        let duration_s = took.as_secs_f64();
        let last = observed.looks.iter().rev().find(|look| look.stored.is_some());
        let drained_at = observed.drained_in.map(|after| (took + after).as_secs_f64());
        let over_all = |count: Option<u64>| Some(rounded(real(count?) / drained_at?.max(0.001)));
        let (stored, events_counted) = (last.and_then(|look| look.stored), last.and_then(|look| look.counted));
        Self {
            format: 1,
            run: described.run,
            url: described.url,
            started_at: described.started_at,
            load: described.load,
            mix: described.mix,
            seed: described.seed,
            connections: described.connections,
            saturating: described.saturating,
            interrupted,
            duration_s: rounded(duration_s),
            planned: counts.planned,
            sent: counts.sent,
            not_sent: counts.not_sent,
            most_waiting: snapshot.most_waiting,
            accepted: counts.accepted,
            orders_accepted: counts.orders_accepted,
            events_accepted: counts.events_accepted,
            refused: snapshot.refused,
            first_refusals: snapshot.first_refusals,
            unanswered: counts.unanswered,
            accepted_per_s: rounded(real(counts.accepted) / duration_s.max(0.001)),
            events_accepted_per_s: rounded(real(counts.events_accepted) / duration_s.max(0.001)),
            latency_ms: snapshot.latency.map(Milliseconds::from),
            queue_seen: described.queue_seen,
            database_seen: described.database_seen,
            stored,
            events_counted,
            confirmed: observed.confirmed,
            drained_in_s: observed.drained_in.map(|after| rounded(after.as_secs_f64())),
            confirmed_per_s: over_all(observed.confirmed),
            events_counted_per_s: over_all(events_counted),
            seconds: points(&snapshot.seconds, &observed.looks),
        }
    }

    /// As JSON, with a line break at the end.
    pub fn to_json(&self) -> String {
        // A struct of numbers, texts and lists of them has a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The main numbers, a name and a value each.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("load", self.load.clone()),
            ("sent", self.mix.clone()),
            ("planned", self.planned.to_string()),
            ("sent / not sent", format!("{} / {}", self.sent, self.not_sent)),
            ("accepted", format!("{} ({:.0}/s)", self.accepted, self.accepted_per_s)),
        ];
        if self.events_accepted > 0 {
            rows.push(("page events", format!("{} ({:.0}/s)", self.events_accepted, self.events_accepted_per_s)));
        }
        let refused: Vec<String> = self.refused.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        rows.push(("refused", if refused.is_empty() { "0".to_owned() } else { refused.join(", ") }));
        rows.push(("unanswered", self.unanswered.to_string()));
        if let Some(Milliseconds { p50, p90, p99, p999, max }) = self.latency_ms {
            let name = if self.saturating { "answer time, ms" } else { "latency, ms" };
            rows.push((name, format!("p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max}")));
        }
        rows.push(("waited at most", format!("{} arrivals", self.most_waiting)));
        let known = |value: Option<u64>| value.map(|value| value.to_string());
        let per_s = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!(" ({rate:.0}/s to the end)"));
        if let Some(stored) = known(self.stored) {
            rows.push(("stored", stored));
        }
        if let Some(confirmed) = known(self.confirmed) {
            rows.push(("confirmed", confirmed + &per_s(self.confirmed_per_s)));
        }
        if let Some(counted) = known(self.events_counted).filter(|_| self.events_accepted > 0) {
            rows.push(("events counted", counted + &per_s(self.events_counted_per_s)));
        }
        if self.stored.is_some() {
            let drained = self.drained_in_s.map_or("not within the time".to_owned(), |s| format!("{s} s"));
            rows.push(("drained in", drained));
        }
        rows.push(("queue", self.queue_seen.clone()));
        rows.push(("database", self.database_seen.clone()));
        rows
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let mut text = self.rows().iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "  {name:<16} {value}");
            text
        });
        for (status, said) in &self.first_refusals {
            let _ = writeln!(text, "  the first {status} said: {said}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl From<Latency> for Milliseconds {
    fn from(latency: Latency) -> Self {
        Self {
            p50: ms(latency.p50_us),
            p90: ms(latency.p90_us),
            p99: ms(latency.p99_us),
            p999: ms(latency.p999_us),
            max: ms(latency.max_us),
        }
    }
}

/// The seconds of the generator, with what was seen at the end of each.
fn points(seconds: &[Second], looks: &[Look]) -> Vec<Point> {
    let last_look = looks.last().map_or(0, |look| look.at.as_secs() + 1);
    let length = (seconds.len() as u64).max(last_look);
    let mut points: Vec<Point> = (0..length).map(|t| Point { t, ..Point::default() }).collect();
    for (point, second) in points.iter_mut().zip(seconds) {
        let counts = second.counts;
        (point.planned, point.sent, point.not_sent) = (counts.planned, counts.sent, counts.not_sent);
        (point.accepted, point.events_accepted) = (counts.accepted, counts.events_accepted);
        (point.refused, point.unanswered) = (counts.refused, counts.unanswered);
        point.waiting = second.waiting;
        point.p50_ms = second.latency.map(|latency| ms(latency.p50_us));
        point.p99_ms = second.latency.map(|latency| ms(latency.p99_us));
        point.max_ms = second.latency.map(|latency| ms(latency.max_us));
    }
    let mut orders: Vec<u64> = Vec::with_capacity(seconds.len());
    for second in seconds {
        orders.push(orders.last().copied().unwrap_or(0) + second.counts.orders_accepted);
    }
    for pair in looks.windows(2) {
        let (before, look) = (pair[0], pair[1]);
        let passed = look.at.saturating_sub(before.at).as_secs_f64().max(0.001);
        let rate = |now: Option<u64>, then: Option<u64>| Some(rounded(real(now?.saturating_sub(then?)) / passed));
        // A look that came late stands for every second since the one before.
        let from = second(before.at);
        for (at, point) in points.iter_mut().enumerate().take(second(look.at).max(from + 1)).skip(from) {
            let accepted = orders.get(at).or(orders.last()).copied().unwrap_or(0);
            *point = Point {
                queue: look.orders_waiting.or(look.stored.map(|stored| accepted.saturating_sub(stored))),
                events_queue: look.events_waiting,
                stored_per_s: rate(look.stored, before.stored),
                events_counted_per_s: rate(look.counted, before.counted),
                rows_per_s: rate(look.rows, before.rows),
                commits_per_s: rate(look.commits, before.commits),
                ..*point
            };
        }
    }
    points
}

/// Looks are taken at full seconds, some milliseconds late.
fn second(at: Duration) -> usize {
    usize::try_from((at + Duration::from_millis(500)).as_secs()).unwrap_or(usize::MAX - 1)
}

/// Counts here stay far below 2^52, where a float would begin to skip.
#[expect(clippy::cast_precision_loss, reason = "counts of a run stay below 2^52")]
fn real(count: u64) -> f64 {
    count as f64
}

/// To three decimals: more would be noise.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

fn ms(us: u64) -> f64 {
    real(us) / 1_000.0
}

#[cfg(test)]
mod tests;
