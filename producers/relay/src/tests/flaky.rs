//! A broker that fails on demand, in front of a list of what it confirmed.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use broker::announce::Topics;
use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

/// What becomes of a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Confirmed.
    Confirms,
    /// Taken, and no confirm comes.
    Hangs,
    /// There is no connection.
    Away,
    /// Confirmed, but for messages with these ids.
    Refuses(BTreeSet<String>),
}

pub(crate) struct FlakyBroker {
    mood: Mutex<Mood>,
    confirmed: Mutex<Vec<String>>,
    /// Counts up with every publish that hangs.
    pub(crate) hanging: Semaphore,
}

impl FlakyBroker {
    pub(crate) fn new(mood: Mood) -> Self {
        Self { mood: Mutex::new(mood), confirmed: Mutex::default(), hanging: Semaphore::new(0) }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Ids in the order confirmed.
    pub(crate) fn confirmed(&self) -> MutexGuard<'_, Vec<String>> {
        self.confirmed.lock().unwrap()
    }

    fn confirm(&self, publish: &Publish) -> Result<(), PublishError> {
        let id = publish.message.id.as_str().to_owned();
        match &*self.mood.lock().unwrap() {
            Mood::Away => return Err(PublishError::Unavailable),
            Mood::Refuses(ids) if ids.contains(&id) => return Err(PublishError::TooLarge("too large".to_owned())),
            _ => {}
        }
        self.confirmed().push(id);
        Ok(())
    }
}

impl Broker for FlakyBroker {
    fn declare<'a>(&'a self, _: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async { Ok(()) })
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        Box::pin(async move {
            if *self.mood.lock().unwrap() == Mood::Hangs {
                self.hanging.add_permits(1);
                return std::future::pending().await;
            }
            batch.iter().map(|publish| self.confirm(publish)).collect()
        })
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
        if *self.mood.lock().unwrap() == Mood::Away { BrokerState::Disconnected } else { BrokerState::Ready }
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        Box::pin(async { Err(BrokerError::Closed) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
