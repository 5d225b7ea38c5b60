//! The handle: [`Broker`] on two links, a publisher and a task per subscription.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::consumer::Consume;
use crate::fault::Fault;
use crate::link::{Link, LinkState, Purpose, Session, Url};
use crate::probe;
use crate::publisher::Publisher;
use crate::telemetry::Telemetry;
use crate::topology::{self, DeclareError};
use crate::window::Counters;

/// A RabbitMQ cluster as a [`Broker`]. Dropped without [`Broker::close`] it stops as well, without waiting for anything.
pub struct Rabbit {
    url: Url,
    name: String,
    config: Config,
    runtime: Handle,
    /// Not before somebody speaks or listens.
    telemetry: OnceLock<Telemetry>,
    publish_link: Arc<Link>,
    consume_link: Arc<Link>,
    publisher: Arc<Publisher>,
    /// Everything declared so far, declared again after every reconnect.
    declared: Arc<Mutex<Topology>>,
    counters: Arc<Counters>,
    consumers: TaskTracker,
    supervisors: TaskTracker,
    /// [`Broker::close`] was called: consumers stop, nothing new begins.
    closing: CancellationToken,
    /// The connections are to be closed.
    hang_up: CancellationToken,
}

impl Rabbit {
    /// A handle on the broker at `url` (`amqp://` or `amqps://`), at once: connecting and reconnecting go on in the
    /// background until [`Broker::close`]. `name` is what operators see in RabbitMQ's list of connections. Must be
    /// called within a tokio runtime; for `amqps`, once a process-wide rustls provider is installed.
    ///
    /// # Errors
    /// [`BrokerError::Configuration`] for a URL that can't work.
    pub fn connect(url: &str, name: &str, config: Config) -> Result<Arc<Self>, BrokerError> {
        let url = Url::parse(url, config.heartbeat_s).map_err(BrokerError::Configuration)?;
        let declared = Arc::new(Mutex::new(Topology::default()));
        let link = |purpose| Link::new(purpose, &url, name, &config, Arc::clone(&declared));
        let (publish_link, consume_link) = (link(Purpose::Publish), link(Purpose::Consume));
        let hang_up = CancellationToken::new();
        let supervisors = TaskTracker::new();
        for link in [&publish_link, &consume_link] {
            supervisors.spawn(Arc::clone(link).supervise(hang_up.clone()));
        }
        let (publisher, gatherer) = Publisher::new(Arc::clone(&publish_link), &config);
        supervisors.spawn(gatherer.run(hang_up.clone()));
        Ok(Arc::new(Self {
            publisher: Arc::new(publisher),
            url,
            name: name.to_owned(),
            config,
            runtime: Handle::current(),
            telemetry: OnceLock::new(),
            publish_link,
            consume_link,
            declared,
            counters: Arc::default(),
            consumers: TaskTracker::new(),
            supervisors,
            closing: CancellationToken::new(),
            hang_up,
        }))
    }

    /// Deliveries that a consumer dropped unsettled so far; they went back to their queues.
    pub fn dropped_unsettled(&self) -> u64 {
        self.counters.dropped.load(Ordering::Relaxed)
    }

    /// Settlements so far that were accepted from their caller but did not reach the broker before the channel's end;
    /// those messages are delivered again.
    pub fn lost_settlements(&self) -> u64 {
        self.counters.lost_settlements.load(Ordering::Relaxed)
    }

    fn telemetry(&self) -> &Telemetry {
        self.telemetry.get_or_init(|| {
            // Nothing of the topology is its business: the others declare it.
            let link = Link::new(Purpose::Announce, &self.url, &self.name, &self.config, Arc::default());
            Telemetry::start(link, &self.config, &self.supervisors, &self.runtime, &self.closing)
        })
    }

