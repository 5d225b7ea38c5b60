//! A stop loses nothing, soft or hard.

use broker::Broker as _;
use worker::{Config, Error};

use crate::site::{Site, config, eventually, once, queue};

#[tokio::test]
async fn a_soft_stop_finishes_the_batch_in_hand_and_leaves_the_rest_in_the_queue() {
    let site = Site::new().await;
    site.ledger.shut();
    site.publish(&[("a", "good"), ("b", "good"), ("c", "good"), ("d", "good"), ("e", "good")]).await;
    let running = site.work(Config { batch: 2, prefetch: 4, ..config() });
    eventually("a batch to be in hand", async || !site.ledger.calls().is_empty()).await;
    running.shutdown.soft().cancel();
    site.ledger.unshut();
    let stats = running.stopped().await;
    assert_eq!(site.ledger.effects(), once(["a", "b"]));
    assert_eq!((stats.handled, stats.dropped), (2, 0));
    eventually("the rest to be back", async || site.ready(&queue().name).await == 3).await;

    let running = site.work(config());
    eventually("handling", async || running.stats.snapshot().handled == 3).await;
    running.stop().await;
    assert_eq!(site.ledger.effects(), once(["a", "b", "c", "d", "e"]));
}

#[tokio::test]
async fn what_was_gathered_for_a_batch_is_handled_before_a_soft_stop_ends() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "good")]).await;
    let running = site.work(Config { linger_ms: 600_000, ..config() });
    eventually("gathering", async || running.stats.snapshot().taken == 2).await;
    let stats = running.stop().await;
    assert_eq!((stats.handled, stats.requeued), (2, 0));
    assert_eq!(site.ledger.effects(), once(["a", "b"]));
}

#[tokio::test]
async fn a_hard_stop_drops_what_is_in_hand_and_it_comes_again() {
    let site = Site::new().await;
    site.ledger.shut();
    site.publish(&[("a", "good"), ("b", "good"), ("c", "good")]).await;
    let running = site.work(Config { linger_ms: 0, ..config() });
    eventually("a batch to be in hand", async || !site.ledger.calls().is_empty()).await;
    let stats = running.stop_hard().await;
    assert_eq!((stats.handled, site.ledger.effects().len()), (0, 0));
    assert_eq!(stats.dropped, stats.taken);
    eventually("all to be back", async || site.ready(&queue().name).await == 3).await;

    site.ledger.unshut();
    let running = site.work(config());
    eventually("handling", async || running.stats.snapshot().handled == 3).await;
    assert!(running.stop().await.redelivered > 0);
    assert_eq!(site.ledger.effects(), once(["a", "b", "c"]));
}

#[tokio::test]
async fn an_effect_whose_ack_never_happened_comes_again() {
    // The guarantee from its other side: nothing is acked before its call returned.
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "hangs")]).await;
    let running = site.work(Config { handle_timeout_ms: 600_000, ..config() });
    eventually("a batch to be in hand", async || !site.ledger.calls().is_empty()).await;
    running.stop_hard().await;
    eventually("both to be back", async || site.ready(&queue().name).await == 2).await;
}

#[tokio::test]
async fn several_batches_run_at_once_and_no_more_than_allowed() {
    let site = Site::new().await;
    site.ledger.shut();
    site.publish(&["a", "b", "c", "d", "e"].map(|id| (id, "good"))).await;
    let running = site.work(Config { batch: 1, parallel_batches: 3, ..config() });
    eventually("three batches", async || site.ledger.calls().len() == 3).await;
    assert_eq!(running.stats.snapshot().taken, 3, "the fourth is not even taken");
    site.ledger.unshut();
    eventually("handling", async || running.stats.snapshot().handled == 5).await;
    running.stop().await;
    assert_eq!(site.ledger.effects(), once(["a", "b", "c", "d", "e"]));
}

#[tokio::test]
async fn a_broker_that_is_closed_under_a_worker_is_an_error_and_under_a_stopped_one_is_not() {
    let site = Site::new().await;
    let running = site.work(config());
    eventually("consuming", async || site.broker.depths(&[queue().name]).await.unwrap()[0].consumers == 1).await;
    site.broker.close().await;
    assert_eq!(running.ended().await, Err(Error::Ended(queue().name)));
}

#[tokio::test]
async fn a_queue_that_was_never_declared_and_settings_that_can_not_work_are_errors_that_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let broker =
        broker_embedded::Embedded::open(directory.path().join("b"), broker_embedded::Config::default()).await.unwrap();
    let site = Site::of(broker, directory);
    let error = site.work(config()).ended().await.unwrap_err();
    assert!(matches!(error, Error::Subscribe { .. }), "{error}");
    let error = site.work(Config { batch: 0, ..config() }).ended().await.unwrap_err();
    assert_eq!(error.to_string(), "worker.batch is 0: set it to 1 or more");
}
