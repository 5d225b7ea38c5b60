//! An operator pauses the queue.

use broker::Broker as _;
use broker::announce::HEARTBEATS;
use flow::Beat;
use worker::{Config, Pauses};

use crate::site::{DEADLINE, Site, config, eventually, once, queue};

async fn consumers(site: &Site) -> u32 {
    site.broker.depths(&[queue().name]).await.unwrap()[0].consumers
}

#[tokio::test]
async fn a_pause_finishes_the_batch_in_hand_and_leaves_nothing_unsettled_until_it_is_lifted() {
    let site = Site::new().await;
    let pauses = Pauses::none();
    site.ledger.shut();
    site.publish(&["a", "b", "c", "d", "e"].map(|id| (id, "good"))).await;
    let running = site.work_paused_by(&pauses, Config { batch: 2, prefetch: 4, ..config() });
    eventually("a batch to be in hand", async || !site.ledger.calls().is_empty()).await;
    pauses.tell(&queue().name, true);
    site.ledger.unshut();
    eventually("the rest to be back", async || site.ready(&queue().name).await == 3).await;
    eventually("nobody to consume", async || consumers(&site).await == 0).await;
    assert_eq!(site.ledger.effects(), once(["a", "b"]));
    assert_eq!(running.stats.snapshot().in_hand(), 0);

    site.publish(&[("f", "good")]).await;
    pauses.tell(&queue().name, false);
    eventually("handling", async || running.stats.snapshot().handled == 6).await;
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(["a", "b", "c", "d", "e", "f"]));
    assert_eq!((stats.retried, stats.parked, stats.apart), (0, 0, 0), "a pause spends no attempt");
    assert!(site.ledger.calls().iter().flatten().all(|(_, attempt)| *attempt == 0));
}

#[tokio::test]
async fn what_waits_for_a_database_goes_back_when_its_queue_is_paused() {
    let site = Site::new().await;
    let pauses = Pauses::none();
    site.ledger.go_away("connection refused");
    site.publish(&[("a", "good"), ("b", "good")]).await;
    let running = site.work_paused_by(&pauses, config());
    eventually("the database to be missed", async || site.ledger.probes() > 0).await;
    pauses.tell(&queue().name, true);
    eventually("both to be back", async || site.ready(&queue().name).await == 2).await;
    site.ledger.come_back();
    pauses.tell(&queue().name, false);
    eventually("handling", async || running.stats.snapshot().handled == 2).await;
    let stats = running.stop().await;
    assert_eq!((stats.retried, stats.parked), (0, 0));
    assert_eq!(site.ledger.effects(), once(["a", "b"]));
}

#[tokio::test]
async fn a_worker_takes_nothing_before_it_knows_that_its_queue_is_not_paused_and_tells_of_a_pause() {
    let site = Site::new().await;
    let pauses = Pauses::unknown();
    let mut listener = site.broker.listen(HEARTBEATS);
    site.publish(&[("a", "good")]).await;
    let running = site.work_paused_by(&pauses, Config { heartbeat_ms: 10, ..config() });
    let mut beat = async |wanted: bool| {
        let hearing = async { while Beat::from_bytes(&listener.next().await.unwrap()).unwrap().paused != wanted {} };
        tokio::time::timeout(DEADLINE, hearing).await.expect("the heartbeat comes");
    };
    // Unknown is not paused.
    beat(false).await;
    pauses.tell(&queue().name, true);
    beat(true).await;
    assert_eq!((consumers(&site).await, site.ready(&queue().name).await), (0, 1));
    assert_eq!(running.stats.snapshot().taken, 0);

    pauses.tell(&queue().name, false);
    eventually("handling", async || running.stats.snapshot().handled == 1).await;
    beat(false).await;
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_paused_stops_at_once() {
    let site = Site::new().await;
    let pauses = Pauses::none();
    pauses.tell(&queue().name, true);
    let running = site.work_paused_by(&pauses, config());
    assert_eq!(running.stop().await.taken, 0);
}
