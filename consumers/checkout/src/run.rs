//! The role: one queue, one region.

use std::sync::Arc;

use broker::{Broker, BrokerError, QueueSpec, layout};
use cache::Cache;
use flow::Rank;
use futures::future::try_join;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::{Database, Region};
use worker::{Breaker, Governor, Pauses, Worker, WorkerDeps};

use crate::config::Config;
use crate::handler::Checkout;
use crate::status;
use crate::sweep::{self, sweep_for_ever};

/// What checkout is given. There is no clock: every time that it writes is the database's.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Whose orders it takes, and where they are kept. Any number of processes may serve one region.
    pub region: Region,
    /// Where orders come from.
    pub orders: Arc<dyn Broker>,
    /// Of the region's database; everybody in the process who uses that database shares it.
    pub breaker: Arc<Breaker>,
    /// Of the same database: what checkout may write per second.
    pub governor: Arc<Governor>,
    /// Where committed outcomes are left for whoever asks.
    pub cache: Arc<Cache>,
    /// Which queues operators have paused.
    pub pauses: Pauses,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why checkout ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work.
    #[error("{0}")]
    Config(String),
    /// The topology can't be declared.
    #[error("checkout can't declare its queue")]
    Broker(#[from] BrokerError),
    /// A database that waiting does not mend.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The consume loop.
    #[error(transparent)]
    Worker(#[from] worker::Error),
}

/// Serves the region's queue until `shutdown`: softly after what is in hand, hard at once. Waits for a broker that is
/// away, and for a database that is away or not migrated, and says so.
///
/// # Errors
/// [`Error`], for what no waiting mends.
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let Deps { config, region, orders, breaker, governor, cache, pauses, readiness, metrics } = deps;
    config.check().map_err(Error::Config)?;
    let (name, stop) = (region.name.clone(), shutdown.soft().clone());
    let queue = QueueSpec::new(layout::checkout_queue(&name));

    let declared = readiness.condition(format!("checkout.{name}.topology"));
    let database = readiness.condition(format!("checkout.{name}.database"));
    declared.not_ready("the orders broker is not reachable yet");
    database.not_ready("the database is away or not migrated: the log says which");
    let topology = layout::orders([&name]);
    // Both at once, so that an operator reads of everything that is missing, and not of one thing after the other.
    let waiting = try_join(
        async {
            orders.declare(&topology).await?;
            declared.ready();
            Ok::<(), Error>(())
        },
        async {
            region.database.wait_until_ready(stop.cancelled()).await?;
            database.ready();
            Ok(())
        },
    );
    match stop.run_until_cancelled(waiting).await {
        None | Some(Err(Error::Store(store::Error::Stopped(_)))) => return Ok(()),
        Some(outcome) => drop(outcome?),
    }

    let (statuses, writer) = status::queue(cache, config.status_queue_batches);
    let price_grace = config.price_grace();
    let tasks = Tasks::new();
    // Its end is the soft stop's, in mid-transaction too: that is rolled back, and the next sweep finds the same orders.
    let sweeping = sweep_for_ever(region.clone(), config.expiry, statuses.clone(), sweep::counter(&metrics, &region));
    let sweep_task = tasks.spawn_until("checkout.expiry", stop.clone(), sweeping);
    let witness: Arc<Database> = Arc::clone(&region.database);
    let handler =
        Arc::new(Checkout { region, source: config.outcome, price_grace, reserve_s: config.reserve_s, statuses });
    let status_task = tasks.spawn("checkout.statuses", writer.run());
    let seat = Some(governor.seat(Rank::Checkout, queue.name.to_string()));
    let deps = WorkerDeps { broker: orders, queue, handler, breaker, seat, witness };
    let worker = Worker::new(deps, config.worker).paused_by(pauses).measured(&metrics);
    let ended = worker.run(shutdown.clone()).await;
    // A worker that failed stops the sweeper, which no token does.
    sweep_task.abort();
    drop(sweep_task.await);
    // The handler is gone, and with it the queue's last sender: what is left of it is written, each write in bounded
    // time. A hard stop leaves it; the rows say the same.
    if shutdown.hard().run_until_cancelled(status_task).await.is_none() {
        tracing::debug!(region = %name, "statuses were left unwritten by a hard stop");
    }
    Ok(ended?)
}
