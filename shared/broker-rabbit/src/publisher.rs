//! Publishing: pipelined, confirmed one by one, bounded.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use broker::{BrokerState, Publish, PublishError};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Connection};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::link::{Link, LinkState, Session};
use crate::wire::{self, Outbound};

/// The most messages sent before their confirms are awaited: enough to fill the pipe (measured: 1,024 in flight reach
/// what the broker can do), few enough to keep a caller's share of the permits fair.
const CHUNK: usize = 1_024;

/// How many returned messages are remembered until their own outcome is due.
const RETURNED: usize = 1_024;

type Confirm = Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>;

/// The one channel that publishes. One is enough: its frames leave on one socket whatever the number of channels.
pub(crate) struct Lane {
    channel: Arc<Channel>,
    /// lapin numbers a publish and queues its frames in two steps. Callers side by side could swap places in between,
    /// and each would get the other's confirm.
    order: Mutex<()>,
    /// Ids of messages that came back and whose own outcome has not been told.
    returned: Mutex<VecDeque<String>>,
}

impl Lane {
    pub(crate) async fn open(connection: &Connection) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        // Without it lapin resolves every confirm at once, as "not requested".
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { channel: Arc::new(channel), order: Mutex::default(), returned: Mutex::default() })
    }

    fn usable(&self) -> bool {
        self.channel.status().connected()
    }

    /// Not sent before it is polled.
    fn confirm(&self, outbound: Outbound) -> Confirm {
        let channel = Arc::clone(&self.channel);
        Box::pin(async move {
            let Outbound { exchange, routing_key, properties, body } = outbound;
            // Every exchange has an alternate, so nothing ever comes back. `mandatory` is the tripwire for a topology
            // that somebody has damaged.
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
        })
    }

    fn returned(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// lapin attaches what came back to whichever confirm is next, so that it says nothing about this one.
    fn remember(&self, came_back: &BasicReturnMessage) {
        let id = came_back.delivery.properties.message_id().as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            message_id = id,
            exchange = %came_back.delivery.exchange,
            routing_key = %came_back.delivery.routing_key,
            "no queue and no alternate exchange took a message: the topology is damaged, restart Millpond to redeclare"
        );
        let mut returned = self.returned();
        if returned.len() == RETURNED {
            returned.pop_front();
        }
        returned.push_back(id);
    }

    fn came_back(&self, id: &str) -> bool {
        let mut returned = self.returned();
        let at = returned.iter().position(|other| other == id);
        at.is_some_and(|at| returned.remove(at).is_some())
    }
}

/// Publishes over a [`Link`].
pub(crate) struct Publisher {
    link: Arc<Link>,
    config: Config,
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    /// Awaits the confirms that their callers gave up, so that their permits are held until lapin has let go of them.
    reaper: TaskTracker,
    runtime: Handle,
}

