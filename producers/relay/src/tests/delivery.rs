use std::collections::BTreeSet;
use std::sync::Arc;

use broker::{Broker, Settle, layout};
use broker_embedded::Embedded;
use service::Shutdown;
use store::outbox;

use super::fixture::{Shop, config, outgoing};

async fn broker(dir: &tempfile::TempDir) -> Arc<dyn Broker> {
    Embedded::open(dir.path().join("broker.db"), broker_embedded::Config::default()).await.unwrap()
}

/// Takes messages of the invalidation queue until all of `expected` came.
async fn receive(broker: &dyn Broker, expected: &BTreeSet<String>) -> Vec<String> {
    let mut subscription = broker.subscribe(&layout::invalidation_queue(), 100).await.unwrap();
    let mut received = Vec::new();
    let mut missing = expected.clone();
    let all = async {
        while !missing.is_empty() {
            let delivery = subscription.next().await.unwrap();
            let id = delivery.message().id.as_str().to_owned();
            delivery.settle(Settle::Ack).await.unwrap();
            missing.remove(&id);
            received.push(id);
        }
    };
    tokio::time::timeout(testkit::wait::DEADLINE, all).await.unwrap();
    received
}

#[tokio::test(flavor = "multi_thread")]
async fn every_committed_message_of_every_database_is_delivered_and_deleted() {
    let (shop, dir) = (Shop::open().await, tempfile::tempdir().unwrap());
    let broker = broker(&dir).await;
    let (before, shutdown) = (shop.fill(50).await, Shutdown::new());
    let work = async {
        let during = shop.fill(20).await;
        let received = receive(&*broker, &before.union(&during).cloned().collect()).await;
        assert_eq!(received.len(), 140, "without a failure each comes once");
        shop.until_empty().await;
        shutdown.request();
    };
    let (outcome, ()) = tokio::join!(shop.relay(Arc::clone(&broker), config(), shutdown.clone()), work);
    outcome.unwrap();
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_relays_share_the_work_without_a_repeat() {
    let (shop, dir) = (Shop::open().await, tempfile::tempdir().unwrap());
    let broker = broker(&dir).await;
    let (ids, shutdown) = (shop.fill(200).await, Shutdown::new());
    let relays = (0..3).map(|_| shop.relay(Arc::clone(&broker), config(), shutdown.clone()));
    let work = async {
        let received = receive(&*broker, &ids).await;
        shop.until_empty().await;
        shutdown.request();
        received
    };
    let (outcomes, received) = tokio::join!(futures::future::join_all(relays), work);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(received.len(), ids.len());
    broker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_commits_after_later_ones_is_delivered() {
    let (shop, dir) = (Shop::open().await, tempfile::tempdir().unwrap());
    let broker = broker(&dir).await;
    let shutdown = Shutdown::new();
    let postgres = &shop.databases.databases()[1];
    let work = async {
        let late = outgoing();
        let tx = postgres.begin().await.unwrap();
        outbox::insert(postgres, &tx, std::slice::from_ref(&late)).await.unwrap();
        let later = shop.fill(10).await;
        receive(&*broker, &later).await;
        tx.commit().await.unwrap();
        receive(&*broker, &BTreeSet::from([late.message.id.as_str().to_owned()])).await;
        shop.until_empty().await;
        shutdown.request();
    };
    let (outcome, ()) = tokio::join!(shop.relay(Arc::clone(&broker), config(), shutdown.clone()), work);
    outcome.unwrap();
    broker.close().await;
}
