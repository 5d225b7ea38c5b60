//! Announcements: transient, unconfirmed, on a connection of their own, so that they never stand before an order and an
//! alarm that silences them silences nothing else. The connection is made for the first who speaks or listens.

use std::convert::Infallible;
use std::sync::Arc;

use broker::Listener;
use broker::announce::{BEHIND, MAX_ANNOUNCEMENT};
use bytes::Bytes;
use futures::StreamExt as _;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, ExchangeKind};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::fault::Fault;
use crate::link::{Link, LinkState, Session};

/// Where announcements go; the routing key is the topic. Without an alternate: what nobody hears is meant to be lost.
const EXCHANGE: &str = "millpond.telemetry.v1";
/// Announcements that wait to be sent; what comes on top of them is dropped.
const WAITING: usize = 256;
/// How long one may wait for a listener that is away, ms. An old heartbeat is no heartbeat.
const TTL_MS: i64 = 5_000;
/// Not kept on disk.
const TRANSIENT: u8 = 1;

/// The connection and what waits to be said on it.
pub(crate) struct Telemetry {
    link: Arc<Link>,
    config: Config,
    said: mpsc::Sender<(ShortString, Bytes)>,
    tasks: TaskTracker,
    runtime: Handle,
    closing: CancellationToken,
}

impl Telemetry {
    /// Connects in the background until `closing`; everything that it starts is one of `tasks`.
    pub(crate) fn start(
        link: Arc<Link>,
        config: &Config,
        tasks: &TaskTracker,
        runtime: &Handle,
        closing: &CancellationToken,
    ) -> Self {
        let (said, to_say) = mpsc::channel(WAITING);
        tasks.spawn_on(Arc::clone(&link).supervise(closing.clone()), runtime);
        let (speaking, stop) = (speak(Arc::clone(&link), config.clone(), to_say), closing.clone());
        let until = async move {
            stop.run_until_cancelled(speaking).await;
        };
        tasks.spawn_on(until, runtime);
        let (config, tasks, runtime, closing) = (config.clone(), tasks.clone(), runtime.clone(), closing.clone());
        Self { link, config, said, tasks, runtime, closing }
    }

    pub(crate) fn announce(&self, topic: &str, payload: Bytes) {
        let Ok(topic) = ShortString::try_new(topic) else { return };
        if payload.len() > MAX_ANNOUNCEMENT || !matches!(self.link.state(), LinkState::Up(_)) {
            return;
        }
        // Full: those before it are not out yet, and nobody waits for this one.
        let _dropped = self.said.try_send((topic, payload));
    }

    pub(crate) fn listen(&self, topic: &str) -> Listener {
        let (tell, heard) = mpsc::channel(BEHIND);
        let stop = CancellationToken::new();
        let hearing = hear(Arc::clone(&self.link), self.config.clone(), topic.to_owned(), tell);
        let (stopped, closing) = (stop.clone(), self.closing.clone());
        let until = async move {
            closing.run_until_cancelled(stopped.run_until_cancelled(hearing)).await;
        };
        self.tasks.spawn_on(until, &self.runtime);
        Listener::new(heard, stop.drop_guard())
    }
}

/// Says what is to be said, for ever.
async fn speak(link: Arc<Link>, config: Config, mut to_say: mpsc::Receiver<(ShortString, Bytes)>) -> Infallible {
    let mut backoff = Backoff::new(&config);
    let mut told = false;
    loop {
        let session = link.up().await;
        let begin = Instant::now();
        match speak_on(&session, &config, &mut to_say).await {
            Ok(()) => {}
            // The link brings another connection.
            Err(Fault::Lost(why)) => {
                tracing::debug!("announcing failed: {why}");
                session.over.cancel();
            }
            // A new connection would be told the same, and nothing else of this one depends on it.
            Err(fault) if told => tracing::debug!("announcing failed: {fault}"),
            Err(fault) => {
                told = true;
                tracing::warn!("nothing is announced, so that others do not know how this process does: {fault}");
            }
        }
        backoff.reset_after(begin.elapsed());
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Until the connection is of no use any more.
async fn speak_on(
    session: &Session,
    config: &Config,
    to_say: &mut mpsc::Receiver<(ShortString, Bytes)>,
) -> Result<(), Fault> {
    let channel = session.channel(config.call_timeout()).await?;
    declare_exchange(&channel).await?;
    loop {
        let said = tokio::select! {
            said = to_say.recv() => said,
            () = session.over.cancelled() => return Ok(()),
        };
        let Some((topic, payload)) = said else { return Ok(()) };
        // lapin would queue it without a bound until the alarm is over.
        if session.blocked.borrow().is_some() {
            continue;
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(TRANSIENT)
            .with_content_type(ShortString::from("application/json"));
        // Not mandatory: nobody may be listening.
        let publishing =
            channel.basic_publish(EXCHANGE.into(), topic, BasicPublishOptions::default(), &payload, properties);
        // Without confirms on this channel: the answer says only that it was queued.
        drop(publishing.await?);
    }
}

/// Listens to `topic` for ever.
async fn hear(link: Arc<Link>, config: Config, topic: String, tell: mpsc::Sender<Bytes>) -> Infallible {
    let mut backoff = Backoff::new(&config);
    loop {
        let session = link.up().await;
        let begin = Instant::now();
        if let Err(fault) = hear_on(&session, &config, &topic, &tell).await {
            tracing::debug!(topic, "listening failed, beginning again: {fault}");
        }
        backoff.reset_after(begin.elapsed());
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn hear_on(session: &Session, config: &Config, topic: &str, tell: &mpsc::Sender<Bytes>) -> Result<(), Fault> {
    let channel = session.channel(config.call_timeout()).await?;
    declare_exchange(&channel).await?;
    // A name of our own kind, not the server's `amq.gen-…`: users are allowed to configure `^millpond\\.`.
    let name = format!("millpond.listener.{:032x}", rand::random::<u128>());
    let name = ShortString::try_new(name).map_err(|error| Fault::Lost(error.to_string()))?;
    let key = ShortString::try_new(topic).map_err(|error| Fault::Lost(error.to_string()))?;
    // Exclusive: it goes with this connection, whatever becomes of this process. Not durable, for the same reason.
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.clone(), options, listener_arguments()).await?;
    channel.queue_bind(name.clone(), EXCHANGE.into(), key, QueueBindOptions::default(), FieldTable::default()).await?;
    // No acks: what is lost on the way is lost. The queue's length bounds what waits on the broker's side.
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    let mut heard = channel.basic_consume(name, "".into(), options, FieldTable::default()).await?;
    loop {
        let next = tokio::select! {
            next = heard.next() => next,
            () = session.over.cancelled() => return Ok(()),
        };
        let Some(delivery) = next else { return Ok(()) };
        // A listener that does not keep up loses it; one that is gone has stopped this task.
        let _lost = tell.try_send(Bytes::from(delivery?.data));
    }
}

async fn declare_exchange(channel: &Channel) -> Result<(), Fault> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, options, FieldTable::default());
    Ok(declared.await?)
}

fn listener_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    // Quorum queues can't be exclusive.
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("classic")));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(i64::try_from(BEHIND).unwrap_or(i64::MAX)));
    arguments.insert("x-overflow".into(), AMQPValue::LongString(LongString::from("drop-head")));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(TTL_MS));
    arguments
}
