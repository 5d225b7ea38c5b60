//! What a worker shows at `/metrics`. Hot paths count in plain atomics ([`crate::Stats`]), which are read at each scrape;
//! only a call of the handler observes, once for its whole batch.

use std::sync::Arc;
use std::time::Duration;

use service::metrics::{Family, Histogram, Metrics, Samples};

use crate::context::Context;
use crate::stats::StatsSnapshot;

static CONSUMED: Family =
    Family::counter("millpond_messaging_client_consumed_messages_total", "Messages taken from the broker", &["queue"]);
static REDELIVERED: Family = Family::counter(
    "millpond_worker_redelivered_messages_total",
    "Messages taken that had been handed out before without a settlement",
    &["queue"],
);
static SETTLED: Family = Family::counter(
    "millpond_worker_settled_messages_total",
    "Messages by how they ended: handled, retried, parked, requeued, dropped by a hard stop, or settled in vain",
    &["queue", "outcome"],
);
static IN_HAND: Family = Family::gauge(
    "millpond_worker_in_hand_messages",
    "Messages taken and not settled yet; what the broker has sent ahead is not among them",
    &["queue"],
);
static TROUBLE: Family = Family::counter(
    "millpond_worker_trouble_total",
    "What went wrong in calls of the handler and with single messages, by kind",
    &["queue", "kind"],
);
static BATCH: Family = Family::histogram(
    "millpond_worker_batch_messages",
    "Messages in one call of the handler",
    &["queue"],
    &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0],
);
static PROCESS: Family = Family::histogram(
    "millpond_messaging_process_duration_seconds",
    "How long calls of the handler took, each with a whole batch and its commit",
    &["queue"],
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
);
static BREAKER_OPEN: Family = Family::gauge(
    "millpond_breaker_open",
    "Whether deliveries are held because the database does not answer or is just recovering: 1, else 0",
    &["queue", "database"],
);
static PAUSED: Family = Family::gauge(
    "millpond_worker_paused",
    "Whether an operator has paused a worker's queue: 1, else 0; absent where that is not known",
    &["queue"],
);
static BREAKER_OPENINGS: Family = Family::counter(
    "millpond_breaker_openings_total",
    "How often the breaker of the database opened, failures of a recovery included",
    &["queue", "database"],
);

/// What a call of the handler observes.
#[derive(Debug)]
pub(crate) struct Meters {
    batch: Histogram,
    process: Histogram,
}

impl Meters {
    pub(crate) fn called(&self, messages: usize, took: Duration) {
        // A batch has far less than 2^32 messages.
        self.batch.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
        self.process.observe(took.as_secs_f64());
    }
}

/// Registers one worker: its counters, its histograms, its view of the breaker and of pauses.
pub(crate) fn register<H>(metrics: &Metrics, context: &Context<H>) -> Meters {
    let queue = context.queue.as_str();
    let (name, pauses) = (context.queue.clone(), context.pauses.clone());
    metrics.sample(&[&PAUSED], move |samples| {
        if let Some(paused) = pauses.is_paused(&name) {
            samples.number(&PAUSED, &[name.as_str()], u64::from(paused));
        }
    });
    let (name, stats, breaker) = (queue.to_owned(), Arc::clone(&context.stats), Arc::clone(&context.breaker));
    let families = [&CONSUMED, &REDELIVERED, &SETTLED, &IN_HAND, &TROUBLE, &BREAKER_OPEN, &BREAKER_OPENINGS];
    metrics.sample(&families, move |samples| {
        tell(samples, &name, &stats.snapshot());
        samples.number(&BREAKER_OPEN, &[&name, breaker.name()], u64::from(!breaker.is_closed()));
        samples.count(&BREAKER_OPENINGS, &[&name, breaker.name()], breaker.opened());
    });
    Meters { batch: metrics.histogram(&BATCH, &[queue]), process: metrics.histogram(&PROCESS, &[queue]) }
}

fn tell(samples: &mut Samples<'_>, queue: &str, stats: &StatsSnapshot) {
    samples.count(&CONSUMED, &[queue], stats.taken);
    samples.count(&REDELIVERED, &[queue], stats.redelivered);
    samples.number(&IN_HAND, &[queue], stats.in_hand());
    let outcomes = [
        ("handled", stats.handled),
        ("retried", stats.retried),
        ("parked", stats.parked),
        ("requeued", stats.requeued),
        ("dropped", stats.dropped),
        ("settle_failed", stats.settle_failures),
    ];
    for (outcome, count) in outcomes {
        samples.count(&SETTLED, &[queue, outcome], count);
    }
    let kinds = [
        ("bisection", stats.bisections),
        ("panic", stats.panics),
        ("hang", stats.hangs),
        ("contention", stats.contentions),
        ("infrastructure", stats.infrastructure),
        ("malformed", stats.malformed),
        ("unknown_type", stats.unknown),
        ("handled_apart", stats.apart),
    ];
    for (kind, count) in kinds {
        samples.count(&TROUBLE, &[queue, kind], count);
    }
}
