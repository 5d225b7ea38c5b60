//! The cache of one process.

use std::sync::{Mutex as Guarded, PoisonError};
use std::time::Duration;

use model::OrderId;
use moka::future::Cache;
use moka::ops::compute::Op;
use tokio::sync::Mutex;

use crate::config::Config;
use crate::status::OrderStatus;
use crate::tags::{Generation, Generations, Purge, Tag, seen_key};

/// Bounded by entries and time; the least used go first.
pub(crate) struct Memory {
    status: Cache<OrderId, OrderStatus>,
    tags: Cache<Tag, Generation>,
    versions: Cache<String, i64>,
    /// What every purge of any tag changes, before it changes the tag.
    position: Guarded<Generation>,
    /// One purge at a time, so that a version is looked at and its tags are bumped as one step.
    purging: Mutex<()>,
}

impl Memory {
    pub(crate) fn new(config: &Config, fresh: &Generations) -> Self {
        let tag_ttl = Duration::from_secs(config.tag_ttl_s);
        let status_ttl = Duration::from_secs(config.status_ttl_s);
        Self {
            status: Cache::builder().max_capacity(config.capacity).time_to_live(status_ttl).build(),
            tags: Cache::builder().max_capacity(config.capacity).time_to_live(tag_ttl).build(),
            versions: Cache::builder().max_capacity(config.capacity).time_to_live(tag_ttl).build(),
            position: Guarded::new(fresh.fresh()),
            purging: Mutex::new(()),
        }
    }

    pub(crate) async fn put_status(&self, status: &OrderStatus) {
        let compare = |held: Option<moka::Entry<OrderId, OrderStatus>>| {
            let newer = held.is_none_or(|held| held.value().version < status.version);
            std::future::ready(if newer { Op::Put(status.clone()) } else { Op::Nop })
        };
        self.status.entry(status.order_id).and_compute_with(compare).await;
    }

    pub(crate) async fn get_status(&self, id: OrderId) -> Option<OrderStatus> {
        self.status.get(&id).await
    }

    pub(crate) async fn generation(&self, tag: &Tag, fresh: &Generations) -> Generation {
        self.tags.get_with(tag.clone(), async { fresh.fresh() }).await
    }

    /// Generations as they are; none for a tag that is missing.
    pub(crate) async fn held_generations(&self, tags: &[Tag]) -> Vec<Option<Generation>> {
        let mut held = Vec::with_capacity(tags.len());
        for tag in tags {
            held.push(self.tags.get(tag).await);
        }
        held
    }

    pub(crate) fn position(&self) -> Generation {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn bump(&self, tags: &[Tag], fresh: &Generations) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = fresh.fresh();
        for tag in tags {
            self.tags.insert(tag.clone(), fresh.fresh()).await;
        }
    }

    pub(crate) async fn purge(&self, purges: &[Purge], fresh: &Generations) -> Vec<bool> {
        let _one_at_a_time = self.purging.lock().await;
        let mut done = Vec::with_capacity(purges.len());
        for Purge { tag, versions } in purges {
            let mut newer = Vec::new();
            for (aggregate, version) in versions {
                let key = seen_key(aggregate, tag);
                if self.versions.get(&key).await.is_none_or(|held| held < *version) {
                    newer.push((key, *version));
                }
            }
            if !newer.is_empty() {
                // The tag first: a caller that goes away in between leaves a purge too many, never one too few.
                self.bump(std::slice::from_ref(tag), fresh).await;
            }
            done.push(!newer.is_empty());
            for (key, version) in newer {
                self.versions.insert(key, version).await;
            }
        }
        done
    }
}
