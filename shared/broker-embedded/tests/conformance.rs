//! The suite that both brokers pass, on a file in a directory of its own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

use std::sync::Arc;

use broker::Broker;
use broker::conformance::Harness;
use broker_embedded::{Config, Embedded};
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::Mutex;

struct File {
    directory: TempDir,
    /// One process has the file open once; another connection is another reference.
    open: Mutex<Option<Arc<Embedded>>>,
}

impl File {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), open: Mutex::default() }
    }
}

impl Harness for File {
    fn connect(&self) -> BoxFuture<'_, Arc<dyn Broker>> {
        Box::pin(async {
            let mut open = self.open.lock().await;
            let broker = match open.take() {
                Some(broker) => broker,
                None => Embedded::open(self.directory.path().join("broker"), Config::default()).await.unwrap(),
            };
            *open = Some(broker.clone());
            broker as Arc<dyn Broker>
        })
    }

    fn kill(&self, broker: Arc<dyn Broker>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A real SIGKILL is in tests/kill.rs.
            broker.close().await;
            self.open.lock().await.take();
        })
    }
}

broker::conformance_tests!(File::new());