impl Publisher {
    pub(crate) fn new(link: Arc<Link>, config: &Config) -> Self {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits.max(1) as usize));
        Self {
            link,
            config: config.clone(),
            messages: semaphore(config.max_in_flight),
            kib: semaphore(config.max_in_flight_kib),
            reaper: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }

    pub(crate) fn state(&self) -> BrokerState {
        match self.session() {
            Ok(_session) => BrokerState::Ready,
            Err(PublishError::Blocked(_)) => BrokerState::Blocked,
            Err(_) => BrokerState::Disconnected,
        }
    }

    fn session(&self) -> Result<Arc<Session>, PublishError> {
        match self.link.state() {
            LinkState::Up(session) if !session.over.is_cancelled() => {
                if session.lane.as_ref().is_none_or(|lane| !lane.usable()) {
                    // A channel error leaves the connection open; a new connection brings a new channel.
                    session.over.cancel();
                    return Err(PublishError::Unavailable);
                }
                let blocked = session.blocked.borrow().clone();
                blocked.map_or(Ok(session), |reason| Err(PublishError::Blocked(reason)))
            }
            _ => Err(PublishError::Unavailable),
        }
    }

    pub(crate) async fn publish(&self, batch: Vec<Publish>) -> Vec<Result<(), PublishError>> {
        let mut outcomes = Vec::with_capacity(batch.len());
        let mut rest = VecDeque::from(batch);
        while !rest.is_empty() {
            let chunk = self.next_chunk(&mut rest);
            let messages = chunk.len();
            match self.publish_chunk(chunk).await {
                Ok(told) => outcomes.extend(told),
                // What stops this chunk stops the rest: nothing of it was sent.
                Err(error) => outcomes.extend(vec![Err(error); messages + rest.drain(..).len()]),
            }
        }
        outcomes
    }

    /// At most [`CHUNK`] messages, and no more than may be in flight at all.
    fn next_chunk(&self, rest: &mut VecDeque<Publish>) -> Chunk {
        let most = CHUNK.min(self.config.max_in_flight.max(1) as usize);
        let budget = self.config.max_in_flight_kib.max(1);
        let mut chunk = Chunk { publishes: Vec::with_capacity(most.min(rest.len())), kib: 0 };
        while let Some(publish) = rest.pop_front() {
            let kib = u32::try_from(publish.message.body.len() / 1_024 + 1).unwrap_or(u32::MAX).min(budget);
            if !chunk.publishes.is_empty() && (chunk.len() == most || chunk.kib + kib > budget) {
                rest.push_front(publish);
                break;
            }
            chunk.kib += kib;
            chunk.publishes.push(publish);
        }
        chunk
    }

    async fn publish_chunk(&self, chunk: Chunk) -> Result<Vec<Result<(), PublishError>>, PublishError> {
        self.session()?;
        let permits = self.permits(&chunk).await?;
        let session = self.session()?;
        let Some(lane) = &session.lane else { return Err(PublishError::Unavailable) };

        let max_body = self.config.max_message_kib as usize * 1_024;
        let slots = chunk.publishes.into_iter().map(|publish| {
            let id = publish.message.id.as_str().to_owned();
            match wire::outbound(publish, max_body) {
                Ok(outbound) => Slot::Pending { id, confirm: lane.confirm(outbound) },
                Err(error) => Slot::Told(Err(error)),
            }
        });
        let mut flight = Flight {
            slots: slots.collect(),
            permits: Some(permits),
            reaper: self.reaper.clone(),
            runtime: self.runtime.clone(),
        };
        flight.send(lane).await;
        tokio::select! {
            biased;
            () = flight.land(lane) => {}
            () = self.give_up(&session) => {}
        }
        if !lane.usable() {
            // A missing exchange, say.
            session.over.cancel();
        }
        Ok(flight.outcomes(lane))
    }

    async fn permits(&self, chunk: &Chunk) -> Result<Permits, PublishError> {
        let messages = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let acquiring = async {
            let messages = Arc::clone(&self.messages).acquire_many_owned(messages).await;
            let kib = Arc::clone(&self.kib).acquire_many_owned(chunk.kib).await;
            messages.and_then(|messages| kib.map(|kib| Permits { _messages: messages, _kib: kib }))
        };
        match timeout(self.config.saturated_after(), acquiring).await {
            Ok(Ok(permits)) => Ok(permits),
            Ok(Err(_closed)) => Err(PublishError::Unavailable),
            Err(_elapsed) => Err(PublishError::Saturated),
        }
    }

    /// Resolves when waiting for confirms any longer makes no sense.
    async fn give_up(&self, session: &Session) {
        let mut blocked = session.blocked.subscribe();
        tokio::select! {
            () = sleep(self.config.publish_timeout()) => {}
            () = until_blocked(&mut blocked) => sleep(self.config.blocked_grace()).await,
        }
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        let all = self.config.max_in_flight.max(1);
        timeout(limit, self.messages.acquire_many(all)).await.is_ok()
    }

    /// Waits for the reaper; the connection is closed by then, so that every confirm is decided.
    pub(crate) async fn join(&self) {
        self.reaper.close();
        self.reaper.wait().await;
    }
}

