//! Looks at depths and hears heartbeats, once for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::announce::HEARTBEATS;
use broker::{Broker, Depth, Listener, QueueName};
use flow::{Age, Beat, Drain, Oldest, Roster, Seen, Trend};
use futures::future::join_all;
use sea_orm::{ConnectionTrait as _, DbErr};
use store::Database;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::{Known, known};
use crate::run::State;

/// How long a queue's length is looked back on.
const TREND: Duration = Duration::from_secs(15);
/// Workers that are remembered.
const WORKERS: usize = 1_024;
/// How many looks a call for depths may take until they are unknown.
const LOOKS: u32 = 3;
/// Parked rows are counted up to here.
const MOST_PARKED: u32 = 100_000;

/// What is known of one queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    /// The queue itself.
    pub(crate) ready: Option<u64>,
    pub(crate) consumers: Option<u32>,
    /// All rungs of its ladder.
    pub(crate) retrying: Option<u64>,
    /// Its parked queue.
    pub(crate) parked: Option<u64>,
    /// Messages per second by which it gets shorter.
    pub(crate) net_per_s: Option<f64>,
    pub(crate) drain: Drain,
    /// Of the oldest message that waits.
    pub(crate) oldest: Option<Age>,
    pub(crate) seen: Seen,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            ready: None,
            consumers: None,
            retrying: None,
            parked: None,
            net_per_s: None,
            drain: Drain::Unknown,
            oldest: None,
            seen: Seen::default(),
        }
    }
}

/// The last look at every queue.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<BTreeMap<QueueName, Look>>);

impl Looks {
    /// The last look at `queue`; all unknown before the first.
    pub(crate) fn of(&self, queue: &QueueName) -> Look {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(queue).copied().unwrap_or_default()
    }

    fn set(&self, looks: BTreeMap<QueueName, Look>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = looks;
    }
}

/// Looks until it is dropped.
pub(crate) async fn follow(state: Arc<State>) -> std::convert::Infallible {
    let one_broker = Arc::ptr_eq(&state.orders, &state.events);
    let mut orders = Some(state.orders.listen(HEARTBEATS));
    let mut events = (!one_broker).then(|| state.events.listen(HEARTBEATS));
    let mut watch = Watch {
        queues: known(&state.databases).into_iter().map(Followed::new).collect(),
        roster: Roster::new(Duration::from_millis(state.config.heartbeat_expires_ms), WORKERS),
        start: Instant::now(),
    };
    let mut look = interval(state.config.look());
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // First: what was heard meanwhile counts for this look.
            biased;
            beat = next(&mut orders) => watch.hear(&beat),
            beat = next(&mut events) => watch.hear(&beat),
            _ = look.tick() => watch.look(&state).await,
        }
    }
}

/// A queue, and what came of the looks at it until now.
struct Followed {
    known: Known,
    trend: Trend,
    oldest: Oldest,
}

impl Followed {
    fn new(known: Known) -> Self {
        Self { known, trend: Trend::new(TREND), oldest: Oldest::default() }
    }
}

struct Watch {
    queues: Vec<Followed>,
    roster: Roster,
    start: Instant,
}

impl Watch {
    fn hear(&mut self, beat: &[u8]) {
        if let Some(beat) = Beat::from_bytes(beat) {
            self.roster.heard(self.start.elapsed(), beat);
        }
    }

    async fn look(&mut self, state: &State) {
        let limit = state.config.look() * LOOKS;
        let looks = self.queues.iter().map(|followed| depths_of(state, &followed.known, limit));
        let (depths, unrouted) = futures::join!(join_all(looks), unrouted(state, limit));
        let now = self.start.elapsed();
        let mut looks = BTreeMap::from([(QueueName::unrouted(), Look { ready: unrouted, ..Look::default() })]);
        for (Followed { known, trend, oldest }, depths) in self.queues.iter_mut().zip(depths) {
            match depths.ready {
                Some(ready) => trend.record(now, ready),
                None => trend.forget(),
            }
            let seen = self.roster.of_queue(now, known.name().as_str());
            let oldest = oldest.record(now, depths.ready, depths.consumers, &seen);
            let look = Look { net_per_s: trend.net_per_second(), drain: trend.drain(), oldest, seen, ..depths };
            looks.insert(known.name().clone(), look);
        }
        state.looks.set(looks);
    }
}

/// The depths of one queue. Each kind is asked for by itself: what a broker does not tell of (an embedded one has no
/// queues for retries) hides nothing else.
async fn depths_of(state: &State, known: &Known, limit: Duration) -> Look {
    let broker = &**state.broker_of(known);
    let rungs: Vec<QueueName> = known.spec.retry_delays.iter().map(|delay| known.name().retry(*delay)).collect();
    let (queue, parked) = (vec![known.name().clone()], vec![known.name().parked()]);
    let (queue, parked, rungs) =
        futures::join!(depths(broker, &queue, limit), depths(broker, &parked, limit), depths(broker, &rungs, limit));
    let sum = |depths: Option<Vec<Depth>>| depths.map(|depths| depths.iter().map(|depth| depth.ready).sum());
    let own = queue.as_deref().and_then(<[Depth]>::first);
    Look {
        ready: own.map(|depth| depth.ready),
        consumers: own.map(|depth| depth.consumers),
        retrying: sum(rungs),
        parked: sum(parked),
        ..Look::default()
    }
}

/// What no queue wanted and no parker took yet, on both brokers; unknown where one of them does not say.
async fn unrouted(state: &State, limit: Duration) -> Option<u64> {
    if Arc::ptr_eq(&state.orders, &state.events) {
        return unrouted_at(&*state.orders, limit).await;
    }
    let (orders, events) = futures::join!(unrouted_at(&*state.orders, limit), unrouted_at(&*state.events, limit));
    Some(orders? + events?)
}

async fn unrouted_at(broker: &dyn Broker, limit: Duration) -> Option<u64> {
    let depths = depths(broker, &[QueueName::unrouted()], limit).await?;
    depths.first().map(|depth| depth.ready)
}

async fn depths(broker: &dyn Broker, queues: &[QueueName], limit: Duration) -> Option<Vec<Depth>> {
    match timeout(limit, broker.depths(queues)).await {
        Ok(Ok(depths)) => Some(depths),
        Ok(Err(error)) => {
            tracing::trace!(%error, "the depths of queues are not known");
            None
        }
        Err(_elapsed) => None,
    }
}

/// The next heartbeat; never, where nobody is listened to.
async fn next(listener: &mut Option<Listener>) -> bytes::Bytes {
    if let Some(heard) = listener.as_mut() {
        match heard.next().await {
            Some(beat) => return beat,
            // The broker was closed by this process, which is about to end.
            None => *listener = None,
        }
    }
    std::future::pending().await
}

/// Parked messages that wait for a person, by queue, counted up to a bound.
pub(super) async fn parked_rows(database: &Database) -> Result<BTreeMap<String, u64>, DbErr> {
    let sql = format!(
        "SELECT queue, count(*) AS messages FROM (SELECT queue FROM parked_messages WHERE state = 'open' LIMIT \
         {MOST_PARKED}) open GROUP BY queue"
    );
    let rows = database.read().query_all_raw(database.statement(sql, [])).await?;
    let count = |row: &sea_orm::QueryResult| {
        let messages: i64 = row.try_get("", "messages")?;
        Ok((row.try_get("", "queue")?, u64::try_from(messages).unwrap_or(0)))
    };
    rows.iter().map(count).collect()
}
