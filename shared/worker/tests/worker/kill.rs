//! A message that takes the whole process down. The process is real: this very test, run again as a child.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use events::DecodeError;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Message, MessageId};
use tokio::process::Command;
use worker::{BatchError, Config, Handled, Handler, Item, Verdict, Witness, Worker, WorkerDeps};

use crate::site::{self, Site, breaker, config, eventually, once, publish, queue, run};

/// Set in the child alone: the directory of the queue.
const CHILD: &str = "MILLPOND_TEST_WORKER_CHILD";
const NAME: &str = "kill::a_message_that_kills_the_process_ends_up_alone_then_parked_and_its_neighbours_pass";

/// Appends each effect to a file in one write, and aborts the process when it meets a killer.
struct Fragile {
    effects: PathBuf,
}

impl Handler for Fragile {
    type Event = String;

    fn decode(&self, message: &Message) -> Result<String, DecodeError> {
        String::from_utf8(message.body.to_vec()).map_err(|error| DecodeError::Malformed(error.to_string()))
    }

    async fn handle(&self, batch: &[Item<String>]) -> Result<Handled, BatchError> {
        if batch.iter().any(|item| item.event == "kills") {
            std::process::abort();
        }
        let lines: String = batch.iter().flat_map(|item| [item.id.as_str(), "\n"]).collect();
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&self.effects).unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        Ok(vec![Verdict::Done; batch.len()].into())
    }

    async fn probe(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Keeps a file for each message that runs alone, which holds how often that began.
struct Files {
    directory: PathBuf,
}

impl Witness for Files {
    fn begins<'a>(&'a self, _: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<u32, String>> {
        let file = self.directory.join(format!("alone-{message}"));
        let begun = 1 + fs::read_to_string(&file).map_or(0, |count| count.parse().unwrap());
        fs::write(file, u32::to_string(&begun)).unwrap();
        async move { Ok(begun) }.boxed()
    }

    fn ended<'a>(&'a self, _: &'a str, message: &'a MessageId) -> BoxFuture<'a, Result<(), String>> {
        fs::remove_file(self.directory.join(format!("alone-{message}"))).unwrap();
        async { Ok(()) }.boxed()
    }
}

fn effects(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("effects")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    lines.sort();
    lines
}

/// Works until everything is handled or parked.
async fn child(directory: &Path) {
    let broker = site::open(directory).await;
    let handler = Arc::new(Fragile { effects: directory.join("effects") });
    let config = Config { alone_after: 2, park_after_crashes: 2, ..config() };
    let witness = Arc::new(Files { directory: directory.to_owned() });
    let deps = WorkerDeps { broker: broker.clone(), queue: queue(), handler, breaker: breaker(), seat: None, witness };
    let running = run(Worker::new(deps, config));
    eventually("every message to be settled", async || {
        let depth = broker::Broker::depths(&*broker, &[queue().name.parked()]).await.unwrap().remove(0);
        depth.ready >= 2 && effects(directory).iter().any(|id| id == "z")
    })
    .await;
    running.stop().await;
    broker::Broker::close(&*broker).await;
}

#[tokio::test]
async fn a_message_that_kills_the_process_ends_up_alone_then_parked_and_its_neighbours_pass() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return child(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = site::open(directory.path()).await;
    publish(&*broker, &[("a", "good"), ("k1", "kills"), ("b", "good"), ("k2", "kills"), ("z", "good")]).await;
    broker::Broker::close(&*broker).await;

    let mut crashes = 0;
    while !run_child(directory.path()).await {
        crashes += 1;
        assert!(crashes < 20, "the process dies again and again");
    }
    let mut handled = effects(directory.path());
    handled.dedup();
    let parked = Site::of(site::open(directory.path()).await, directory).parked(2).await;
    assert_eq!(parked.keys().collect::<Vec<_>>(), ["k1", "k2"]);
    assert!(parked.values().all(|reason| reason.starts_with("crashing: redelivered")), "{parked:?}");
    // Two together, two in company, and two in the trials of each killer.
    assert_eq!(crashes, 8);
    assert_eq!(handled, once(["a", "b", "z"]).into_iter().map(|(id, _)| id).collect::<Vec<_>>());
}

/// Whether the child ended by itself.
async fn run_child(directory: &Path) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    // An abort has no exit code; a failed assertion has one.
    assert!(status.success() || status.code().is_none(), "the child failed: {status}");
    status.success()
}
