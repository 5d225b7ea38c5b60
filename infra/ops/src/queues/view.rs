//! A queue as it is told: pure. What is not known is `None`, and `null` in JSON.

use chrono::{DateTime, TimeDelta, Utc};
use flow::{Drain, LimitedBy, Situation};
use serde::Serialize;
use store::pause::Pause;

use super::Known;
use super::watch::Look;

/// A queue in `GET /v1/queues`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct QueueView {
    queue: String,
    /// What waits in it, in the plural.
    what: &'static str,
    /// Messages that wait for a worker.
    ready: Option<u64>,
    /// Messages that workers hold, by their own words; what the broker has sent them ahead is not among them.
    in_hand: Option<u64>,
    /// Messages on their ladder of retries.
    retrying: Option<u64>,
    /// Messages in the broker's parked queue, on their way into the table.
    parked: Option<u64>,
    /// Parked messages of the table that wait for a person, counted up to 100,000 over all queues.
    parked_rows: Option<u64>,
    /// Age of the oldest that waits: of the one that a worker took last, and the time since while none is taken.
    oldest_s: Option<f64>,
    /// It is that or more: it was seen to wait, and nobody said for how long before.
    oldest_at_least: bool,
    /// Messages that arrive per second, retries that come back among them.
    in_per_s: Option<f64>,
    /// Messages that are done per second.
    out_per_s: Option<f64>,
    /// Consumers that the broker has.
    consumers: Option<u32>,
    /// Workers that were heard of lately.
    workers: usize,
    /// Of those, how many obey a pause.
    paused_workers: usize,
    limited_by: Option<LimitedBy>,
    drain: DrainView,
    /// `null` where it is not paused.
    paused: Option<PauseView>,
    /// False where the database that knows of pauses did not answer: then `paused` says nothing.
    pause_known: bool,
    sentence: String,
}

/// When a queue will be empty.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum DrainView {
    Empty,
    In { seconds: f64 },
    Growing,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct PauseView {
    by: String,
    since: DateTime<Utc>,
    reason: Option<String>,
}

impl From<&Pause> for PauseView {
    fn from(pause: &Pause) -> Self {
        Self { by: pause.paused_by.clone(), since: pause.since, reason: pause.reason.clone() }
    }
}

/// What is known of a queue's pause.
#[derive(Debug, Clone, Copy)]
pub(super) enum PauseState<'a> {
    /// Its home did not answer.
    Unknown,
    Open,
    Paused(&'a Pause),
}

/// The queue in every detail.
pub(super) fn of(
    known: &Known,
    look: &Look,
    pause: PauseState<'_>,
    parked_rows: Option<u64>,
    now: DateTime<Utc>,
) -> QueueView {
    let Look { ready, consumers, retrying, parked, net_per_s, drain, oldest, seen } = *look;
    // A queue without consumers loses nothing to them, whoever is silent.
    let nobody_takes = consumers == Some(0);
    let taken_per_s = seen.taken_per_s.or(nobody_takes.then_some(0.0));
    let pause_known = !matches!(pause, PauseState::Unknown);
    let pause = if let PauseState::Paused(pause) = pause { Some(pause) } else { None };
    let since = pause.map(|pause| clock(pause.since));
    let situation = Situation {
        what: known.what,
        waiting: ready,
        oldest,
        drain,
        limited_by: seen.limited_by,
        paused: pause.zip(since.as_deref()).map(|(pause, since)| flow::Paused { by: &pause.paused_by, since }),
    };
    let sentence = situation.sentence(|after| {
        TimeDelta::from_std(after)
            .ok()
            .and_then(|after| now.checked_add_signed(after))
            .map_or("some day".to_owned(), clock)
    });
    QueueView {
        queue: known.name().to_string(),
        what: known.what,
        ready,
        in_hand: seen.in_hand.or(nobody_takes.then_some(0)),
        retrying,
        parked,
        parked_rows,
        oldest_s: oldest.map(|age| age.time.as_secs_f64()),
        oldest_at_least: oldest.is_some_and(|age| age.at_least),
        // What gets in is what is taken, less what the queue gets shorter by.
        in_per_s: taken_per_s.zip(net_per_s).map(|(taken, net)| (taken - net).max(0.0)),
        out_per_s: seen.handled_per_s.or(nobody_takes.then_some(0.0)),
        consumers,
        workers: seen.workers,
        paused_workers: seen.paused,
        limited_by: seen.limited_by,
        drain: match drain {
            Drain::Empty => DrainView::Empty,
            Drain::In(time) => DrainView::In { seconds: time.as_secs_f64() },
            Drain::Growing => DrainView::Growing,
            Drain::Unknown => DrainView::Unknown,
        },
        paused: pause.map(PauseView::from),
        pause_known,
        sentence,
    }
}

