//! The file: who may open it, what it may hold, what becomes of its space.

#![expect(clippy::unwrap_used, reason = "in a test a panic is how a failure is told")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::conformance::{DEADLINE, message, messages};
use broker::{
    Broker, BrokerError, BrokerState, ExchangeName, Publish, PublishError, QueueName, QueueSpec, Settle, Topology,
};
use broker_embedded::{Config, Embedded};
use model::{Clock as _, ManualClock, Message, SystemClock};
use tempfile::TempDir;

fn queue() -> QueueName {
    QueueName::new("q.v1")
}

fn topology() -> Topology {
    let spec = QueueSpec { name: queue(), retry_delays: vec![Duration::from_hours(1)] };
    Topology::default().with_queue(&ExchangeName::new("x"), spec, ["k"])
}

fn to_queue(messages: Vec<Message>) -> Vec<Publish> {
    let publish = |message| Publish { exchange: ExchangeName::new("x"), routing_key: "k".to_owned(), message };
    messages.into_iter().map(publish).collect()
}

async fn open(directory: &TempDir, config: Config) -> Arc<Embedded> {
    let broker = Embedded::open(directory.path().join("broker"), config).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    broker
}

async fn refusal(path: &Path) -> String {
    match Embedded::open(path, Config::default()).await {
        Err(BrokerError::Configuration(reason)) => {
            assert!(reason.contains(&path.display().to_string()), "{reason}");
            reason
        }
        Err(other) => panic!("{other} is not about configuration"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

#[tokio::test]
async fn a_file_that_is_open_already_is_refused_and_free_again_after_close() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(&directory, Config::default()).await;
    let second = Embedded::open(directory.path().join("broker"), Config::default()).await;
    assert!(matches!(&second, Err(BrokerError::Held(reason)) if reason.contains("another process holds")));
    broker.close().await;
    open(&directory, Config::default()).await.close().await;
}

#[tokio::test]
async fn a_file_that_is_not_a_brokers_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    std::fs::write(&path, "not a database at all, but long enough to be looked at\n".repeat(100)).unwrap();
    assert!(refusal(&path).await.contains("damaged"));

    let path = directory.path().join("no such directory").join("broker");
    assert!(refusal(&path).await.contains("directory must exist"));

    let path = directory.path().join("other.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x); PRAGMA user_version = 3").unwrap();
    assert!(refusal(&path).await.contains("another program"));
    assert!(Embedded::examine(&path).unwrap_err().to_string().contains("another program"));
}

#[tokio::test]
async fn a_file_of_a_newer_layout_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(&directory, Config::default()).await.close().await;
    let path = directory.path().join("broker");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(refusal(&path).await.contains("layout 99"));
    assert!(Embedded::examine(&path).unwrap_err().to_string().contains("layout 99"));
}

#[tokio::test]
async fn a_look_at_the_file_makes_none_and_is_in_no_brokers_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("50% of #1?");
    assert!(matches!(Embedded::examine(&path), Err(BrokerError::Configuration(_))));
    assert!(!path.exists());

    let broker = Embedded::open(&path, Config::default()).await.unwrap();
    Embedded::examine(&path).unwrap();
    let second = Embedded::open(&path, Config::default()).await;
    assert!(matches!(second, Err(BrokerError::Held(_))), "the look took the lock from its holder");
    broker.declare(&topology()).await.unwrap();
    assert_eq!(broker.publish(to_queue(vec![message("m")])).await, [Ok(())]);
    broker.close().await;

    Embedded::examine(&path).unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files(), 1, "the look left something beside the file");
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(&directory, Config::default()).await;
    broker.publish(to_queue(messages("m", 200))).await;
    broker.close().await;
    let path = directory.path().join("broker");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page, which says what the file is.
    bytes[4_096..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    assert!(refusal(&path).await.contains("restore it from a backup"));
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_again_after_an_ack() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(&directory, Config { max_queue_messages: 3, ..Config::default() }).await;
    let outcomes = broker.publish(to_queue(messages("m", 4))).await;
    assert_eq!(outcomes[..3], [Ok(()), Ok(()), Ok(())]);
    assert!(matches!(&outcomes[3], Err(PublishError::Refused(reason)) if reason.contains("max_queue_messages")));
    assert_eq!(broker.state(), BrokerState::Ready, "one full queue is not the broker's trouble");

    let mut subscription = broker.subscribe(&queue(), 1).await.unwrap();
    subscription.next().await.unwrap().settle(Settle::Ack).await.unwrap();
    assert_eq!(broker.publish(to_queue(vec![message("again")])).await, [Ok(())]);
    broker.close().await;
}

