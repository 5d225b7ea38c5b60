//! The role: what it is given, and its life.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerError, QueueSpec, layout};
use cache::{Cache, Tag};
use model::Clock;
use serde::Deserialize;
use service::metrics::Metrics;
use service::{Readiness, Shutdown};
use tokio_util::sync::CancellationToken;
use worker::{Breaker, Pauses, Witness, Worker, WorkerDeps};

use crate::announce::Announcer;
use crate::cdn::{self, CdnConfig, CdnError, Cdns};
use crate::coalesce::{Coalescer, Herald};
use crate::handler::Invalidation;

/// The part `[invalidation]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The least time between two purges of one tag by one process, ms. The first change is purged at once; what follows
    /// within this time is purged when it is over.
    pub coalesce_ms: u64,
    /// How many of the most read pages a process renders again at once when it hears of a purge that makes them old; the
    /// others are rendered for their next readers. 0: none.
    pub rerender_pages: usize,
    /// CDNs that keep pages too, by names for metrics and logs.
    pub cdn: BTreeMap<String, CdnConfig>,
    /// How changes are taken. A batch waits for the slowest of its purges, up to `coalesce_ms`, so there have to be as many
    /// batches as come in that time: with the linger below, twenty a second that are not full.
    pub worker: worker::Config,
    /// When it pauses for the cache.
    pub breaker: worker::BreakerConfig,
}

impl Default for Config {
    fn default() -> Self {
        let worker = worker::Config {
            prefetch: 3_072,
            batch: 64,
            linger_ms: 50,
            parallel_batches: 32,
            ..worker::Config::default()
        };
        Self {
            coalesce_ms: 1_000,
            rerender_pages: 50,
            cdn: BTreeMap::new(),
            worker,
            breaker: worker::BreakerConfig::default(),
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// Which can't, and what to do.
    pub fn check(&self) -> Result<(), String> {
        for (name, config) in &self.cdn {
            cdn::check(name, config).map_err(|error| error.to_string())?;
        }
        self.worker.check().map_err(|error| format!("invalidation.{error}"))
    }
}

/// What invalidation is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Tells what changed, and is told what was purged.
    pub orders: Arc<dyn Broker>,
    /// What is purged.
    pub cache: Arc<Cache>,
    /// Stamps announcements.
    pub clock: Arc<dyn Clock>,
    /// Which queues operators have paused.
    pub pauses: Pauses,
    /// The database that keeps those pauses: there it is noted, too, that a suspect runs alone.
    pub witness: Arc<dyn Witness>,
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
    /// A CDN can't work as configured.
    #[error(transparent)]
    Cdn(#[from] CdnError),
    /// The worker ended.
    #[error(transparent)]
    Worker(#[from] worker::Error),
}

/// Everyone who is told of purges.
struct Town {
    announcer: Announcer,
    cdns: Cdns,
}

impl Herald for Town {
    fn purged(&self, tags: &[Tag]) {
        // First: a CDN that was purged asks a process for the page at once.
        self.announcer.announce(tags);
        self.cdns.purged(tags);
    }

    fn held_up(&self, tags: &[Tag]) {
        self.announcer.announce(tags);
    }
}

/// Purges until `shutdown`. Waits for a broker that is away, and for a cache that is.
///
/// # Errors
/// [`Error`].
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let Deps { config, orders, cache, clock, pauses, witness, readiness, metrics } = deps;
    let ready = readiness.condition("invalidation.queue");
    let cdns = Cdns::open(&config.cdn, &clock, &metrics)?;
    ready.not_ready("waiting for the broker to take the queue's declaration");
    match shutdown.soft().run_until_cancelled(orders.declare(&layout::orders([]))).await {
        None => return Ok(()),
        Some(declared) => declared?,
    }
    ready.ready();
    let every = Duration::from_millis(config.coalesce_ms);
    let coalescer = Arc::new(Coalescer::new(Arc::clone(&cache), every, &metrics));
    let town = Town { announcer: Announcer::new(Arc::clone(&orders), clock), cdns };
    let deps = WorkerDeps {
        broker: orders,
        queue: QueueSpec::new(layout::invalidation_queue()),
        handler: Arc::new(Invalidation::new(cache, Arc::clone(&coalescer))),
        breaker: Arc::new(Breaker::new("cache", config.breaker)),
        seat: None,
        witness,
    };
    let worker = Worker::new(deps, config.worker).paused_by(pauses).measured(&metrics).run(shutdown.clone());
    let finish = CancellationToken::new();
    let mut telling = Box::pin(town.cdns.run(&finish));
    let ended = tokio::select! {
        ended = Box::pin(worker) => ended,
        never = coalescer.run(&town) => match never {},
        // It does not end before it is asked to.
        () = &mut telling => return Ok(()),
    };
    // Nothing is purged any more: what CDNs have not heard of yet they hear now.
    finish.cancel();
    shutdown.hard().run_until_cancelled(telling).await;
    Ok(ended?)
}
