//! The one place of a process where tags are purged: each at most once a second, however many changes ask for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache::{Cache, Purge, Tag};
use service::metrics::{Counter, Family, Metrics};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::slots::{Due, Slots, Told};

static PURGES: Family = Family::counter(
    "millpond_invalidation_purges_total",
    "Tags by what became of a purge: purged, older (every version was seen before), or failed (tried again)",
    &["outcome"],
);

/// Takes purges from many batches, and does them when their time has come. One that is asked for while another of the same
/// tag is under way is not a part of that one: what it is about may have been read before.
pub(crate) struct Coalescer {
    slots: Mutex<Slots>,
    asked: Notify,
    cache: Arc<Cache>,
    purged: Counter,
    older: Counter,
    failed: Counter,
}

/// Whom to tell of purges. Never waits.
pub(crate) trait Herald: Send + Sync {
    /// These tags have new generations. Nobody was told yet, or of an earlier purge alone.
    fn purged(&self, tags: &[Tag]);

    /// These tags are to have new generations, and whether they have is not known: the cache does not answer.
    fn held_up(&self, tags: &[Tag]);
}

impl Coalescer {
    pub(crate) fn new(cache: Arc<Cache>, every: Duration, metrics: &Metrics) -> Self {
        let count = |outcome| metrics.counter(&PURGES, &[outcome]);
        Self {
            slots: Mutex::new(Slots::new(every)),
            asked: Notify::new(),
            cache,
            purged: count("purged"),
            older: count("older"),
            failed: count("failed"),
        }
    }

    /// Asks for purges; each says by itself when it is done. `urgent`: at once, whenever their tags were purged. `owed`: those
    /// of which nobody may have been told, though the cache has them; everybody is, once more.
    pub(crate) fn ask(&self, purges: Vec<Purge>, urgent: bool, owed: Vec<Tag>) -> Vec<Told> {
        let told = {
            let mut slots = self.slots();
            for tag in owed {
                slots.owe(tag);
            }
            purges.into_iter().map(|purge| slots.ask(purge, urgent)).collect()
        };
        self.asked.notify_one();
        told
    }

    /// Does what is asked for, until it is dropped.
    pub(crate) async fn run(&self, herald: &dyn Herald) -> std::convert::Infallible {
        loop {
            let (due, next) = {
                let (mut slots, now) = (self.slots(), Instant::now());
                let due = slots.take_due(now);
                (due, slots.next_due(now))
            };
            match (due.is_empty(), next) {
                (false, _) => self.purge(due, herald).await,
                (true, None) => self.asked.notified().await,
                (true, Some(next)) => tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.asked.notified() => {}
                },
            }
        }
    }

    async fn purge(&self, due: Vec<Due>, herald: &dyn Herald) {
        let purges: Vec<Purge> = due.iter().map(|due| due.purge.clone()).collect();
        match self.cache.purge(&purges).await {
            Ok(newer) => {
                let told: Vec<Tag> = due
                    .iter()
                    .zip(&newer)
                    .filter(|(due, newer)| **newer || due.owed)
                    .map(|(due, _)| due.purge.tag.clone())
                    .collect();
                self.purged.inc_by(told.len() as u64);
                self.older.inc_by((due.len() - told.len()) as u64);
                tracing::debug!(invalidation.purged = told.len(), invalidation.asked = due.len(), "purged tags");
                // Before anybody is told that it is done: a message is acked after all who keep pages have heard.
                if !told.is_empty() {
                    herald.purged(&told);
                }
                self.settle(due, Slots::done, &Ok(()));
            }
            Err(error) => {
                self.failed.inc_by(due.len() as u64);
                let new: Vec<Tag> = due.iter().filter(|due| !due.owed).map(|due| due.purge.tag.clone()).collect();
                if !new.is_empty() {
                    herald.held_up(&new);
                }
                self.settle(due, Slots::failed, &Err(error.to_string()));
            }
        }
    }

    fn settle(&self, due: Vec<Due>, note: fn(&mut Slots, &Tag), outcome: &Result<(), String>) {
        let mut slots = self.slots();
        for due in due {
            note(&mut slots, &due.purge.tag);
            due.tell(outcome);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
