//! Queues that operators have paused. The worker knows no database: whoever does tells it through [`Pauses`].

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::QueueName;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How pauses are followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PauseConfig {
    /// How often a process that takes from queues looks which of them are paused, milliseconds; 50 or more. It is also how
    /// long a pause takes to be obeyed, beside the batch in hand.
    pub look_ms: u64,
}

impl Default for PauseConfig {
    fn default() -> Self {
        Self { look_ms: 500 }
    }
}

/// What is known of a process's queues: paused, not paused, or not known (yet), in which case nothing is taken. Clones
/// share it. What was told last stands until something else is told.
#[derive(Debug, Clone)]
pub struct Pauses {
    told: Arc<watch::Sender<Told>>,
}

#[derive(Debug, Default)]
struct Told {
    /// Nobody pauses anything.
    free: bool,
    queues: BTreeMap<QueueName, bool>,
}

impl Told {
    fn is_paused(&self, queue: &QueueName) -> Option<bool> {
        self.queues.get(queue).copied().or(self.free.then_some(false))
    }
}

impl Pauses {
    /// Nobody pauses anything, unless it is told otherwise.
    pub fn none() -> Self {
        Self { told: Arc::new(watch::Sender::new(Told { free: true, queues: BTreeMap::new() })) }
    }

    /// Nothing is known yet.
    pub fn unknown() -> Self {
        Self { told: Arc::new(watch::Sender::new(Told::default())) }
    }

    /// `queue` is paused, or is not.
    pub fn tell(&self, queue: &QueueName, paused: bool) {
        self.told.send_if_modified(|told| told.queues.insert(queue.clone(), paused) != Some(paused));
    }

    /// Whether `queue` is paused; `None` where nobody told yet.
    pub fn is_paused(&self, queue: &QueueName) -> Option<bool> {
        self.told.borrow().is_paused(queue)
    }

    /// Returns once `queue` is known not to be paused.
    pub(crate) async fn until_open(&self, queue: &QueueName) {
        self.until(|told| told.is_paused(queue) == Some(false)).await;
    }

    /// Returns once `queue` is paused.
    pub(crate) async fn until_paused(&self, queue: &QueueName) {
        self.until(|told| told.is_paused(queue) == Some(true)).await;
    }

    async fn until(&self, holds: impl FnMut(&Told) -> bool) {
        // The sender is here: it can't be gone.
        drop(self.told.subscribe().wait_for(holds).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_told_is_unknown_and_what_was_told_last_stands() {
        let queue = QueueName::new("q");
        let (pauses, none) = (Pauses::unknown(), Pauses::none());
        assert_eq!((pauses.is_paused(&queue), none.is_paused(&queue)), (None, Some(false)));
        pauses.clone().tell(&queue, true);
        assert_eq!(pauses.is_paused(&queue), Some(true));
        assert_eq!(pauses.is_paused(&QueueName::new("other")), None);
        pauses.tell(&queue, false);
        assert_eq!(pauses.is_paused(&queue), Some(false));
    }
}
