//! The role: what it is given, and its life.

use std::sync::Arc;

use broker::{Broker, BrokerError, QueueSpec, layout};
use cache::Cache;
use serde::{Deserialize, Serialize};
use service::metrics::Metrics;
use service::{Readiness, Shutdown};
use worker::{Breaker, Pauses, Worker, WorkerDeps};

use crate::handler::Invalidation;

/// The part `[invalidation]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How changes are taken. The linger is what coalesces: an import that touches a product ten times is one purge.
    pub worker: worker::Config,
    /// When it pauses for the cache.
    pub breaker: worker::BreakerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            worker: worker::Config { linger_ms: 50, ..worker::Config::default() },
            breaker: worker::BreakerConfig::default(),
        }
    }
}

/// What invalidation is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Tells what changed.
    pub orders: Arc<dyn Broker>,
    /// What is purged.
    pub cache: Arc<Cache>,
    /// Which queues operators have paused.
    pub pauses: Pauses,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why invalidation can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue can't be declared, and waiting would not help.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The worker ended.
    #[error(transparent)]
    Worker(#[from] worker::Error),
}

/// Purges until `shutdown`. Waits for a broker that is away, and for a cache that is.
///
/// # Errors
/// [`Error`].
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let Deps { config, orders, cache, pauses, readiness, metrics } = deps;
    let ready = readiness.condition("invalidation.queue");
    ready.not_ready("waiting for the broker to take the queue's declaration");
    match shutdown.soft().run_until_cancelled(orders.declare(&layout::orders([]))).await {
        None => return Ok(()),
        Some(declared) => declared?,
    }
    ready.ready();
    let deps = WorkerDeps {
        broker: orders,
        queue: QueueSpec::new(layout::invalidation_queue()),
        handler: Arc::new(Invalidation::new(cache)),
        breaker: Arc::new(Breaker::new("cache", config.breaker)),
        seat: None,
    };
    Ok(Worker::new(deps, config.worker).paused_by(pauses).measured(&metrics).run(shutdown).await?)
}
