//! The role: a consumer for each parked queue, and for each database its replays and its upkeep.

use std::sync::Arc;

use broker::{Broker, BrokerError, QueueName, QueueSpec};
use futures::FutureExt as _;
use futures::TryFutureExt as _;
use futures::future::{BoxFuture, join_all, try_join};
use service::metrics::Metrics;
use service::{Readiness, Shutdown};
use store::{Database, Databases};
use worker::{Breaker, BreakerConfig, Witness, Worker, WorkerDeps};

use crate::config::Config;
use crate::homes::{Homes, Side};
use crate::meters::Meters;
use crate::park::Parking;
use crate::replay::Replayer;
use crate::upkeep::Upkeep;

/// What the parker is given.
pub struct Deps {
    /// Its configuration.
    pub config: Config,
    /// When a consumer pauses for its database.
    pub breaker: BreakerConfig,
    /// Where parked messages are kept, and where effects are looked for.
    pub databases: Databases,
    /// Has the queues of orders and of what follows from them.
    pub orders: Arc<dyn Broker>,
    /// Has the queues of page events; may be the same broker.
    pub events: Arc<dyn Broker>,
    /// Whether the two are one server: its queue of unroutable messages is then taken from once.
    pub one_broker: bool,
    /// Where it says that it is ready.
    pub readiness: Readiness,
    /// What it measures.
    pub metrics: Metrics,
}

/// Why the parker can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work, and what to do.
    #[error("{0}")]
    Config(String),
    /// A queue can't be declared, and waiting would not help.
    #[error("the parker can't declare its queues")]
    Broker(#[from] BrokerError),
    /// A database can't be used, and waiting would not help.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A consumer ended.
    #[error(transparent)]
    Worker(#[from] worker::Error),
}

/// Parks, replays and closes until `shutdown`: softly after what is in hand, hard at once. Each queue waits for its own
/// broker and database alone.
///
/// # Errors
/// [`Error`]; the other parts are stopped softly first.
pub async fn run(deps: Deps, shutdown: Shutdown) -> Result<(), Error> {
    deps.config.check().map_err(Error::Config)?;
    let homes = Arc::new(Homes::new(&deps.databases, &deps.config)?);
    let meters = Meters::register(&deps.metrics, &homes);
    // Its own tokens: where one part fails the others stop, and the error is told.
    let stop = shutdown.child();
    let role = Role { deps, homes, meters, stop };
    let mut parts: Vec<BoxFuture<'_, Result<(), Error>>> = Vec::new();
    for home in role.homes.all() {
        let ended = role.consume(&home.queue, home.queue.parked(), home.side, &home.database);
        parts.push(role.one_for_all(ended).boxed());
    }
    for side in if role.deps.one_broker { vec![Side::Orders] } else { vec![Side::Orders, Side::Events] } {
        let ended = role.consume_unrouted(side);
        parts.push(role.one_for_all(ended).boxed());
    }
    for database in role.deps.databases.databases() {
        let ended = role.look_after(database);
        parts.push(role.one_for_all(ended).boxed());
    }
    join_all(parts).await.into_iter().fold(Ok(()), Result::and)
}

struct Role {
    deps: Deps,
    homes: Arc<Homes>,
    meters: Meters,
    stop: Shutdown,
}

impl Role {
    /// Stops the others when one part ends.
    async fn one_for_all(&self, part: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let ended = part.await;
        self.stop.soft().cancel();
        ended
    }

    fn broker(&self, side: Side) -> &Arc<dyn Broker> {
        match side {
            Side::Orders => &self.deps.orders,
            Side::Events => &self.deps.events,
        }
    }

    async fn consume_unrouted(&self, side: Side) -> Result<(), Error> {
        let unrouted = QueueName::unrouted();
        self.consume(&unrouted, unrouted.clone(), side, self.homes.common()).await
    }

    /// Moves what comes to `queue` into rows under the name of `home`.
    async fn consume(
        &self,
        home: &QueueName,
        queue: QueueName,
        side: Side,
        database: &Arc<Database>,
    ) -> Result<(), Error> {
        let name = match side {
            Side::Events if queue == QueueName::unrouted() => format!("parker.{queue}.events"),
            _ => format!("parker.{queue}"),
        };
        let ready = self.deps.readiness.condition(name);
        ready.not_ready("waiting for the broker to take the queue's declaration, and for the database");
        let broker = self.broker(side);
        let waiting =
            try_join(broker.declare(self.homes.topology(side)).err_into::<Error>(), self.until_ready(database));
        match self.stop.soft().run_until_cancelled(waiting).await {
            None | Some(Err(Error::Store(store::Error::Stopped(_)))) => return Ok(()),
            Some(outcome) => drop(outcome?),
        }
        ready.ready();
        let (database, parked) = (Arc::clone(database), self.meters.counter_of(home));
        let deps = WorkerDeps {
            broker: Arc::clone(broker),
            // It has neither a ladder nor a parked queue of its own: here is where messages end.
            queue: QueueSpec { name: queue, retry_delays: Vec::new() },
            // Of its own, and not the one that all others share: what can't be parked must not hold up checkout.
            breaker: Arc::new(Breaker::new(database.name(), self.deps.breaker.clone())),
            witness: Arc::clone(&database) as Arc<dyn Witness>,
            handler: Arc::new(Parking { database, home: home.clone(), parked }),
            // What is parked is little, and does not count against a budget; as what the relay deletes does not.
            seat: None,
        };
        let worker = Worker::new(deps, self.deps.config.worker.clone()).measured(&self.deps.metrics);
        Ok(Box::pin(worker.run(self.stop.clone())).await?)
    }

    async fn until_ready(&self, database: &Database) -> Result<(), Error> {
        Ok(database.wait_until_ready(self.stop.soft().cancelled()).await?)
    }

    /// Replays and upkeep of one database.
    async fn look_after(&self, database: &Arc<Database>) -> Result<(), Error> {
        match self.until_ready(database).await {
            Err(Error::Store(store::Error::Stopped(_))) => return Ok(()),
            ready => ready?,
        }
        let Deps { config, orders, events, .. } = &self.deps;
        let upkeep = Upkeep {
            config: config.clone(),
            database: Arc::clone(database),
            homes: Arc::clone(&self.homes),
            meters: self.meters.clone(),
        };
        let replayer = Replayer {
            config: config.clone(),
            database: Arc::clone(database),
            homes: Arc::clone(&self.homes),
            orders: Arc::clone(orders),
            events: Arc::clone(events),
            meters: self.meters.clone(),
        };
        let replaying = replayer.run(self.stop.soft());
        let working = async { tokio::join!(replaying, self.stop.soft().run_until_cancelled(upkeep.run())) };
        // A hard stop leaves a claim behind, which runs out.
        self.stop.hard().run_until_cancelled(working).await;
        Ok(())
    }
}
