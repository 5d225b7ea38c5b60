//! What the parker shows at `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use broker::QueueName;
use service::metrics::{Counter, Family, Metrics};

use crate::homes::Homes;

static OPEN: Family = Family::gauge(
    "millpond_parked_open_messages",
    "Parked messages that wait for a person, by home queue; absent while the database does not say",
    &["queue"],
);
static OLDEST: Family = Family::gauge(
    "millpond_parked_oldest_age_seconds",
    "Age of the oldest parked message that waits for a person; 0 where none waits, absent while the database does not say",
    &["queue"],
);
static PARKED: Family = Family::counter(
    "millpond_parked_messages_total",
    "Messages moved from a parked queue into the table, deliveries that came twice included",
    &["queue"],
);
static REPLAYED: Family = Family::counter(
    "millpond_parked_replayed_messages_total",
    "Parked messages published to their home queue again and confirmed",
    &["queue"],
);
static CLOSED: Family = Family::counter(
    "millpond_parked_closed_messages_total",
    "Parked messages closed because their effect exists, or because a replayed one stayed quiet",
    &["queue"],
);
static DISCARDED: Family = Family::counter(
    "millpond_parked_discarded_messages_total",
    "Parked messages that an operator discarded",
    &["queue"],
);

/// What waits of one queue.
#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) queue: String,
    pub(crate) messages: u64,
    pub(crate) oldest_s: f64,
}

/// By database; what one does not tell is not known.
type Levels = Arc<Mutex<BTreeMap<String, Vec<Parked>>>>;

/// The meters of a process. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    metrics: Metrics,
    levels: Levels,
    homes: Arc<Homes>,
}

impl Meters {
    /// Shows the levels of every home queue.
    pub(crate) fn register(metrics: &Metrics, homes: &Arc<Homes>) -> Self {
        let this = Self { metrics: metrics.clone(), levels: Arc::default(), homes: Arc::clone(homes) };
        let (levels, homes) = (Arc::clone(&this.levels), Arc::clone(homes));
        metrics.sample(&[&OPEN, &OLDEST], move |samples| {
            let levels = levels.lock().unwrap_or_else(PoisonError::into_inner);
            for (database, parked) in &*levels {
                let mut shown: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
                let here = homes.all().iter().filter(|home| home.database.name() == database);
                shown.extend(here.map(|home| (home.queue.as_str(), (0, 0.0))));
                if homes.common().name() == database {
                    shown.insert(broker::topology::UNROUTED, (0, 0.0));
                }
                shown.extend(parked.iter().map(|parked| (parked.queue.as_str(), (parked.messages, parked.oldest_s))));
                for (queue, (messages, oldest_s)) in shown {
                    samples.number(&OPEN, &[queue], messages);
                    samples.level(&OLDEST, &[queue], oldest_s);
                }
            }
        });
        let unrouted = QueueName::unrouted();
        let queues = this.homes.all().iter().map(|home| &home.queue).chain([&unrouted]);
        for (family, queue) in queues.flat_map(|queue| [&REPLAYED, &CLOSED, &DISCARDED].map(|family| (family, queue))) {
            metrics.counter(family, &[queue.as_str()]);
        }
        this
    }

    pub(crate) fn counter_of(&self, queue: &QueueName) -> Counter {
        self.metrics.counter(&PARKED, &[queue.as_str()])
    }

    pub(crate) fn replayed(&self, queue: &str) {
        self.metrics.counter(&REPLAYED, &[queue]).inc();
    }

    pub(crate) fn closed(&self, queue: &str, messages: u64) {
        self.metrics.counter(&CLOSED, &[queue]).inc_by(messages);
    }

    pub(crate) fn parked(&self, database: &str, parked: Vec<Parked>) {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).insert(database.to_owned(), parked);
    }

    pub(crate) fn unknown(&self, database: &str) {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).remove(database);
    }
}

/// Counts discarded messages, in the process that speaks to operators.
pub(crate) fn discarded(metrics: &Metrics, queue: &str, messages: u64) {
    metrics.counter(&DISCARDED, &[queue]).inc_by(messages);
}