    async fn declare_for_ever(&self, topology: &Topology) -> Result<(), BrokerError> {
        let mut backoff = Backoff::new(&self.config);
        loop {
            let session = self.consume_link.up().await;
            match self.declare_once(&session, topology).await {
                Ok(()) => break,
                Err(DeclareError::Fatal(error)) => return Err(error),
                Err(DeclareError::Lost(why)) => tracing::warn!("declaring failed, trying again: {why}"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        self.remember(topology);
        // Whoever has declared goes on to publish.
        self.publish_link.up().await;
        Ok(())
    }

    fn remember(&self, topology: &Topology) {
        let mut declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        *declared = std::mem::take(&mut *declared).merged(topology.clone());
    }

    async fn declare_once(&self, session: &Session, topology: &Topology) -> Result<(), DeclareError> {
        let channel = self.channel(session).await.map_err(|fault| DeclareError::Lost(fault.to_string()))?;
        // Each queue may take as long as any other call: a quorum queue elects its leader first.
        let limit = self.config.call_timeout().saturating_mul(u32::try_from(topology.queues.len()).unwrap_or(1) + 1);
        let declared = timeout(limit, topology::declare(&channel, topology)).await;
        declared.unwrap_or_else(|_elapsed| Err(DeclareError::Lost(format!("no answer within {limit:?}"))))
    }

    async fn channel(&self, session: &Session) -> Result<lapin::Channel, Fault> {
        session.channel(self.config.call_timeout()).await
    }

    async fn start_consumer(&self, queue: &QueueName, prefetch: u16) -> Result<Subscription, BrokerError> {
        let prefetch = prefetch.max(1);
        let (deliveries, taken) = mpsc::channel(usize::from(prefetch));
        let stop = CancellationToken::new();
        let subscription = Subscription::new(taken, stop.clone().drop_guard());
        let consume = Consume {
            link: Arc::clone(&self.consume_link),
            publisher: Arc::clone(&self.publisher),
            declared: Arc::clone(&self.declared),
            config: self.config.clone(),
            counters: Arc::clone(&self.counters),
            tasks: self.consumers.clone(),
            queue: queue.clone(),
            prefetch,
            deliveries,
            stop,
            closing: self.closing.clone(),
        };
        let (first, registered) = oneshot::channel();
        self.consumers.spawn(consume.run(first));
        registered.await.unwrap_or(Err(BrokerError::Closed)).map(|()| subscription)
    }

    fn session(&self) -> Result<Arc<Session>, BrokerError> {
        match self.consume_link.state() {
            _ if self.closing.is_cancelled() => Err(BrokerError::Closed),
            LinkState::Up(session) => Ok(session),
            LinkState::Down(why) => Err(BrokerError::Unavailable(why)),
        }
    }

    async fn passive_depths(&self, queues: &[QueueName]) -> Result<Vec<Depth>, BrokerError> {
        let session = self.session()?;
        // Thrown away: a queue that is not there costs the channel.
        let channel = self.channel(&session).await.map_err(|fault| BrokerError::Unavailable(fault.to_string()))?;
        let mut depths = Vec::with_capacity(queues.len());
        for queue in queues {
            let name = ShortString::try_new(queue.as_str()).map_err(|_| BrokerError::NoSuchQueue(queue.clone()))?;
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let declared = channel.queue_declare(name, passive, FieldTable::default()).await;
            let found = declared.map_err(|error| match Fault::from(error) {
                Fault::NotFound => BrokerError::NoSuchQueue(queue.clone()),
                fault => BrokerError::Unavailable(fault.to_string()),
            })?;
            let (ready, consumers) = (u64::from(found.message_count()), found.consumer_count());
            depths.push(Depth { queue: queue.clone(), ready, consumers });
        }
        Ok(depths)
    }

    /// `future`, unless the broker is closed first.
    async fn unless_closed<T>(&self, future: impl Future<Output = Result<T, BrokerError>>) -> Result<T, BrokerError> {
        self.closing.run_until_cancelled(future).await.unwrap_or(Err(BrokerError::Closed))
    }

    async fn shut(&self) {
        let limit = self.config.close_timeout();
        self.closing.cancel();
        self.consumers.close();
        // Each of a consumer's last steps has the limit; they run side by side.
        if timeout(limit.saturating_mul(5), self.consumers.wait()).await.is_err() {
            tracing::warn!("consumers did not stop in time; what they hold will be delivered again");
        }
        if !self.publisher.settled(limit).await {
            tracing::warn!("closing with publishes whose outcome is not known");
        }
        self.hang_up.cancel();
        self.supervisors.close();
        self.supervisors.wait().await;
        if timeout(limit, self.publisher.join()).await.is_err() {
            tracing::warn!("confirms were still awaited when the connection was closed");
        }
    }
}

impl Broker for Rabbit {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.unless_closed(self.declare_for_ever(topology)))
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        Box::pin(async move {
            if self.closing.is_cancelled() {
                return vec![Err(PublishError::Unavailable); batch.len()];
            }
            self.publisher.publish(batch).await
        })
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        Box::pin(self.unless_closed(self.start_consumer(queue, prefetch)))
    }

    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        let limit = self.config.call_timeout();
        Box::pin(async move {
            let told = timeout(limit, self.passive_depths(queues)).await;
            told.unwrap_or_else(|_elapsed| Err(BrokerError::Unavailable(format!("no answer within {limit:?}"))))
        })
    }

    fn announce(&self, topic: &str, payload: Bytes) {
        self.telemetry().announce(topic, payload);
    }

    fn listen(&self, topic: &str) -> Listener {
        self.telemetry().listen(topic)
    }

    fn state(&self) -> BrokerState {
        if self.closing.is_cancelled() { BrokerState::Disconnected } else { self.publisher.state() }
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        let limit: Duration = self.config.connect_timeout();
        Box::pin(self.unless_closed(probe::info(&self.url.full, limit)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shut())
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.closing.cancel();
        self.hang_up.cancel();
    }
}

impl std::fmt::Debug for Rabbit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rabbit").field("broker", &self.url.shown).field("state", &self.state()).finish_non_exhaustive()
    }
}
