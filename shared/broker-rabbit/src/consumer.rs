//! A subscription: a channel of its own that is opened again for ever.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use broker::{BrokerError, Delivery, QueueName, Topology};
use futures::StreamExt as _;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::fault::Fault;
use crate::link::{Link, Session};
use crate::publisher::Publisher;
use crate::settler::{Home, RabbitSettler};
use crate::topology::{self, DeclareError};
use crate::window::{Counters, Window};
use crate::wire;

/// Tells the caller of `subscribe` how the first registration went.
type First = Option<oneshot::Sender<Result<(), BrokerError>>>;

/// What a subscription's task is given.
pub(crate) struct Consume {
    pub(crate) link: Arc<Link>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) declared: Arc<Mutex<Topology>>,
    pub(crate) config: Config,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tasks: TaskTracker,
    pub(crate) queue: QueueName,
    pub(crate) prefetch: u16,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    /// The subscription was dropped.
    pub(crate) stop: CancellationToken,
    /// The broker is being closed.
    pub(crate) closing: CancellationToken,
}

/// How a spell of consuming ended.
enum End {
    /// The subscription was dropped, or the broker is being closed.
    Wanted,
    /// Anything else; consuming goes on on another channel.
    Failed(String),
}

impl Consume {
    pub(crate) async fn run(self, first: oneshot::Sender<Result<(), BrokerError>>) {
        let mut first = Some(first);
        let mut backoff = Backoff::new(&self.config);
        loop {
            let session = tokio::select! {
                biased;
                () = self.ended() => return,
                session = self.link.up() => session,
            };
            let begin = Instant::now();
            match self.spell(&session, &mut first).await {
                Ok(End::Wanted) => return,
                Ok(End::Failed(why)) => {
                    tracing::warn!(queue = %self.queue, "stopped consuming from {}, resuming: {why}", self.queue);
                }
                Err(error) => {
                    if let Some(first) = first.take() {
                        // A caller that is gone has stopped the subscription as well.
                        let _gone = first.send(Err(error));
                        return;
                    }
                    tracing::error!(queue = %self.queue, "can't consume from {}, still trying: {error}", self.queue);
                }
            }
            backoff.reset_after(begin.elapsed());
            tokio::select! {
                () = self.ended() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
    }

    async fn ended(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.closing.cancelled() => {}
        }
    }

    /// From registration to the end of the channel. An error is one that waiting can't mend.
    async fn spell(&self, session: &Arc<Session>, first: &mut First) -> Result<End, BrokerError> {
        let (channel, consumer) = match self.register(session).await {
            Ok(registered) => registered,
            Err(Fault::NotFound) => match self.redeclare(session).await {
                Ok(()) => return Ok(End::Failed("the queue was deleted; it is declared again".to_owned())),
                Err(DeclareError::Lost(why)) => return Ok(End::Failed(why)),
                Err(DeclareError::Fatal(error)) => return Err(error),
            },
            Err(Fault::Refused(words)) => return Err(BrokerError::Configuration(words)),
            Err(Fault::Precondition(words)) => return Err(BrokerError::Conflict(words)),
            Err(Fault::Lost(why)) => return Ok(End::Failed(why)),
        };
        if let Some(first) = first.take() {
            // A caller that is gone has stopped the subscription as well.
            let _gone = first.send(Ok(()));
        } else {
            tracing::info!(queue = %self.queue, "consuming from {} again", self.queue);
        }
        let window = Window::new(channel.clone(), Arc::clone(&self.counters));
        let flusher = Arc::clone(&window);
        // A child of the subscription's end, so that both are pulled in one step.
        let consuming = self.stop.child_token();
        let until = consuming.clone();
        self.tasks.spawn(async move { flusher.keep_flushing(&until).await });

        let end = self.pump(session, consumer.clone(), &window).await;
        consuming.cancel();
        match &end {
            End::Wanted => self.finish(session, &channel, consumer, &window).await,
            // What was settled is told while the channel lasts: a cancelled consumer's channel does.
            End::Failed(_) => {
                self.in_time("the last acks", window.flush()).await;
            }
        }
        window.end();
        let closed = self.in_time("closing a channel", channel.close(200, "done".into())).await;
        tracing::trace!(?closed, "the consumer's channel is closed");
        Ok(end)
    }

    async fn register(&self, session: &Session) -> Result<(Channel, Consumer), Fault> {
        let channel = session.channel(self.config.call_timeout()).await?;
        let registering = async {
            // Before consuming, as lapin's buffer has no bound of its own; per consumer, as the other kind is on its
            // way out of RabbitMQ.
            channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
            let queue = ShortString::try_new(self.queue.as_str()).map_err(|error| Fault::Refused(error.to_string()))?;
            // Acks are ours to give, and other consumers may share the queue.
            let options = BasicConsumeOptions::default();
            Ok(channel.basic_consume(queue, ShortString::default(), options, FieldTable::default()).await?)
        };
        match timeout(self.config.call_timeout(), registering).await {
            Ok(registered) => registered.map(|consumer| (channel, consumer)),
            Err(_elapsed) => {
                session.over.cancel();
                Err(Fault::timed_out("registering a consumer"))
            }
        }
    }

    /// The queue is gone. It is declared again where this process knows how.
    async fn redeclare(&self, session: &Session) -> Result<(), DeclareError> {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !knows(&declared, &self.queue) {
            return Err(DeclareError::Fatal(BrokerError::NoSuchQueue(self.queue.clone())));
        }
        let limit = self.config.call_timeout();
        let channel = session.channel(limit).await.map_err(|fault| DeclareError::Lost(fault.to_string()))?;
        let redeclared = timeout(limit, topology::declare(&channel, &declared)).await;
        redeclared.unwrap_or_else(|_elapsed| Err(DeclareError::Lost("declaring took too long".to_owned())))
    }

    async fn pump(&self, session: &Session, mut consumer: Consumer, window: &Arc<Window>) -> End {
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let home = Arc::new(Home {
            queue: self.queue.clone(),
            spec: declared.queues.into_iter().find(|spec| spec.name == self.queue),
            publisher: Arc::clone(&self.publisher),
        });
        loop {
            let next = tokio::select! {
                biased;
                () = self.ended() => return End::Wanted,
                () = session.over.cancelled() => return End::Failed("the connection ended".to_owned()),
                next = consumer.next() => next,
            };
            let mut raw = match next {
                Some(Ok(raw)) => raw,
                Some(Err(error)) => return End::Failed(error.to_string()),
                None => return End::Failed("RabbitMQ cancelled the consumer".to_owned()),
            };
            let tag = raw.delivery_tag;
            window.deliver(tag);
            if failpoint::broken!(AckBeforeCommit) {
                window.ack(tag);
            }
            let (message, count) = wire::inbound(&mut raw);
            let settler = RabbitSettler { tag, window: Arc::clone(window), home: Arc::clone(&home) };
            let delivery = Delivery::new(message, raw.redelivered, count, Box::new(settler));
            // Has room for every delivery of this channel; those of an earlier one may be in the way.
            tokio::select! {
                sent = self.deliveries.send(delivery) => if sent.is_err() {
                    return End::Wanted;
                },
                () = self.ended() => return End::Wanted,
                () = session.over.cancelled() => return End::Failed("the connection ended".to_owned()),
            }
        }
    }

    /// Stops the consumer, gives back what nobody has seen, and waits for what somebody holds.
    async fn finish(&self, session: &Session, channel: &Channel, mut consumer: Consumer, window: &Window) {
        let cancelling = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        self.in_time("cancelling a consumer", cancelling).await;
        while let Some(Some(Ok(raw))) = self.in_time("the end of a consumer", consumer.next()).await {
            window.deliver(raw.delivery_tag);
            window.nack(raw.delivery_tag);
        }
        tokio::select! {
            () = window.drained() => {}
            () = session.over.cancelled() => {}
            () = self.closing.cancelled() => {}
        }
        self.in_time("the last acks", window.flush()).await;
    }

    async fn in_time<T>(&self, what: &str, future: impl Future<Output = T>) -> Option<T> {
        let limit: Duration = self.config.close_timeout();
        let done = timeout(limit, future).await.ok();
        if done.is_none() {
            tracing::warn!(queue = %self.queue, "{what} took longer than {limit:?}");
        }
        done
    }
}

/// Whether declaring `topology` makes `queue`, itself or as part of another's ladder.
fn knows(topology: &Topology, queue: &QueueName) -> bool {
    let made = topology.queues.iter().any(|spec| {
        spec.name == *queue
            || spec.name.parked() == *queue
            || spec.retry_delays.iter().any(|delay| spec.name.retry(*delay) == *queue)
    });
    made || (*queue == QueueName::unrouted() && *topology != Topology::default())
}
