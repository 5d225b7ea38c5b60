//! SIGKILL in the middle of publishing and consuming: a child process does both and says what it knows, the test kills
//! it, opens the file and compares.

#![expect(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use broker::conformance::{DEADLINE, every_confirmed_message_is_there, message};
use broker::{Broker, ExchangeName, Publish, QueueName, QueueSpec, Settle, Topology};
use broker_embedded::{Config, Embedded};
use tokio::task::JoinSet;

/// Tells the child what it is, and which file it works on.
const CHILD: &str = "MILLPOND_KILLED_CHILD_FILE";
const ROUND: &str = "MILLPOND_KILLED_CHILD_ROUND";

fn queue() -> QueueName {
    QueueName::new("killed.v1")
}

async fn open(path: &Path) -> Arc<Embedded> {
    let broker = Embedded::open(path, Config::default()).await.unwrap();
    let exchange = ExchangeName::new("killed.v1");
    broker.declare(&Topology::default().with_queue(&exchange, QueueSpec::new(queue()), ["k"])).await.unwrap();
    broker
}

/// One line per fact, at once: what is buffered dies with the process.
fn say(fact: &str, ids: &[String]) {
    let lines: Vec<String> = ids.iter().map(|id| format!("{fact} {id}\n")).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(lines.concat().as_bytes()).and_then(|()| out.flush()).unwrap();
}

async fn publish_for_ever(broker: Arc<Embedded>, prefix: String) {
    for number in 0.. {
        let ids: Vec<String> = (0..10).map(|member| format!("{prefix}-{number}-{member}")).collect();
        let batch = ids.iter().map(|id| Publish {
            exchange: ExchangeName::new("killed.v1"),
            routing_key: "k".to_owned(),
            message: message(id),
        });
        let outcomes = broker.publish(batch.collect()).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        say("confirmed", &ids);
    }
}

/// Holds each tenth delivery for ever, acks the others.
async fn consume_for_ever(broker: Arc<Embedded>) {
    let mut subscription = broker.subscribe(&queue(), 60_000).await.unwrap();
    let mut held = Vec::new();
    for number in 0_u64.. {
        let delivery = subscription.next().await.unwrap();
        let id = [delivery.message().id.to_string()];
        if number.is_multiple_of(10) {
            say("held", &id);
            held.push(delivery);
        } else {
            say("acked", &id);
            delivery.settle(Settle::Ack).await.unwrap();
        }
    }
}

/// Not a test of its own: the tests below start it in a process that they can kill, and then it never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let round = std::env::var(ROUND).unwrap();
    let broker = open(&path).await;
    let mut tasks = JoinSet::new();
    for publisher in 0..8 {
        tasks.spawn(publish_for_ever(broker.clone(), format!("{round}-{publisher}")));
    }
    if round.starts_with("consume") {
        tasks.spawn(consume_for_ever(broker.clone()));
    }
    tasks.join_next().await.unwrap().unwrap();
}

/// The child's facts up to its death.
#[derive(Default)]
struct Facts {
    confirmed: BTreeSet<String>,
    acked: BTreeSet<String>,
    held: BTreeSet<String>,
}

impl Facts {
    fn read(&mut self, line: &str) {
        // The test harness of the child may print before it on the same line; the last line may be cut off.
        for (fact, ids) in [("confirmed ", &mut self.confirmed), ("acked ", &mut self.acked), ("held ", &mut self.held)]
        {
            if let Some((_, id)) = line.split_once(fact) {
                ids.insert(id.to_owned());
            }
        }
    }
}

fn start(path: &Path, round: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD, path)
        .env(ROUND, round)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

/// Lets a child work until it has said `lines` facts, kills it, and reads what else it had said.
fn work_until_killed(path: &Path, round: &str, lines: usize) -> Facts {
    let (mut child, mut out) = start(path, round);
    let mut facts = Facts::default();
    let mut line = String::new();
    let mut read = 0;
    while out.read_line(&mut line).unwrap() > 0 {
        if let Some(whole) = line.strip_suffix('\n') {
            facts.read(whole);
        }
        line.clear();
        read += 1;
        if read == lines {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it was killed");
    assert!(read >= lines, "it ended by itself after {read} facts");
    facts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_confirmed_message_outlives_a_killed_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker");
    let mut confirmed = BTreeSet::new();
    for round in ["one", "two", "three"] {
        let file = path.clone();
        let facts = tokio::task::spawn_blocking(move || work_until_killed(&file, round, 3_000)).await.unwrap();
        confirmed.extend(facts.confirmed);
    }
    let broker = open(&path).await;
    let came = every_confirmed_message_is_there(&*broker, &queue(), &confirmed).await;
    assert!(came.is_superset(&confirmed));
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_consumer_had_not_acked_comes_back_as_redelivered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker");
    let file = path.clone();
    let facts = tokio::task::spawn_blocking(move || work_until_killed(&file, "consume", 6_000)).await.unwrap();
    assert!(!facts.held.is_empty() && !facts.acked.is_empty());
    let mut expected: BTreeSet<String> = facts.confirmed.difference(&facts.acked).cloned().collect();

    let broker = open(&path).await;
    let mut subscription = broker.subscribe(&queue(), 100).await.unwrap();
    while !expected.is_empty() {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
        let id = delivery.message().id.to_string();
        if facts.held.contains(&id) {
            assert!(delivery.redelivered() && delivery.delivery_count() == 1, "{id} was handed out before");
        }
        expected.remove(&id);
        delivery.settle(Settle::Ack).await.unwrap();
    }
    broker.close().await;
}
