//! The handle that roles hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology, announce::Topics,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use model::{Clock, SystemClock};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::command::{Command, Entry, PublishBatch};
use crate::file;
use crate::record::Record;
use crate::shared::Shared;
use crate::store::Store;
use crate::writer::Writer;

/// A broker in one local file, for one process.
pub struct Embedded {
    path: PathBuf,
    config: Config,
    commands: Sender<Command>,
    shared: Arc<Shared>,
    in_flight: Arc<Semaphore>,
    topics: Topics,
    /// Taken by the first close.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens or creates the file at `path` (its directory must exist) and holds it until [`Broker::close`]. A file that
    /// a killed process left is recovered on the way: some seconds for each million messages that wait.
    ///
    /// # Errors
    /// [`BrokerError::Held`] where another process holds the file; [`BrokerError::Configuration`] where it is damaged,
    /// another program's or of a newer layout, or where it can't be written.
    pub async fn open(path: impl AsRef<Path>, config: Config) -> Result<Arc<Self>, BrokerError> {
        Self::open_with_clock(path, config, Arc::new(SystemClock)).await
    }

    /// [`Embedded::open`] with the clock that says when a retry is due.
    ///
    /// # Errors
    /// Those of [`Embedded::open`].
    pub async fn open_with_clock(
        path: impl AsRef<Path>,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, BrokerError> {
        let path = path.as_ref().to_owned();
        // Reading the file and starting the thread block.
        tokio::task::spawn_blocking(move || Self::open_blocking(path, config, clock))
            .await
            .map_err(|panic| BrokerError::Configuration(format!("opening the broker's file failed: {panic}")))?
    }

    /// Whether there is a broker's file at `path` that this program reads. No lock is taken: a broker may hold the file, and
    /// one that starts meanwhile is not kept out. Blocks while one page is read.
    ///
    /// # Errors
    /// [`BrokerError::Configuration`] where the file is not there, another program's or of a newer layout, or its first page is
    /// damaged.
    pub fn examine(path: impl AsRef<Path>) -> Result<(), BrokerError> {
        file::look(path.as_ref())
    }

    fn open_blocking(path: PathBuf, config: Config, clock: Arc<dyn Clock>) -> Result<Arc<Self>, BrokerError> {
        let connection = file::open(&path, &config)?;
        Self::start(connection, path, config, clock)
    }

    fn start(
        connection: rusqlite::Connection,
        path: PathBuf,
        config: Config,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, BrokerError> {
        let shared = Arc::new(Shared::default());
        let (commands, receiver) = channel();
        let mut writer = Writer::new(Store::new(connection), config.clone(), clock, shared.clone(), commands.clone());
        writer.load().map_err(|error| file::explain(&path, &error))?;
        let thread = spawn(writer, receiver).map_err(|error| {
            BrokerError::Configuration(format!("the embedded broker's thread can't be started: {error}"))
        })?;
        Ok(Arc::new(Self {
            in_flight: Arc::new(Semaphore::new(config.max_in_flight as usize)),
            topics: Topics::new(),
            thread: Mutex::new(Some(thread)),
            path,
            config,
            commands,
            shared,
        }))
    }

    /// Asks the writer something that it answers at once.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, BrokerError>>) -> Command,
    ) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_closed| BrokerError::Closed)?;
        answer.await.unwrap_or(Err(BrokerError::Closed))
    }

    fn entry(&self, publish: Publish) -> Result<Entry, PublishError> {
        let record = Record::of(&publish.message);
        let (bytes, max) = (record.bytes(), self.config.max_message_bytes);
        if bytes > max {
            return Err(PublishError::TooLarge(format!("{bytes} bytes, max_message_bytes is {max}")));
        }
        Ok(Entry { exchange: publish.exchange, routing_key: publish.routing_key, record })
    }

    async fn publish_batch(&self, batch: Vec<Publish>) -> Vec<Result<(), PublishError>> {
        let count = batch.len();
        let all = |error: PublishError| vec![Err(error); count];
        if let Some(refusal) = self.shared.refusal() {
            return all(refusal);
        }
        let permits = u32::try_from(count).unwrap_or(u32::MAX);
        let Ok(permit) = self.in_flight.clone().try_acquire_many_owned(permits) else {
            return all(PublishError::Saturated);
        };
        // Here and not in the writer: callers encode in parallel.
        let entries = batch.into_iter().map(|publish| self.entry(publish)).collect();
        let (reply, outcomes) = oneshot::channel();
        let command = Command::Publish(PublishBatch { entries, reply, permit });
        if self.commands.send(command).is_err() {
            return all(PublishError::Unavailable);
        }
        let timeout = Duration::from_millis(self.config.publish_timeout_ms);
        match tokio::time::timeout(timeout, outcomes).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) | Err(_) => all(PublishError::Unknown),
        }
    }
}

