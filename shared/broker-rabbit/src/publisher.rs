//! Publishing, from the caller's side: bounded, and refused at once where there is nobody to publish to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::{BrokerState, Publish, PublishError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::config::Config;
use crate::flight::{Permits, Reaper};
use crate::gather::{self, Gatherer, Request};
use crate::lane::Lane;
use crate::link::Link;

/// The most messages of one request: enough to fill the pipe (measured: 1,024 in flight reach what the broker can do), few
/// enough to keep a caller's share of the permits fair.
const CHUNK: usize = 1_024;

/// Publishes over a [`Link`].
pub(crate) struct Publisher {
    link: Arc<Link>,
    config: Config,
    messages: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    requests: mpsc::Sender<Request>,
    reaper: Reaper,
}

impl Publisher {
    /// The publisher, and the task that sends for it: to be run until every publisher is gone or its stop is pulled.
    pub(crate) fn new(link: Arc<Link>, config: &Config) -> (Self, Gatherer) {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits.max(1) as usize));
        let reaper = Reaper::new();
        // Each request holds the permit of a message, so the queue is never full.
        let (requests, queue) = mpsc::channel(config.max_in_flight.max(1) as usize);
        let gatherer = Gatherer::new(Arc::clone(&link), config, queue, reaper.clone());
        let publisher = Self {
            link,
            config: config.clone(),
            messages: semaphore(config.max_in_flight),
            kib: semaphore(config.max_in_flight_kib),
            requests,
            reaper,
        };
        (publisher, gatherer)
    }

    pub(crate) fn state(&self) -> BrokerState {
        match gather::session(&self.link) {
            Ok(_session) => BrokerState::Ready,
            Err(PublishError::Blocked(_)) => BrokerState::Blocked,
            Err(_) => BrokerState::Disconnected,
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

    /// At most [`CHUNK`] messages, no more than may be in flight at all, and a quarter of the bytes that may, unless a single
    /// message has more: one caller's backlog is not to keep out everybody else.
    fn next_chunk(&self, rest: &mut VecDeque<Publish>) -> Chunk {
        let most = CHUNK.min(self.config.max_in_flight.max(1) as usize);
        let all = self.config.max_in_flight_kib.max(1);
        let budget = (all / 4).max(1);
        let mut chunk = Chunk { publishes: Vec::with_capacity(most.min(rest.len())), kib: 0 };
        while let Some(publish) = rest.pop_front() {
            let kib = u32::try_from(publish.message.body.len() / 1_024 + 1).unwrap_or(u32::MAX).min(all);
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
        gather::session(&self.link)?;
        let messages = chunk.len();
        let permits = self.permits(&chunk).await?;
        let (told, outcomes) = oneshot::channel();
        let request = Request { publishes: chunk.publishes, permits, told };
        // The gatherer ends with the broker's close.
        self.requests.send(request).await.map_err(|_| PublishError::Unavailable)?;
        outcomes.await.unwrap_or_else(|_| Ok(vec![Err(PublishError::Unknown); messages]))
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

    /// The most bytes of headers that it takes; without a connection, as many as the configuration lets one take.
    pub(crate) fn max_headers(&self) -> usize {
        let session = gather::session(&self.link).ok();
        let lane = session.as_ref().and_then(|session| session.lane.as_ref());
        lane.map_or_else(|| self.config.max_headers(), Lane::max_headers)
    }

    /// Waits until nothing is in flight.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        let all = self.config.max_in_flight.max(1);
        timeout(limit, self.messages.acquire_many(all)).await.is_ok()
    }

    /// Waits for the reaper; the connection is closed by then, so that every confirm is decided.
    pub(crate) async fn join(&self) {
        self.reaper.join().await;
    }
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
