//! One look per database and tick for every order that a stream waits for, so that ten thousand waiting shoppers are
//! one query and not ten thousand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use model::OrderId;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::lookup::{Lookup, Source};
use crate::view::Known;

/// Orders that streams wait for, with what was seen last; `None` until somebody looked.
#[derive(Default)]
pub(crate) struct Watched {
    orders: Mutex<HashMap<OrderId, watch::Sender<Option<Known>>>>,
}

impl Watched {
    /// Follows an order, unless as many as `most` do. Dropping the receiver is leaving.
    pub(crate) fn follow(&self, id: OrderId, most: usize) -> Option<watch::Receiver<Option<Known>>> {
        let mut orders = self.lock();
        let order = orders.entry(id).or_insert_with(|| watch::channel(None).0);
        (order.receiver_count() < most).then(|| order.subscribe())
    }

    /// Tells the followers, unless they know as much already: what a slow look found never replaces what is newer.
    pub(crate) fn tell(&self, id: OrderId, known: Known) {
        if let Some(order) = self.lock().get(&id) {
            order.send_if_modified(|held| {
                let newer = held.as_ref().is_none_or(|held| version(held) < version(&known));
                if newer {
                    *held = Some(known);
                }
                newer
            });
        }
    }

    /// Orders of `source` that somebody follows; forgets those that nobody does.
    fn of(&self, lookup: &Lookup, source: &Arc<Source>) -> Vec<OrderId> {
        let mut orders = self.lock();
        orders.retain(|_, order| order.receiver_count() > 0);
        let is_here = |id: &&OrderId| lookup.source_of(**id).is_some_and(|home| Arc::ptr_eq(home, source));
        orders.keys().filter(is_here).copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<OrderId, watch::Sender<Option<Known>>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn version(known: &Known) -> i64 {
    match known {
        Known::Queued => 0,
        Known::Committed(status) => status.version,
    }
}

/// Looks for ever, into each database at its own pace: one that is slow delays only its own.
pub(crate) async fn look_for_ever(lookup: &Lookup, watched: &Watched, config: &Config) {
    let loops = lookup.sources().map(async |source| {
        let mut tick = interval(config.poll());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            look(lookup, watched, source).await;
        }
    });
    join_all(loops).await;
}

async fn look(lookup: &Lookup, watched: &Watched, source: &Arc<Source>) {
    /// Ids per query: a few milliseconds of the database's time.
    const CHUNK: usize = 5_000;
    let ids = watched.of(lookup, source);
    for chunk in ids.chunks(CHUNK) {
        let Ok(mut found) = lookup.read(source, chunk).await else { return };
        for id in chunk {
            watched.tell(*id, found.remove(id).map_or(Known::Queued, Known::Committed));
        }
    }
}