/// The time of day, in the one zone that servers and operators share.
fn clock(time: DateTime<Utc>) -> String {
    time.format("%H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use broker::{QueueSpec, layout};
    use flow::Seen;

    use super::*;

    fn orders() -> Known {
        let name = layout::checkout_queue(&"main".parse().unwrap());
        Known { spec: QueueSpec::new(name), on_orders: true, what: "orders" }
    }

    fn now() -> DateTime<Utc> {
        "2026-11-24T14:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_nobody_says_is_unknown_and_never_zero() {
        let view = serde_json::to_value(of(&orders(), &Look::default(), PauseState::Unknown, None, now())).unwrap();
        for field in ["ready", "in_hand", "retrying", "parked", "parked_rows", "oldest_s", "in_per_s", "out_per_s"] {
            assert!(view[field].is_null(), "{field}: {view}");
        }
        assert_eq!((view["drain"]["state"].as_str(), view["pause_known"].as_bool()), (Some("unknown"), Some(false)));
        assert!(view["sentence"].as_str().unwrap().starts_with("Nobody says how many orders"), "{view}");
    }

    #[test]
    fn what_arrives_is_what_is_taken_less_what_the_queue_gets_shorter_by() {
        let seen = Seen { workers: 2, taken_per_s: Some(300.0), handled_per_s: Some(290.0), ..Seen::default() };
        let drain = Drain::In(Duration::from_mins(7));
        let look =
            Look { ready: Some(42_000), consumers: Some(2), net_per_s: Some(100.0), drain, seen, ..Look::default() };
        let view = of(&orders(), &look, PauseState::Open, Some(0), now());
        assert_eq!((view.in_per_s, view.out_per_s), (Some(200.0), Some(290.0)));
        assert!(view.sentence.contains("clear by 14:07 UTC"), "{}", view.sentence);
    }

    #[test]
    fn a_queue_that_nobody_takes_from_gives_out_nothing_and_a_silent_worker_is_still_unknown() {
        let look = Look { ready: Some(5), consumers: Some(0), net_per_s: Some(-3.0), ..Look::default() };
        let view = of(&orders(), &look, PauseState::Open, None, now());
        assert_eq!((view.in_per_s, view.out_per_s, view.in_hand), (Some(3.0), Some(0.0), Some(0)));
        let view = of(&orders(), &Look { consumers: Some(1), ..look }, PauseState::Open, None, now());
        assert_eq!((view.in_per_s, view.out_per_s, view.in_hand), (None, None, None));
    }

    #[test]
    fn a_pause_is_told_with_who_and_since_when() {
        let pause = Pause {
            queue: "q".to_owned(),
            paused_by: "anna".to_owned(),
            reason: Some("stock count".to_owned()),
            since: "2026-11-24T13:02:10Z".parse().unwrap(),
        };
        let look = Look { ready: Some(1_200), ..Look::default() };
        let view = of(&orders(), &look, PauseState::Paused(&pause), None, now());
        assert!(
            view.sentence.starts_with("Paused by anna since 13:02 UTC: 1,200 orders waiting."),
            "{}",
            view.sentence
        );
        assert_eq!(view.paused.unwrap().reason.as_deref(), Some("stock count"));
    }
}
