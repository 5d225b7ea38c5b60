//! A database that is away costs nobody an attempt.

use std::sync::Arc;

use broker::Broker as _;
use worker::Config;

use crate::site::{Site, breaker, config, eventually, once, queue, start};

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

async fn six(site: &Site) {
    site.publish(&IDS.map(|id| (id, "good"))).await;
}

#[tokio::test]
async fn deliveries_are_held_until_the_database_answers_and_no_attempt_is_spent() {
    let site = Site::new().await;
    site.ledger.go_away("connection refused");
    six(&site).await;
    let running = site.work(config());
    eventually("several probes", async || site.ledger.probes() >= 4).await;
    assert!(!site.breaker.is_closed());
    let calls_while_away = site.ledger.calls().len();
    assert_eq!(calls_while_away, 1, "only probes ask it");

    site.ledger.come_back();
    eventually("handling", async || running.stats.snapshot().handled == 6).await;
    let calls = site.ledger.calls();
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(IDS));
    let sizes: Vec<_> = calls[calls_while_away..].iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 2, 3], "recovery begins with one message and doubles");
    assert!(calls.iter().flatten().all(|(_, attempt)| *attempt == 0));
    assert_eq!((stats.taken, stats.retried, stats.parked, stats.requeued, stats.dropped), (6, 0, 0, 0, 0));
}

#[tokio::test]
async fn a_soft_stop_in_an_outage_gives_the_deliveries_back_as_they_were() {
    let site = Site::new().await;
    site.ledger.go_away("connection refused");
    six(&site).await;
    let running = site.work(config());
    eventually("a probe", async || site.ledger.probes() >= 1).await;
    let stats = running.stop().await;
    assert_eq!((stats.requeued, stats.dropped, stats.parked, stats.retried), (stats.taken, 0, 0, 0));
    eventually("all to be back", async || site.ready(&queue().name).await == 6).await;

    site.ledger.come_back();
    let running = site.work(config());
    eventually("handling", async || running.stats.snapshot().handled == 6).await;
    running.stop().await;
    assert_eq!(site.ledger.effects(), once(IDS));
}

/// What no process remembers: each stop makes the broker count a delivery, and each life begins without an outage that it
/// knows of.
#[tokio::test]
async fn an_outage_that_outlasts_many_restarts_parks_nobody() {
    let site = Site::new().await;
    site.ledger.go_away("connection refused");
    six(&site).await;
    let life = || start(site.broker.clone(), &site.ledger, &breaker(), config());
    for _ in 0..9 {
        let (running, probes) = (life(), site.ledger.probes());
        eventually("a probe", async || site.ledger.probes() > probes && running.stats.snapshot().taken == 6).await;
        let stats = running.stop().await;
        // One that was given back while the subscription still stood may have come and gone once more.
        assert_eq!((stats.requeued, stats.dropped, stats.parked, stats.retried), (stats.taken, 0, 0, 0));
    }

    site.ledger.come_back();
    let running = life();
    eventually("the end of all six", async || {
        let stats = running.stats.snapshot();
        stats.handled + stats.parked == 6
    })
    .await;
    let stats = running.stop().await;
    assert_eq!((stats.handled, stats.parked), (6, 0), "an outage makes nobody a crash");
    assert_eq!(site.ledger.effects(), once(IDS));
}

#[tokio::test]
async fn a_long_outage_gives_the_queue_its_messages_back_and_drops_the_subscription() {
    let site = Site::new().await;
    site.ledger.go_away("disk full");
    six(&site).await;
    let running = site.work(Config { hold_ms: 50, batch: 4, ..config() });
    eventually("letting go", async || {
        let depth = site.broker.depths(&[queue().name]).await.unwrap().remove(0);
        (depth.ready, depth.consumers) == (6, 0) && running.stats.snapshot().requeued > 0
    })
    .await;
    let probes = site.ledger.probes();
    eventually("more probes", async || site.ledger.probes() > probes + 2).await;
    assert_eq!(site.ready(&queue().name).await, 6, "nothing is taken while it is away");

    site.ledger.come_back();
    eventually("handling", async || running.stats.snapshot().handled == 6).await;
    let stats = running.stop().await;
    assert_eq!(site.ledger.effects(), once(IDS));
    assert_eq!((stats.apart, stats.parked, stats.retried), (0, 0, 0), "an outage makes nobody a suspect");
}

#[tokio::test]
async fn an_outage_that_no_probe_notices_parks_nothing_however_long_it_lasts() {
    let site = Site::new().await;
    site.ledger.refuse_writes("53100: disk full");
    six(&site).await;
    let running = site.work(Config { hold_ms: 30, batch: 2, linger_ms: 0, ..config() });
    // Each cycle hands all six out, though only two are tried.
    eventually("twelve cycles", async || running.stats.snapshot().requeued >= 12 * 6).await;
    // On a slow machine one that the worker has not looked at yet goes back uncounted, and may be handled alone: harmless.
    let stats = running.stats.snapshot();
    assert_eq!((stats.parked, stats.retried), (0, 0), "an outage is nobody's fault");

    site.ledger.come_back();
    eventually("handling", async || running.stats.snapshot().handled == 6).await;
    let stats = running.stop().await;
    assert_eq!((stats.parked, stats.retried, stats.dropped), (0, 0, 0));
    assert_eq!(site.ledger.effects(), once(IDS));
    assert!(site.ledger.calls().iter().flatten().all(|(_, attempt)| *attempt == 0));
}

#[tokio::test]
async fn two_workers_on_one_database_probe_it_as_one() {
    let site = Site::new().await;
    let other = crate::site::Ledger::default();
    site.ledger.go_away("connection refused");
    other.go_away("connection refused");
    let other = Arc::new(other);
    six(&site).await;
    let one = site.work(Config { prefetch: 4, batch: 3, ..config() });
    let two = start(site.broker.clone(), &other, &site.breaker, Config { prefetch: 4, batch: 3, ..config() });
    eventually("both to hold deliveries", async || {
        one.stats.snapshot().taken > 0 && two.stats.snapshot().taken > 0 && site.ledger.probes() + other.probes() > 3
    })
    .await;
    assert!(one.stats.snapshot().batches + two.stats.snapshot().batches <= 2, "each has asked at most once");
    site.ledger.come_back();
    other.come_back();
    eventually("handling", async || one.stats.snapshot().handled + two.stats.snapshot().handled == 6).await;
    assert_eq!(one.stop().await.requeued + two.stop().await.requeued, 0);
}
