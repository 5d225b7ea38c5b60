//! A broker that confirms at once and keeps nothing.

use broker::announce::Topics;
use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Counts what it confirms.
#[derive(Debug)]
pub(crate) struct AtOnce {
    confirmed: watch::Sender<usize>,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self { confirmed: watch::Sender::new(0) }
    }
}

impl AtOnce {
    /// Waits until so many are confirmed.
    pub(crate) async fn until(&self, confirmed: usize) {
        let reached = self.confirmed.subscribe().wait_for(|now| *now >= confirmed).await.map(|_now| ());
        reached.unwrap_or_default();
    }
}

impl Broker for AtOnce {
    fn declare<'a>(&'a self, _: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        self.confirmed.send_modify(|confirmed| *confirmed += batch.len());
        Box::pin(async move { vec![Ok(()); batch.len()] })
    }

    fn subscribe<'a>(&'a self, queue: &'a QueueName, _: u16) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        Box::pin(async { Err(BrokerError::NoSuchQueue(queue.clone())) })
    }

    fn depths<'a>(&'a self, _: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn announce(&self, _: &str, _: Bytes) {}

    fn listen(&self, topic: &str) -> Listener {
        // Closed: nobody is heard.
        Topics::default().listen(topic)
    }

    fn state(&self) -> BrokerState {
        BrokerState::Ready
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        Box::pin(async { Err(BrokerError::Closed) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