async fn until_blocked(blocked: &mut watch::Receiver<Option<String>>) {
    // Its sender lives in the session that the caller holds, so that it can't fail.
    let _reason_or_gone = blocked.wait_for(Option::is_some).await.is_ok();
}

struct Chunk {
    publishes: Vec<Publish>,
    kib: u32,
}

impl Chunk {
    fn len(&self) -> usize {
        self.publishes.len()
    }
}

struct Permits {
    _messages: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
}

enum Slot {
    Told(Result<(), PublishError>),
    /// Acked; told once it is clear that it did not come back.
    Acked(String),
    Pending {
        id: String,
        confirm: Confirm,
    },
}

/// Messages on their way. Whatever of it is still pending when it is dropped (its caller gave up, or is gone itself)
/// goes to the reaper, and its permits with it.
struct Flight {
    slots: Vec<Slot>,
    permits: Option<Permits>,
    reaper: TaskTracker,
    runtime: Handle,
}

impl Flight {
    /// Queues every frame, in order, without waiting for any.
    async fn send(&mut self, lane: &Lane) {
        poll_fn(|context| {
            let _order = lane.order.lock().unwrap_or_else(PoisonError::into_inner);
            for slot in &mut self.slots {
                if let Slot::Pending { id, confirm } = slot
                    && let Poll::Ready(confirmed) = confirm.as_mut().poll(context)
                {
                    // An error at the first poll means that the channel was closed: nothing was sent.
                    *slot = match confirmed {
                        Err(_error) => Slot::Told(Err(PublishError::Unavailable)),
                        Ok(confirmation) => landed(lane, std::mem::take(id), confirmation),
                    };
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Awaits every confirm.
    async fn land(&mut self, lane: &Lane) {
        for slot in &mut self.slots {
            if let Slot::Pending { id, confirm } = slot {
                *slot = match confirm.await {
                    Ok(confirmation) => landed(lane, std::mem::take(id), confirmation),
                    Err(_error) => Slot::Told(Err(PublishError::Unknown)),
                };
            }
        }
    }

    fn outcomes(&mut self, lane: &Lane) -> Vec<Result<(), PublishError>> {
        let outcome = |slot: &Slot| match slot {
            Slot::Told(outcome) => outcome.clone(),
            Slot::Acked(id) if lane.came_back(id) => Err(PublishError::Unroutable),
            Slot::Acked(_) => Ok(()),
            Slot::Pending { .. } => Err(PublishError::Unknown),
        };
        self.slots.iter().map(outcome).collect()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let is_pending = |slot: &Slot| matches!(slot, Slot::Pending { .. });
        if !self.slots.iter().any(is_pending) {
            return;
        }
        let (slots, permits) = (std::mem::take(&mut self.slots), self.permits.take());
        self.reaper.spawn_on(
            async move {
                for slot in slots {
                    if let Slot::Pending { confirm, .. } = slot {
                        drop(confirm.await);
                    }
                }
                drop(permits);
            },
            &self.runtime,
        );
    }
}

fn landed(lane: &Lane, id: String, confirmation: Confirmation) -> Slot {
    match confirmation {
        Confirmation::Ack(None) => Slot::Acked(id),
        Confirmation::Ack(Some(came_back)) => {
            lane.remember(&came_back);
            Slot::Acked(id)
        }
        Confirmation::Nack(came_back) => {
            if let Some(came_back) = came_back {
                lane.remember(&came_back);
            }
            Slot::Told(Err(PublishError::Refused("a queue that it goes to is full or not available".to_owned())))
        }
        Confirmation::NotRequested => {
            tracing::error!("a channel published without confirms: its messages are not known to be stored");
            Slot::Told(Err(PublishError::Unknown))
        }
    }
}
