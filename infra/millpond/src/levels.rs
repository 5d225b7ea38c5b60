//! What is looked at now and then to be shown at `/metrics`: depths of queues, connections of databases, the cache.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{Broker, BrokerError, Depth, QueueName};
use cache::{Cache, Pages};
use service::metrics::{Family, Metrics};
use store::{Databases, ReplicaState};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

static READY: Family = Family::gauge(
    "millpond_queue_ready_messages",
    "Messages that wait for a consumer; the same from every process that looks, absent while the broker does not say",
    &["broker", "queue"],
);
static CONSUMERS: Family = Family::gauge(
    "millpond_queue_consumers",
    "Consumers of a queue; the same from every process that looks, absent while the broker does not say",
    &["broker", "queue"],
);
static CONNECTIONS: Family = Family::gauge(
    "millpond_db_client_connections",
    "Open connections of a database's pools, by pool (write: transactions, read: everything else) and state",
    &["database", "pool", "state"],
);
static CONNECTIONS_MAX: Family = Family::gauge(
    "millpond_db_client_connections_max",
    "Connections that a database's pool may have",
    &["database", "pool"],
);
static READS: Family = Family::counter(
    "millpond_db_reads_total",
    "Reads of lists, history and reports, by what they were for and by who answered: replica or primary",
    &["database", "reads", "target"],
);
static REPLICA_STATE: Family = Family::gauge(
    "millpond_db_replica_state",
    "State of a read replica, as this process knows it: 1 for the one it is in, else 0; only a ready one is read",
    &["database", "replica", "state"],
);
static REPLICA_LAG: Family = Family::gauge(
    "millpond_db_replica_lag_seconds",
    "Age of a read replica's data at most; absent while it is not known",
    &["database", "replica"],
);
static REPLICA_BEHIND: Family = Family::gauge(
    "millpond_db_replica_behind_bytes",
    "Log that a read replica had yet to replay at the last look; absent while it is not known",
    &["database", "replica"],
);
static REPLICA_FAILOVERS: Family = Family::counter(
    "millpond_db_replica_failovers_total",
    "Reads that failed on a read replica and were asked of the primary",
    &["database", "replica"],
);
static CACHE_REQUESTS: Family = Family::counter(
    "millpond_cache_requests_total",
    "Looks into the cache for an order's status, by result: hit or miss",
    &["result"],
);
static CACHE_ERRORS: Family = Family::counter(
    "millpond_cache_errors_total",
    "Calls to the cache that failed, ran out of time or met its open breaker",
    &[],
);
static CACHE_UP: Family = Family::gauge("millpond_cache_available", "Whether the cache answers: 1, else 0", &[]);

static PAGES_SERVED: Family = Family::counter(
    "millpond_pages_served_total",
    "Readers of pages: fresh, stale (looked after meanwhile), fallback (it could not be), awaited, refused, failed",
    &["outcome"],
);
static PAGES_RENEWED: Family = Family::counter(
    "millpond_pages_renewed_total",
    "Pages looked after: confirmed (current still), adopted (another process has rendered it), or rendered here",
    &["by"],
);
static PAGES_RENDERS: Family = Family::counter(
    "millpond_pages_renders_total",
    "Renders of pages: kept, overtaken (something it may have read was purged), unkept (too large, or no lasting answer), failed",
    &["outcome"],
);
static PAGES_RENDERING: Family = Family::gauge("millpond_pages_rendering", "Pages that are rendered now", &[]);
static PAGES_FILLING: Family =
    Family::gauge("millpond_pages_filling", "Pages that are looked after now, those that are rendered included", &[]);
static PAGES_HELD: Family = Family::gauge("millpond_pages_held", "Pages in the memory of this process", &[]);
static PAGES_BYTES: Family =
    Family::gauge("millpond_pages_held_bytes", "What pages take of the memory of this process", &[]);

/// Depths are shown for this many looks; older ones are not known any more.
const LOOKS: u32 = 3;

/// When depths were last told, and what they were.
type Looked = Option<(Instant, Vec<Depth>)>;

/// Asks `broker` for the depth of `queues` every so often until `stop`.
pub(crate) async fn watch_depths(
    broker: Arc<dyn Broker>,
    name: &'static str,
    queues: BTreeSet<QueueName>,
    every: Duration,
    metrics: &Metrics,
    stop: CancellationToken,
) {
    let latest: Arc<Mutex<Looked>> = Arc::default();
    let shown = Arc::clone(&latest);
    metrics.sample(&[&READY, &CONSUMERS], move |samples| {
        let latest = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, depths)) = latest.as_ref().filter(|(at, _)| at.elapsed() < every * LOOKS) else { return };
        for depth in depths {
            samples.number(&READY, &[name, depth.queue.as_str()], depth.ready);
            samples.number(&CONSUMERS, &[name, depth.queue.as_str()], u64::from(depth.consumers));
        }
    });
    let queues: Vec<QueueName> = queues.into_iter().collect();
    let mut look = interval(every);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        match broker.depths(&queues).await {
            Ok(depths) => *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), depths)),
            Err(BrokerError::Closed) => return,
            Err(error) => tracing::debug!(%error, broker = name, "the depths of the queues are not known"),
        }
    }
}

