//! The role: what it is given, and its life.

use std::sync::Arc;

use broker::{Broker, BrokerError, QueueName, QueueSpec, Topology, layout};
use flow::Rank;
use futures::TryFutureExt as _;
use futures::future::{join3, try_join};
use model::Clock;
use service::metrics::Metrics;
use service::{Condition, Readiness, Shutdown};
use store::Database;
use worker::{Breaker, Governor, Handler, Pauses, Seat, Worker, WorkerDeps};

use crate::config::Config;
use crate::orders::Orders;
use crate::pages::Pages;
use crate::sweep::sweep_for_ever;

/// What analytics is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// Where it counts.
    pub database: Arc<Database>,
    /// Of that database; everybody in the process who uses it shares it.
    pub breaker: Arc<Breaker>,
    /// Of the same database: what checkout leaves of its budget.
    pub governor: Arc<Governor>,
    /// Tells outcomes of orders.
    pub orders: Arc<dyn Broker>,
    /// Tells page events; may be the same broker.
    pub events: Arc<dyn Broker>,
    /// Says what is too old to be counted.
    pub clock: Arc<dyn Clock>,
    /// Which queues operators have paused.
    pub pauses: Pauses,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why analytics can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A queue can't be declared, and waiting would not help.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The database can't be used, and waiting would not help.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A worker ended.
    #[error(transparent)]
    Worker(#[from] worker::Error),
}

/// Runs both consumers and the sweeper until `shutdown`. Each consumer waits for its own broker, so that page events are
/// counted while the orders' broker is away, and the other way round; both wait for the database.
///
/// # Errors
/// [`Error`]; the others are stopped softly first.
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    let Deps { config, database, breaker, governor, orders, events, clock, pauses, readiness, metrics } = deps;
    // Its own tokens: where one of the three fails, the others stop, and the error is told.
    let stop = shutdown.child();
    let seat = |queue: &QueueName| Some(governor.seat(Rank::Analytics, queue.to_string()));
    let pages = Consumer {
        broker: events,
        topology: layout::pages(),
        seat: seat(&layout::analytics_pages_queue()),
        queue: layout::analytics_pages_queue(),
        handler: Arc::new(Pages::new(Arc::clone(&database), clock, config.counting.clone())),
        worker: config.pages,
        pauses: pauses.clone(),
        ready: readiness.condition("analytics.pages"),
        metrics: metrics.clone(),
    };
    let outcomes = Consumer {
        broker: orders,
        topology: layout::orders([]),
        seat: seat(&layout::analytics_orders_queue()),
        queue: layout::analytics_orders_queue(),
        handler: Arc::new(Orders::new(Arc::clone(&database), config.counting.clone())),
        worker: config.orders,
        pauses,
        ready: readiness.condition("analytics.orders"),
        metrics,
    };
    let sweeping = sweep_for_ever(Arc::clone(&database), config.counting, config.sweeping);
    let (pages, outcomes, ()) = join3(
        pages.consume(&database, Arc::clone(&breaker), &stop),
        outcomes.consume(&database, breaker, &stop),
        async {
            stop.soft().run_until_cancelled(sweeping).await;
        },
    )
    .await;
    pages.and(outcomes)
}

/// One queue and what is done with it.
struct Consumer<H> {
    broker: Arc<dyn Broker>,
    topology: Topology,
    queue: QueueName,
    seat: Option<Seat>,
    handler: Arc<H>,
    worker: worker::Config,
    pauses: Pauses,
    ready: Condition,
    metrics: Metrics,
}

impl<H: Handler> Consumer<H> {
    async fn consume(self, database: &Arc<Database>, breaker: Arc<Breaker>, stop: &Shutdown) -> Result<(), Error> {
        let result = self.run(database, breaker, stop).await;
        stop.soft().cancel();
        result
    }

    async fn run(self, database: &Arc<Database>, breaker: Arc<Breaker>, stop: &Shutdown) -> Result<(), Error> {
        self.ready.not_ready("waiting for the broker to take the queue's declaration, and for the database");
        // Both at once, so that an operator reads of everything that is missing.
        let waiting = try_join(self.broker.declare(&self.topology).err_into::<Error>(), async {
            Ok(database.wait_until_ready(stop.soft().cancelled()).await?)
        });
        match stop.soft().run_until_cancelled(waiting).await {
            None | Some(Err(Error::Store(store::Error::Stopped(_)))) => return Ok(()),
            Some(outcome) => drop(outcome?),
        }
        self.ready.ready();
        let queue = QueueSpec::new(self.queue);
        let (handler, seat, witness) = (self.handler, self.seat, Arc::clone(database));
        let deps = WorkerDeps { broker: self.broker, queue, handler, breaker, seat, witness };
        let worker = Worker::new(deps, self.worker).paused_by(self.pauses).measured(&self.metrics);
        Ok(worker.run(stop.clone()).await?)
    }
}
