//! What an operator would watch: how many messages wait, twice a second.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::recovery::Depth;
use crate::world::World;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The course of a run.
#[derive(Debug, Default)]
pub struct Course(Mutex<Vec<Depth>>);

impl Course {
    /// Looks until `stop`.
    pub async fn watch(self: Arc<Self>, world: Arc<World>, begun: Instant, stop: CancellationToken) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            let backlog = world.backlog().await;
            let depth = (begun.elapsed().as_secs_f64(), backlog);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(depth);
        }
    }

    /// What was seen so far.
    pub fn depths(&self) -> Vec<Depth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
