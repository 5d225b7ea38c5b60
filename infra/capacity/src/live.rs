//! What has happened so far: counted by the generator, read by a terminal while it runs and by the report at the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::mix::What;

/// Latencies are kept from 1 µs to 10 minutes.
const LONGEST_US: u64 = 600_000_000;
/// Three significant digits for the whole run, two for a second of it.
const DIGITS: u8 = 3;
const DIGITS_OF_A_SECOND: u8 = 2;
/// A refusal's text is kept to this length, once per status.
const REFUSAL_CHARS: usize = 400;

/// Counts of the run, or of one second of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Arrivals whose planned time came, sent or not.
    pub planned: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Arrivals that were not sent: the waiting room was full, or there was no connection.
    pub not_sent: u64,
    /// Requests that were taken: orders answered 202, page events answered 2xx.
    pub accepted: u64,
    /// Of these, orders.
    pub orders_accepted: u64,
    /// Page events in accepted requests.
    pub events_accepted: u64,
    /// Requests that were answered otherwise.
    pub refused: u64,
    /// Requests that no answer came to in time: their outcome is unknown.
    pub unanswered: u64,
}

/// A second of the run. `planned` belongs to the second of the planned time, everything else to that in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Second {
    /// What happened in it.
    pub counts: Counts,
    /// Arrivals that waited for a connection, when it was last looked at.
    pub waiting: u64,
    /// Percentiles of the answers that came in it; `None` where none came.
    pub latency: Option<Latency>,
}

/// Percentiles in µs, from the planned times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    /// Half of the answers came within it.
    pub p50_us: u64,
    /// 90%.
    pub p90_us: u64,
    /// 99%.
    pub p99_us: u64,
    /// 99.9%.
    pub p999_us: u64,
    /// All of them.
    pub max_us: u64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        })
    }
}

/// A moment's picture of the whole run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Since the start.
    pub counts: Counts,
    /// Arrivals that wait for a connection now.
    pub waiting: u64,
    /// The most that ever waited.
    pub most_waiting: u64,
    /// Refusals by status.
    pub refused: BTreeMap<u16, u64>,
    /// What the first refusal of each status said.
    pub first_refusals: BTreeMap<u16, String>,
    /// Of all answers so far.
    pub latency: Option<Latency>,
    /// Second by second.
    pub seconds: Vec<Second>,
}

/// The counters of a run. Taken for a moment by each request, so that a picture of them is consistent.
#[derive(Debug)]
pub struct Live {
    tally: Mutex<Tally>,
}

#[derive(Debug)]
struct Tally {
    counts: Counts,
    waiting: u64,
    most_waiting: u64,
    refused: BTreeMap<u16, u64>,
    first_refusals: BTreeMap<u16, String>,
    latency: Histogram<u64>,
    of_second: Histogram<u64>,
    /// The second that `of_second` belongs to.
    second: usize,
    seconds: Vec<Second>,
}

impl Default for Live {
    fn default() -> Self {
        let histogram = |digits| {
            Histogram::new_with_bounds(1, LONGEST_US, digits).expect("1 µs to 10 min with 2 or 3 digits is valid")
        };
        Self {
            tally: Mutex::new(Tally {
                counts: Counts::default(),
                waiting: 0,
                most_waiting: 0,
                refused: BTreeMap::new(),
                first_refusals: BTreeMap::new(),
                latency: histogram(DIGITS),
                of_second: histogram(DIGITS_OF_A_SECOND),
                second: 0,
                seconds: Vec::new(),
            }),
        }
    }
}

/// What is counted of an answer.
pub(crate) struct Answered<'a> {
    pub(crate) what: What,
    pub(crate) status: Option<u16>,
    pub(crate) refusal: Option<&'a str>,
    /// From the planned time.
    pub(crate) latency: Duration,
}

impl Live {
    /// Requests sent so far.
    pub fn sent(&self) -> u64 {
        self.tally().counts.sent
    }

    /// Requests that were taken so far.
    pub fn accepted(&self) -> u64 {
        self.tally().counts.accepted
    }

    /// Requests that were answered otherwise.
    pub fn refused(&self) -> u64 {
        self.tally().counts.refused
    }

    /// Requests that no answer came to.
    pub fn unanswered(&self) -> u64 {
        self.tally().counts.unanswered
    }

    /// Counts and waiting arrivals of now, without the seconds: cheap enough for a progress bar.
    pub fn counts(&self) -> (Counts, u64) {
        let tally = self.tally();
        (tally.counts, tally.waiting)
    }

    /// Everything so far.
    pub fn snapshot(&self) -> Snapshot {
        let mut tally = self.tally();
        tally.close_second();
        Snapshot {
            counts: tally.counts,
            waiting: tally.waiting,
            most_waiting: tally.most_waiting,
            refused: tally.refused.clone(),
            first_refusals: tally.first_refusals.clone(),
            latency: Latency::of(&tally.latency),
            seconds: tally.seconds.clone(),
        }
    }

