//! What the ingress shows at `/metrics`. Label sets are looked up once for each reason, by the first that it meets.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use flow::{Class, Reason};
use service::Problem;
use service::metrics::{Counter, Family, Metrics};
use tokio::sync::Semaphore;

pub(crate) static REQUESTS: Family = Family::counter(
    "millpond_ingress_requests_total",
    "Requests by class and outcome: accepted, refused (the request's fault), shed (not tried), failed (not confirmed); \
     the reason is the code of the problem",
    &["class", "outcome", "reason"],
);
static EVENTS: Family =
    Family::counter("millpond_ingress_accepted_events_total", "Page events in the batches that were accepted", &[]);
static IN_FLIGHT: Family = Family::gauge(
    "millpond_ingress_in_flight_requests",
    "Requests between their body and the broker's confirm, by class",
    &["class"],
);
static IN_FLIGHT_BYTES: Family = Family::gauge(
    "millpond_ingress_in_flight_bytes",
    "Bytes of bodies being read and not confirmed yet, by class",
    &["class"],
);
static IN_FLIGHT_BYTES_MAX: Family = Family::gauge(
    "millpond_ingress_in_flight_max_bytes",
    "Bytes of bodies that may be in flight, by class; above it requests are shed",
    &["class"],
);

static SHED: Family = Family::counter(
    "millpond_ingress_shed_requests_total",
    "Requests that were not tried, by class and reason: starting, disconnected, alarm, in_flight, held_bytes, \
     waiting_bytes, age",
    &["class", "reason"],
);
static SHEDDING: Family = Family::gauge(
    "millpond_ingress_shedding",
    "Whether requests for this queue are shed because of bytes, age or an alarm: 1, else 0",
    &["class", "queue"],
);
static WAITING: Family = Family::gauge(
    "millpond_queue_waiting_bytes",
    "Bytes that wait in a queue, estimated from the mean size of what this process published; absent where unknown",
    &["queue"],
);
static OLDEST: Family = Family::gauge(
    "millpond_queue_oldest_age_seconds",
    "Age of the oldest message that a worker just took from a queue, from heartbeats; absent where unknown",
    &["queue"],
);
static DRAIN: Family = Family::gauge(
    "millpond_queue_drain_seconds",
    "When a queue will be empty at its present net rate; absent while it grows and where unknown",
    &["queue"],
);
static WORKERS: Family =
    Family::gauge("millpond_queue_workers", "Workers of a queue whose heartbeat was heard lately", &["queue"]);

/// A queue as the last look found it.
#[derive(Debug, Clone)]
pub(crate) struct LaneView {
    pub(crate) class: Class,
    pub(crate) queue: String,
    pub(crate) waiting_bytes: Option<u64>,
    pub(crate) oldest: Option<Duration>,
    pub(crate) workers: usize,
    pub(crate) drain: Option<Duration>,
    pub(crate) shedding: bool,
}

/// Shows what the last look found; whoever looks writes it there.
pub(crate) fn show_lanes(metrics: &Metrics) -> Arc<Mutex<Vec<LaneView>>> {
    let lanes: Arc<Mutex<Vec<LaneView>>> = Arc::default();
    let shown = Arc::clone(&lanes);
    metrics.sample(&[&SHEDDING, &WAITING, &OLDEST, &DRAIN, &WORKERS], move |samples| {
        for lane in shown.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let queue = lane.queue.as_str();
            samples.number(&SHEDDING, &[lane.class.name(), queue], u64::from(lane.shedding));
            samples.number(&WORKERS, &[queue], lane.workers as u64);
            if let Some(bytes) = lane.waiting_bytes {
                samples.number(&WAITING, &[queue], bytes);
            }
            for (family, time) in [(&OLDEST, lane.oldest), (&DRAIN, lane.drain)] {
                if let Some(time) = time {
                    samples.level(family, &[queue], time.as_secs_f64());
                }
            }
        }
    });
    lanes
}