impl Broker for Embedded {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(self.ask(|reply| Command::Declare { topology: topology.clone(), reply }))
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        Box::pin(self.publish_batch(batch))
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        Box::pin(async move {
            let prefetch = prefetch.max(1);
            let (deliveries, receiver) = tokio::sync::mpsc::channel(usize::from(prefetch));
            self.ask(|reply| Command::Subscribe { queue: queue.clone(), prefetch, deliveries, reply }).await?;
            // The writer sees from the channel itself that the subscription was dropped.
            Ok(Subscription::new(receiver, CancellationToken::new().drop_guard()))
        })
    }

    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        Box::pin(self.ask(|reply| Command::Depths { queues: queues.to_vec(), reply }))
    }

    fn announce(&self, topic: &str, payload: Bytes) {
        self.topics.announce(topic, &payload);
    }

    fn listen(&self, topic: &str) -> Listener {
        self.topics.listen(topic)
    }

    fn state(&self) -> BrokerState {
        self.shared.state()
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        let info = match self.shared.state() {
            BrokerState::Disconnected => Err(BrokerError::Unavailable("it was closed".to_owned())),
            _ => Ok(BrokerInfo {
                product: "embedded".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                warnings: vec![format!(
                    "Every message is in one file on one disk ({}): a confirmed message survives a crash of this \
                     machine, but not the loss of the disk.",
                    self.path.display()
                )],
            }),
        };
        Box::pin(std::future::ready(info))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // A second close waits here for the first.
            self.topics.close();
            let mut thread = self.thread.lock().await;
            let _ = self.commands.send(Command::Close);
            if let Some(thread) = thread.take() {
                let joined = tokio::task::spawn_blocking(move || thread.join()).await;
                if !matches!(joined, Ok(Ok(()))) {
                    tracing::error!("the embedded broker's thread panicked; what it confirmed is in the file");
                }
            }
        })
    }
}

impl Drop for Embedded {
    /// Ends the thread where nobody called close; the file is let go of a little later.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Close);
    }
}

fn spawn(writer: Writer, commands: Receiver<Command>) -> std::io::Result<JoinHandle<()>> {
    let shared = writer.shared.clone();
    std::thread::Builder::new().name("embedded-broker".to_owned()).spawn(move || {
        // Also where the writer panics: nobody then waits for it.
        let _closed = CloseOnDrop(shared);
        let commands = commands;
        writer.run(&commands);
    })
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use broker::conformance::{DEADLINE, message};
    use broker::{ExchangeName, QueueSpec, Settle};

    use super::*;

    fn batch(count: usize) -> Vec<Publish> {
        let publish = |number| {
            let mut message = message(&format!("m-{number}"));
            message.body = vec![7; 2_000].into();
            Publish { exchange: ExchangeName::new("x"), routing_key: "k".to_owned(), message }
        };
        (0..count).map(publish).collect()
    }

    async fn within<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(DEADLINE, future).await.expect("it happens in time")
    }

    /// A disk that is full is the same error as a file that may not grow.
    #[tokio::test]
    async fn a_full_disk_blocks_publishes_until_there_is_room_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broker");
        let config = Config::default();
        let connection = file::open(&path, &config).unwrap();
        connection.pragma_update(None, "max_page_count", 200).unwrap();
        let broker = Embedded::start(connection, path, config, Arc::new(SystemClock)).unwrap();
        let queue = QueueName::new("q");
        let topology = Topology::default().with_queue(&ExchangeName::new("x"), QueueSpec::new(queue.clone()), ["k"]);
        broker.declare(&topology).await.unwrap();

        let mut stored = 0;
        while broker.publish(batch(10)).await == vec![Ok(()); 10] {
            stored += 10;
        }
        assert!(stored > 0);
        assert_eq!(broker.state(), BrokerState::Blocked);
        assert!(matches!(broker.publish(batch(1)).await[..], [Err(PublishError::Blocked(_))]));

        let mut subscription = broker.subscribe(&queue, 50).await.unwrap();
        for _ in 0..stored {
            let delivery = within(subscription.next()).await.unwrap();
            within(delivery.settle(Settle::Ack)).await.unwrap();
        }
        assert!(subscription.try_next().is_none(), "the refused batches are not there");
        let accepted = async {
            while broker.publish(batch(1)).await != [Ok(())] {
                tokio::task::yield_now().await;
            }
        };
        within(accepted).await;
        let delivery = within(subscription.next()).await.unwrap();
        within(delivery.settle(Settle::Ack)).await.unwrap();
        broker.close().await;
    }
}
