//! The broker as one process has it.

use std::sync::Arc;

use broker::announce::Topics;
use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use model::Message;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plan::{Fault, Step};
use crate::server::Server;
use crate::state::{Consumer, Life, Struck};

/// A process's connection to the [`Server`]. Whatever is asked of it after the process has died waits for ever.
#[derive(Debug, Clone)]
pub struct Client {
    server: Arc<Server>,
    life: Life,
}

impl Client {
    pub(crate) fn new(server: Arc<Server>, life: Life) -> Self {
        Self { server, life }
    }

    /// Whose it is.
    pub fn life(&self) -> Life {
        self.life
    }

    /// The process passes a step. Gives the fault that it has to suffer itself; does not come back where it dies.
    pub async fn pass(&self, step: Step) -> Option<Fault> {
        pass(&self.server, self.life, step).await
    }

    /// The process dies here.
    pub async fn die(&self) -> ! {
        self.server.crash(self.life);
        std::future::pending().await
    }

    /// As [`Server::complain`].
    pub fn complain(&self, complaint: String) {
        self.server.complain(complaint);
    }
}

impl Client {
    /// A copy of what the process has in hand, or something new: the steps are those of a copy for retry or park.
    async fn publish_copy(&self, message: Message) -> Result<(), PublishError> {
        let fault = self.pass(Step::Copy).await;
        if let Err(why) = self.server.takes_copies() {
            return Err(PublishError::Blocked(why.to_owned()));
        }
        if fault == Some(Fault::Refuse) {
            return Err(PublishError::Refused("the queue is full".to_owned()));
        }
        self.server.publish_copy(self.life, message);
        match self.pass(Step::Copied).await {
            Some(Fault::LoseConfirm) => Err(PublishError::Unknown),
            _ => Ok(()),
        }
    }
}

/// Yields, so that other tasks come between any two steps.
pub(crate) async fn pass(server: &Server, life: Life, step: Step) -> Option<Fault> {
    tokio::task::yield_now().await;
    match server.strike(life, step) {
        Struck::On(fault) => fault,
        Struck::Dead => std::future::pending().await,
    }
}

impl Broker for Client {
    fn declare<'a>(&'a self, _: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(batch.len());
            for Publish { message, .. } in batch {
                outcomes.push(self.publish_copy(message).await);
            }
            outcomes
        })
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        Box::pin(async move {
            if *queue != self.server.spec.name {
                return Err(BrokerError::NoSuchQueue(queue.clone()));
            }
            let (deliveries, taken) = mpsc::channel(usize::from(prefetch));
            let stop = CancellationToken::new();
            let subscription = Subscription::new(taken, stop.clone().drop_guard());
            if !self.server.consume(self.life, Consumer { deliveries, stop, prefetch: usize::from(prefetch) }) {
                return std::future::pending().await;
            }
            Ok(subscription)
        })
    }

    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        let ready = self.server.ready() as u64;
        Box::pin(
            async move { Ok(queues.iter().map(|queue| Depth { queue: queue.clone(), ready, consumers: 1 }).collect()) },
        )
    }

    fn announce(&self, _: &str, _: Bytes) {}

    fn listen(&self, topic: &str) -> Listener {
        // Closed: nobody is heard.
        Topics::default().listen(topic)
    }

    fn state(&self) -> BrokerState {
        match self.server.takes_copies() {
            Ok(()) => BrokerState::Ready,
            Err(_) if self.server.is_away() => BrokerState::Disconnected,
            Err(_) => BrokerState::Blocked,
        }
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        Box::pin(async { Err(BrokerError::Closed) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