/// Why a request was not tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Starting,
    Disconnected,
    Alarm,
    InFlight,
    HeldBytes,
    WaitingBytes,
    Age,
}

impl Why {
    const ALL: [Self; 7] = [
        Self::Starting,
        Self::Disconnected,
        Self::Alarm,
        Self::InFlight,
        Self::HeldBytes,
        Self::WaitingBytes,
        Self::Age,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Disconnected => "disconnected",
            Self::Alarm => "alarm",
            Self::InFlight => "in_flight",
            Self::HeldBytes => "held_bytes",
            Self::WaitingBytes => "waiting_bytes",
            Self::Age => "age",
        }
    }
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Alarm => Self::Alarm,
            Reason::HeldBytes => Self::HeldBytes,
            Reason::WaitingBytes => Self::WaitingBytes,
            Reason::Age => Self::Age,
        }
    }
}

/// What became of a request that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request is wrong.
    Refused,
    /// Nothing was tried: there is too much to do, or no broker to do it with.
    Shed,
    /// It was tried and not confirmed.
    Failed,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Shed => "shed",
            Self::Failed => "failed",
        }
    }
}

/// The counters of one class.
#[derive(Debug)]
pub(crate) struct Meters {
    class: Class,
    metrics: Metrics,
    accepted: Counter,
    shed: [Counter; Why::ALL.len()],
    events: Counter,
    /// By outcome and code; a handful.
    others: RwLock<Vec<(Outcome, &'static str, Counter)>>,
}

impl Meters {
    pub(crate) fn new(class: Class, metrics: &Metrics) -> Self {
        Self {
            class,
            metrics: metrics.clone(),
            shed: Why::ALL.map(|why| metrics.counter(&SHED, &[class.name(), why.name()])),
            accepted: metrics.counter(&REQUESTS, &[class.name(), "accepted", ""]),
            events: metrics.counter(&EVENTS, &[]),
            others: RwLock::default(),
        }
    }

    /// Shows how much of the class's places and bytes is taken.
    pub(crate) fn show_in_flight(&self, slots: (&Arc<Semaphore>, usize), bytes: (&Arc<Semaphore>, usize)) {
        let class = self.class.name();
        let (slots, max_slots) = (Arc::clone(slots.0), slots.1);
        let (bytes, max_bytes) = (Arc::clone(bytes.0), bytes.1);
        self.metrics.sample(&[&IN_FLIGHT, &IN_FLIGHT_BYTES, &IN_FLIGHT_BYTES_MAX], move |samples| {
            let taken = |semaphore: &Semaphore, max: usize| max.saturating_sub(semaphore.available_permits()) as u64;
            samples.number(&IN_FLIGHT, &[class], taken(&slots, max_slots));
            samples.number(&IN_FLIGHT_BYTES, &[class], taken(&bytes, max_bytes));
            samples.number(&IN_FLIGHT_BYTES_MAX, &[class], max_bytes as u64);
        });
    }

    pub(crate) fn shed(&self, why: Why) {
        self.shed[why as usize].inc();
    }

    pub(crate) fn accepted(&self) {
        self.accepted.inc();
    }

    pub(crate) fn accepted_events(&self, events: usize) {
        self.events.inc_by(events as u64);
    }

    pub(crate) fn not_accepted(&self, outcome: Outcome, problem: &Problem) {
        let code = problem.kind().code;
        let known = self.others.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, counter)) = known.iter().find(|(o, c, _)| *o == outcome && *c == code) {
            counter.inc();
            return;
        }
        drop(known);
        let counter = self.metrics.counter(&REQUESTS, &[self.class.name(), outcome.name(), code]);
        counter.inc();
        // Twice in the list does no harm: both are the same counter.
        self.others.write().unwrap_or_else(PoisonError::into_inner).push((outcome, code, counter));
    }
}
