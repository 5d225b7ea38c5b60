//! One bad message harms no other.

use std::time::Duration;

use worker::Config;

use crate::site::{LADDER, Site, config, once, queue};

#[tokio::test]
async fn a_batch_of_good_messages_is_one_call_and_each_is_acked() {
    let site = Site::new().await;
    let ids: Vec<String> = (0..16).map(|number| format!("m{number:02}")).collect();
    let bodies: Vec<_> = ids.iter().map(|id| (id.as_str(), "good")).collect();
    site.publish(&bodies).await;
    let running = site.work(Config { linger_ms: 2_000, ..config() });
    crate::site::eventually("handling", async || running.stats.snapshot().handled == 16).await;
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(ids.iter().map(String::as_str)));
    assert_eq!((stats.batches, stats.batch_messages, stats.dropped), (1, 16, 0));
    assert_eq!(site.ready(&queue().name).await, 0);
}

#[tokio::test]
async fn what_can_not_be_read_is_parked_with_its_reason_while_its_neighbours_pass() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "garbage"), ("c", "good"), ("d", "refused"), ("e", "poison"), ("f", "good")])
        .await;
    let running = site.work(config());
    let parked = site.parked(3).await;
    crate::site::eventually("handling", async || running.stats.snapshot().handled == 3).await;
    let stats = running.stop().await;
    assert_eq!(parked["b"], "malformed: expected a thing");
    assert_eq!(parked["d"], "poison: no such region");
    assert_eq!(parked["e"], "poison: 22003");
    assert_eq!(site.ledger.effects(), once(["a", "c", "f"]));
    assert_eq!((stats.parked, stats.malformed, stats.retried, stats.dropped), (3, 1, 0, 0));
}

#[tokio::test]
async fn a_message_that_panics_spends_attempts_until_it_is_parked_and_its_neighbours_pass_the_first_time() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "panics"), ("c", "good"), ("d", "panics in decode")]).await;
    let running = site.work(Config { park_after_attempts: 3, ..config() });
    let parked = site.parked(2).await;
    let stats = running.stop().await;
    assert_eq!(parked["b"], "failed 3 times, at last panicked: attempt to divide by zero");
    assert_eq!(parked["d"], "failed 3 times, at last panicked: while decoding: slice out of range");
    assert_eq!(site.ledger.effects(), once(["a", "c"]));
    assert_eq!((stats.handled, stats.retried, stats.parked), (2, 4, 2));
    assert!(!site.ledger.calls().iter().flatten().any(|(id, attempt)| id.as_str() != "b" && *attempt > 0));
}

#[tokio::test]
async fn a_message_that_hangs_is_found_and_its_neighbours_pass() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "good"), ("c", "hangs"), ("d", "good")]).await;
    let running = site.work(Config { handle_timeout_ms: 60, park_after_attempts: 2, ..config() });
    let parked = site.parked(1).await;
    let stats = running.stop().await;
    assert!(parked["c"].contains("not handled within 60 ms"), "{parked:?}");
    assert_eq!(site.ledger.effects(), once(["a", "b", "d"]));
    assert_eq!((stats.infrastructure, site.breaker.opened()), (0, 0), "the ledger answers: it is the message");
    // 4, 2, 1 in the first round, 1 in the second.
    assert_eq!(stats.hangs, 4);
}

#[tokio::test]
async fn a_lock_is_retried_within_the_batch_and_spends_no_attempt_of_its_neighbours() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "locked once"), ("c", "good")]).await;
    let running = site.work(Config { contention_backoff_max_ms: 2, ..config() });
    crate::site::eventually("handling", async || running.stats.snapshot().handled == 3).await;
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(["a", "b", "c"]));
    assert_eq!((stats.retried, stats.parked, stats.infrastructure), (0, 0, 0));
    assert!(stats.contentions > 5, "the batch was tried again before it was split: {stats:?}");
}

#[tokio::test]
async fn a_type_that_this_build_does_not_know_waits_on_the_last_rung_and_is_never_parked() {
    let site = Site::new().await;
    site.publish(&[("a", "good"), ("b", "newer")]).await;
    let running = site.work(Config { park_after_attempts: 1, ..config() });
    crate::site::eventually("settling", async || {
        let stats = running.stats.snapshot();
        (stats.handled, stats.retried) == (1, 1)
    })
    .await;
    let stats = running.stop().await;
    assert_eq!((stats.unknown, stats.parked), (1, 0));
    assert_eq!(LADDER[2], Duration::from_mins(10));
    assert_eq!(site.ready(&queue().name).await, 0, "it is not back, though the lower rungs are milliseconds");
}