    pub(crate) fn sent_at(&self, planned: Duration, now: Duration) {
        let mut tally = self.tally();
        tally.count(planned, |counts| counts.planned += 1);
        tally.count(now, |counts| counts.sent += 1);
    }

    pub(crate) fn not_sent(&self, planned: Duration, now: Duration) {
        let mut tally = self.tally();
        tally.count(planned, |counts| counts.planned += 1);
        tally.count(now, |counts| counts.not_sent += 1);
    }

    /// A request that was counted as sent, and then found no connection.
    pub(crate) fn never_left(&self, now: Duration) {
        let mut tally = self.tally();
        tally.count(now, |counts| {
            counts.sent = counts.sent.saturating_sub(1);
            counts.not_sent += 1;
        });
    }

    pub(crate) fn waits(&self, now: Duration, waiting: u64) {
        let mut tally = self.tally();
        tally.waiting = waiting;
        tally.most_waiting = tally.most_waiting.max(waiting);
        tally.second(now).waiting = waiting;
    }

    pub(crate) fn answered(&self, now: Duration, answer: &Answered<'_>) {
        let mut tally = self.tally();
        let Some(status) = answer.status else {
            return tally.count(now, |counts| counts.unanswered += 1);
        };
        let (orders, events) = match answer.what {
            What::Order { .. } if status == 202 => (1, 0),
            What::Events { count } if (200..300).contains(&status) => (0, u64::from(count)),
            _ => (0, 0),
        };
        if orders + events > 0 {
            tally.count(now, |counts| {
                counts.accepted += 1;
                counts.orders_accepted += orders;
                counts.events_accepted += events;
            });
        } else {
            tally.count(now, |counts| counts.refused += 1);
            *tally.refused.entry(status).or_default() += 1;
            if let (Some(text), false) = (answer.refusal, tally.first_refusals.contains_key(&status)) {
                tally.first_refusals.insert(status, text.chars().take(REFUSAL_CHARS).collect());
            }
        }
        tally.record(now, answer.latency);
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // A panic while counting leaves counts that are off by one at most.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn second(&mut self, at: Duration) -> &mut Second {
        let second = index(at);
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, Second::default());
        }
        &mut self.seconds[second]
    }

    fn count(&mut self, at: Duration, change: impl Fn(&mut Counts)) {
        change(&mut self.counts);
        change(&mut self.second(at).counts);
    }

    fn record(&mut self, now: Duration, latency: Duration) {
        if index(now) != self.second {
            self.close_second();
            self.of_second.reset();
            self.second = index(now);
        }
        let latency = micros(latency).max(1);
        self.latency.saturating_record(latency);
        self.of_second.saturating_record(latency);
    }

    fn close_second(&mut self) {
        if let Some(latency) = Latency::of(&self.of_second)
            && let Some(second) = self.seconds.get_mut(self.second)
        {
            second.latency = Some(latency);
        }
    }
}

fn index(at: Duration) -> usize {
    usize::try_from(at.as_secs()).unwrap_or(usize::MAX)
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: What = What::Order { article: 0 };

    fn answer(live: &Live, at_ms: u64, what: What, status: Option<u16>, latency_ms: u64) {
        let latency = Duration::from_millis(latency_ms);
        live.answered(Duration::from_millis(at_ms), &Answered { what, status, refusal: Some("why"), latency });
    }

    #[test]
    fn each_second_keeps_its_own_counts_and_percentiles() {
        let live = Live::default();
        for (at, latency) in [(100, 5), (900, 7), (1_100, 50)] {
            live.sent_at(Duration::from_millis(at), Duration::from_millis(at));
            answer(&live, at, ORDER, Some(202), latency);
        }
        let snapshot = live.snapshot();
        let seconds: Vec<_> = snapshot.seconds.iter().map(|s| (s.counts.accepted, s.latency.unwrap().max_us)).collect();
        assert_eq!(seconds.len(), 2);
        assert_eq!((seconds[0].0, seconds[1].0), (2, 1));
        assert!((7_000..7_100).contains(&seconds[0].1) && (50_000..50_500).contains(&seconds[1].1), "{seconds:?}");
        assert_eq!(snapshot.counts.sent, 3);
    }

    #[test]
    fn an_answer_counts_as_accepted_only_where_its_kind_says_so() {
        let live = Live::default();
        let events = What::Events { count: 100 };
        for (what, status) in
            [(ORDER, Some(202)), (ORDER, Some(200)), (events, Some(200)), (events, Some(503)), (ORDER, None)]
        {
            answer(&live, 1, what, status, 1);
        }
        let Snapshot { counts, refused, first_refusals, .. } = live.snapshot();
        assert_eq!((counts.accepted, counts.orders_accepted, counts.events_accepted), (2, 1, 100));
        assert_eq!((counts.refused, counts.unanswered), (2, 1));
        assert_eq!(refused, BTreeMap::from([(200, 1), (503, 1)]));
        assert_eq!(first_refusals[&503], "why");
    }
}
