//! What the relay shows at `/metrics`: how far each outbox is behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use service::metrics::{Counter, Family, Metrics};

static AGE: Family = Family::gauge(
    "millpond_outbox_oldest_age_seconds",
    "Age of the oldest message that waits in the outbox; 0 where none waits, absent while the database does not say",
    &["database"],
);
static ROWS: Family = Family::gauge(
    "millpond_outbox_waiting_messages",
    "Messages that wait in the outbox, counted up to 100,000; absent while the database does not say",
    &["database"],
);
static RELAYED: Family = Family::counter(
    "millpond_outbox_relayed_messages_total",
    "Messages of the outbox that were confirmed by the broker and deleted",
    &["database"],
);

/// Stands for a level that is not known.
const UNKNOWN: u64 = u64::MAX;

/// One outbox. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Meters {
    age_ms: Arc<AtomicU64>,
    rows: Arc<AtomicU64>,
    relayed: Counter,
}

impl Meters {
    pub(crate) fn register(metrics: &Metrics, database: &str) -> Self {
        let this = Self {
            age_ms: Arc::new(AtomicU64::new(UNKNOWN)),
            rows: Arc::new(AtomicU64::new(UNKNOWN)),
            relayed: metrics.counter(&RELAYED, &[database]),
        };
        let (shown, name) = (this.clone(), database.to_owned());
        metrics.sample(&[&AGE, &ROWS], move |samples| {
            let age_ms = shown.age_ms.load(Ordering::Relaxed);
            if age_ms != UNKNOWN {
                samples.level(&AGE, &[&name], Duration::from_millis(age_ms).as_secs_f64());
            }
            let rows = shown.rows.load(Ordering::Relaxed);
            if rows != UNKNOWN {
                samples.number(&ROWS, &[&name], rows);
            }
        });
        this
    }

    /// The age as the database told it; `None` where nothing waits.
    pub(crate) fn age(&self, age: Option<Duration>) {
        let ms = age.unwrap_or_default().as_millis();
        self.age_ms.store(u64::try_from(ms).unwrap_or(UNKNOWN - 1), Ordering::Relaxed);
    }

    pub(crate) fn rows(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// The database does not answer: what it said before is old.
    pub(crate) fn unknown(&self) {
        self.age_ms.store(UNKNOWN, Ordering::Relaxed);
        self.unknown_rows();
    }

    pub(crate) fn unknown_rows(&self) {
        self.rows.store(UNKNOWN, Ordering::Relaxed);
    }

    pub(crate) fn relayed(&self, messages: usize) {
        self.relayed.inc_by(messages as u64);
    }
}