/// Shows the pools of every database.
pub(crate) fn show_databases(databases: &Databases, metrics: &Metrics) {
    let databases = databases.databases().to_vec();
    metrics.sample(&[&CONNECTIONS, &CONNECTIONS_MAX], move |samples| {
        for database in &databases {
            for (pool, connections) in ["write", "read"].into_iter().zip(database.connections()) {
                let labels = [database.name(), pool];
                samples.number(&CONNECTIONS, &[labels[0], pool, "used"], u64::from(connections.used));
                samples.number(&CONNECTIONS, &[labels[0], pool, "idle"], u64::from(connections.idle));
                samples.number(&CONNECTIONS_MAX, &labels, u64::from(connections.max));
            }
        }
    });
}

/// Shows who answers lists and reports, and how far behind the replicas are.
pub(crate) fn show_reads(databases: &Databases, metrics: &Metrics) {
    let databases = databases.databases().to_vec();
    let families = [&READS, &REPLICA_STATE, &REPLICA_LAG, &REPLICA_BEHIND, &REPLICA_FAILOVERS];
    metrics.sample(&families, move |samples| {
        for database in &databases {
            for (reads, target, count) in database.answered_reads() {
                samples.count(&READS, &[database.name(), reads.name(), target.name()], count);
            }
            for replica in database.replicas() {
                let labels = [database.name(), replica.name()];
                samples.state(&REPLICA_STATE, &labels, &ReplicaState::NAMES, replica.state().name());
                if let Some(lag) = replica.lag() {
                    samples.level(&REPLICA_LAG, &labels, lag.as_secs_f64());
                }
                if let Some(bytes) = replica.lag_bytes() {
                    samples.number(&REPLICA_BEHIND, &labels, bytes);
                }
                samples.count(&REPLICA_FAILOVERS, &labels, replica.failovers());
            }
        }
    });
}

/// Shows what the cache counts.
pub(crate) fn show_cache(cache: &Arc<Cache>, metrics: &Metrics) {
    let cache = Arc::clone(cache);
    metrics.sample(&[&CACHE_REQUESTS, &CACHE_ERRORS, &CACHE_UP], move |samples| {
        let stats = cache.stats();
        samples.count(&CACHE_REQUESTS, &["hit"], stats.hits);
        samples.count(&CACHE_REQUESTS, &["miss"], stats.misses);
        samples.count(&CACHE_ERRORS, &[], stats.errors);
        samples.number(&CACHE_UP, &[], u64::from(cache.is_available()));
    });
}

/// Shows what the page cache counts and holds.
pub(crate) fn show_pages(pages: &Arc<Pages>, metrics: &Metrics) {
    let pages = Arc::clone(pages);
    let families =
        [&PAGES_SERVED, &PAGES_RENEWED, &PAGES_RENDERS, &PAGES_RENDERING, &PAGES_FILLING, &PAGES_HELD, &PAGES_BYTES];
    metrics.sample(&families, move |samples| {
        let stats = pages.stats();
        let served = [
            ("fresh", stats.fresh),
            ("stale", stats.stale),
            ("fallback", stats.fallback),
            ("awaited", stats.awaited),
            ("refused", stats.refused),
            ("failed", stats.failed),
        ];
        for (outcome, count) in served {
            samples.count(&PAGES_SERVED, &[outcome], count);
        }
        for (by, count) in [("confirmed", stats.confirmed), ("adopted", stats.adopted), ("rendered", stats.renders)] {
            samples.count(&PAGES_RENEWED, &[by], count);
        }
        // Read one after the other while they count: for a moment the parts may be more than the whole.
        let kept = stats.renders.saturating_sub(stats.overtaken + stats.unkept);
        let renders =
            [("kept", kept), ("overtaken", stats.overtaken), ("unkept", stats.unkept), ("failed", stats.render_errors)];
        for (outcome, count) in renders {
            samples.count(&PAGES_RENDERS, &[outcome], count);
        }
        samples.number(&PAGES_RENDERING, &[], stats.rendering);
        samples.number(&PAGES_FILLING, &[], stats.filling);
        samples.number(&PAGES_HELD, &[], stats.pages);
        samples.number(&PAGES_BYTES, &[], stats.bytes);
    });
}