#[tokio::test]
async fn what_is_too_large_too_much_at_once_or_beyond_the_files_size_is_said_for_each_message() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_message_bytes: 10_000, max_in_flight: 40, max_file_bytes: 200_000, ..Config::default() };
    let broker = open(&directory, config).await;
    let mut mixed = messages("m", 3);
    mixed[1].body = vec![0; 10_000].into();
    let outcomes = broker.publish(to_queue(mixed)).await;
    assert!(matches!(outcomes[..], [Ok(()), Err(PublishError::TooLarge(_)), Ok(())]), "{outcomes:?}");

    let outcomes = broker.publish(to_queue(messages("m", 41))).await;
    assert_eq!(outcomes, vec![Err(PublishError::Saturated); 41]);

    let refused = async {
        loop {
            let mut batch = messages("m", 40);
            for message in &mut batch {
                message.body = vec![0; 5_000].into();
            }
            if let Some(Err(error)) = broker.publish(to_queue(batch)).await.pop() {
                return error;
            }
        }
    };
    let error = tokio::time::timeout(DEADLINE, refused).await.unwrap();
    assert!(matches!(&error, PublishError::Refused(reason) if reason.contains("max_file_bytes")), "{error}");
    broker.close().await;
}

#[tokio::test]
async fn a_retry_due_while_the_broker_was_closed_comes_once_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let broker = Embedded::open_with_clock(&path, Config::default(), clock.clone()).await.unwrap();
    broker.declare(&topology()).await.unwrap();
    broker.publish(to_queue(vec![message("m")])).await;
    let mut subscription = broker.subscribe(&queue(), 1).await.unwrap();
    let retry = Settle::Retry { after: Duration::ZERO, reason: "later".to_owned() };
    subscription.next().await.unwrap().settle(retry).await.unwrap();
    broker.close().await;

    clock.advance(chrono::TimeDelta::minutes(59));
    let broker = Embedded::open_with_clock(&path, Config::default(), clock.clone()).await.unwrap();
    broker.publish(to_queue(vec![message("neighbour")])).await;
    let mut subscription = broker.subscribe(&queue(), 1).await.unwrap();
    let neighbour = subscription.next().await.unwrap();
    assert_eq!(neighbour.message().id.as_str(), "neighbour", "the other is not due");
    neighbour.settle(Settle::Ack).await.unwrap();
    broker.close().await;

    clock.advance(chrono::TimeDelta::minutes(2));
    let broker = Embedded::open_with_clock(&path, Config::default(), clock).await.unwrap();
    let mut subscription = broker.subscribe(&queue(), 1).await.unwrap();
    let again = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
    assert_eq!((again.message().id.as_str(), again.message().attempt()), ("m", 1));
    broker.close().await;
}

#[tokio::test]
async fn deliveries_are_counted_across_a_close() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(&directory, Config::default()).await;
    broker.publish(to_queue(messages("m", 2))).await;
    let mut subscription = broker.subscribe(&queue(), 1).await.unwrap();
    for expected in 0..3 {
        let delivery = subscription.next().await.unwrap();
        assert_eq!((delivery.message().id.as_str(), delivery.delivery_count()), ("m-0", expected));
        drop(delivery);
    }
    drop(subscription);
    broker.close().await;

    let broker = open(&directory, Config::default()).await;
    let mut subscription = broker.subscribe(&queue(), 2).await.unwrap();
    let first = subscription.next().await.unwrap();
    assert!(first.delivery_count() >= 3, "three times before, perhaps once more into the dropped subscription");
    let second = subscription.next().await.unwrap();
    assert_eq!((second.delivery_count(), second.redelivered()), (0, false), "it was never handed out");
    broker.close().await;
}

#[tokio::test]
async fn the_space_of_acked_messages_goes_back_to_the_file_system() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open(&directory, Config::default()).await;
    for part in 0..30 {
        let mut batch = messages(&format!("m-{part}"), 100);
        for message in &mut batch {
            message.body = vec![0; 10_000].into();
        }
        assert!(broker.publish(to_queue(batch)).await.iter().all(Result::is_ok));
    }
    let mut subscription = broker.subscribe(&queue(), 200).await.unwrap();
    for _ in 0..3_000 {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next()).await.unwrap().unwrap();
        delivery.settle(Settle::Ack).await.unwrap();
    }
    // Folding the log into the file is part of closing.
    broker.close().await;
    let full = std::fs::metadata(directory.path().join("broker")).unwrap().len();
    assert!(full > 20_000_000, "it held 30 MB, its file has {full}");

    let broker = open(&directory, Config::default()).await;
    let given_back = async {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while std::fs::metadata(directory.path().join("broker")).unwrap().len() > full / 2 {
            looks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, given_back).await.unwrap();
    broker.close().await;
}
