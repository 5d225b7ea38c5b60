//! The role: one loop per database.

use std::sync::Arc;

use broker::{Broker, BrokerError, layout};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::Databases;

use crate::config::Config;
use crate::meters::Meters;
use crate::pump::Pump;

/// What the relay is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Whose outboxes it empties.
    pub databases: Databases,
    /// Where orders' facts go.
    pub orders: Arc<dyn Broker>,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why the relay ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work.
    #[error("{0}")]
    Config(String),
    /// The topology can't be declared.
    #[error("the relay can't declare what it feeds")]
    Broker(#[from] BrokerError),
    /// A database that waiting does not mend.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A loop panicked.
    #[error("a loop of the relay panicked")]
    Panicked,
}

/// Empties every outbox until `shutdown`: softly after the batch in hand, hard at once.
///
/// # Errors
/// [`Error`], for what no waiting mends.
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    deps.config.check().map_err(Error::Config)?;
    let stop = shutdown.soft().clone();
    let declared = deps.readiness.condition("relay.topology");
    let topology = layout::orders(deps.databases.regions().map(|region| &region.name));
    declared.not_ready("the orders broker is not reachable yet");
    match stop.run_until_cancelled(deps.orders.declare(&topology)).await {
        None => return Ok(()),
        Some(outcome) => outcome?,
    }
    declared.ready();

    let tasks = Tasks::new();
    let mut loops = Vec::new();
    for database in deps.databases.databases() {
        let meters = Meters::register(&deps.metrics, database.name());
        let pump = Pump::new(deps.config.clone(), Arc::clone(database), Arc::clone(&deps.orders), meters);
        let shutdown = shutdown.clone();
        loops.push(tasks.spawn("relay", async move {
            // What a hard stop drops here was not confirmed, so its rows stay.
            shutdown.hard().run_until_cancelled(pump.run(shutdown.soft())).await.unwrap_or(Ok(()))
        }));
    }
    // The first loop that fails is reported once all have ended, which the supervisor's soft stop brings about.
    let mut outcome = Ok(());
    for done in futures::future::join_all(loops).await {
        outcome = outcome.and(done.unwrap_or(Err(Error::Panicked)));
    }
    outcome
}
