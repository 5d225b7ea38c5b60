use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Config, Error};
use service::Shutdown;
use service::metrics::Metrics;

use super::fixture::{Shop, config};
use super::flaky::{FlakyBroker, Mood};

/// Runs a relay beside `work`, then stops it softly.
async fn with_relay(shop: &Shop, broker: &Arc<FlakyBroker>, work: impl Future<Output = ()>) {
    let shutdown = Shutdown::new();
    let relay = shop.relay(Arc::<FlakyBroker>::clone(broker), config(), shutdown.clone());
    let work = async {
        work.await;
        shutdown.request();
    };
    tokio::join!(relay, work).0.unwrap();
}

async fn until_confirmed(broker: &FlakyBroker, wanted: &BTreeSet<String>) {
    let all = || async { wanted.iter().all(|id| broker.confirmed().contains(id)).then_some(()) };
    testkit::wait::until("all messages are confirmed", all).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_between_publish_and_confirm_loses_nothing() {
    let shop = Shop::open().await;
    let ids = shop.fill(20).await;
    let broker = Arc::new(FlakyBroker::new(Mood::Hangs));
    let doomed = shop.relay(Arc::<FlakyBroker>::clone(&broker), config(), Shutdown::new());
    tokio::select! {
        outcome = doomed => panic!("the relay ended: {outcome:?}"),
        // Both loops, each with a batch that was published and not confirmed.
        both = broker.hanging.acquire_many(2) => drop(both.unwrap()),
    }
    assert!(!shop.is_empty().await);
    broker.set(Mood::Confirms);
    with_relay(&shop, &broker, async {
        until_confirmed(&broker, &ids).await;
        shop.until_empty().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_holds_everything_and_loses_nothing() {
    let shop = Shop::open().await;
    let ids = shop.fill(20).await;
    let broker = Arc::new(FlakyBroker::new(Mood::Away));
    with_relay(&shop, &broker, async {
        let more = shop.fill(20).await;
        assert!(broker.confirmed().is_empty());
        broker.set(Mood::Confirms);
        until_confirmed(&broker, &ids.union(&more).cloned().collect()).await;
        shop.until_empty().await;
    })
    .await;
}

/// A gauge of the `PostgreSQL` outbox, by its full name.
fn gauge(metrics: &Metrics, name: &str) -> Option<f64> {
    let series = format!("{name}{{database=\"us\"}} ");
    metrics.text().lines().find_map(|line| line.strip_prefix(series.as_str())?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_the_outbox_grows_and_ages_and_then_it_is_empty_and_young_again() {
    let shop = Shop::open().await;
    let broker = Arc::new(FlakyBroker::new(Mood::Away));
    let (metrics, shutdown) = (Metrics::new(), Shutdown::new());
    let (age, rows) = ("millpond_outbox_oldest_age_seconds", "millpond_outbox_waiting_messages");
    let relay = shop.measured_relay(Arc::<FlakyBroker>::clone(&broker), config(), shutdown.clone(), metrics.clone());
    let work = async {
        let mut ids = shop.fill(20).await;
        let mut last = 0.0;
        for _ in 0..3 {
            ids.extend(shop.fill(20).await);
            let older = || async { gauge(&metrics, age).filter(|age| *age > last) };
            last = testkit::wait::until("the oldest gets older", older).await.unwrap();
        }
        let waiting = || async { gauge(&metrics, rows).filter(|rows| *rows >= 20.0) };
        testkit::wait::until("rows are counted", waiting).await.unwrap();
        assert!(broker.confirmed().is_empty());
        broker.set(Mood::Confirms);
        until_confirmed(&broker, &ids).await;
        shop.until_empty().await;
        testkit::wait::until("the gauges fall", || async {
            (gauge(&metrics, rows)? + gauge(&metrics, age)? <= 0.0).then_some(())
        })
        .await
        .unwrap();
        shutdown.request();
    };
    tokio::join!(relay, work).0.unwrap();
    assert_eq!(broker.confirmed().len(), 2 * 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_confirmed_is_deleted_and_its_neighbours_pass() {
    let shop = Shop::open().await;
    let ids = shop.fill(20).await;
    let refused = BTreeSet::from([ids.first().unwrap().clone(), ids.last().unwrap().clone()]);
    let broker = Arc::new(FlakyBroker::new(Mood::Refuses(refused.clone())));
    with_relay(&shop, &broker, async {
        until_confirmed(&broker, &ids.difference(&refused).cloned().collect()).await;
        assert!(!shop.is_empty().await);
        assert!(!broker.confirmed().iter().any(|id| refused.contains(id)));
        broker.set(Mood::Confirms);
        until_confirmed(&broker, &refused).await;
        shop.until_empty().await;
    })
    .await;
    assert_eq!(broker.confirmed().len(), ids.len(), "what was confirmed is not published again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_delays_its_own_messages_alone() {
    let shop = Shop::open().await;
    let broker = Arc::new(FlakyBroker::new(Mood::Confirms));
    with_relay(&shop, &broker, async {
        for _ in 0..5 {
            let ids = shop.fill(20).await;
            shop.server.cut_connections().await.unwrap();
            until_confirmed(&broker, &ids).await;
        }
        shop.until_empty().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_stop_does_not_wait_for_a_confirm() {
    let shop = Shop::open().await;
    shop.fill(1).await;
    let broker = Arc::new(FlakyBroker::new(Mood::Hangs));
    let shutdown = Shutdown::new();
    let twice = async {
        broker.hanging.acquire_many(2).await.unwrap().forget();
        shutdown.request();
        shutdown.request();
    };
    let relay = shop.relay(Arc::<FlakyBroker>::clone(&broker), config(), shutdown.clone());
    tokio::join!(relay, twice).0.unwrap();
    assert!(!shop.is_empty().await);
}

#[tokio::test]
async fn a_setting_that_can_not_work_ends_the_relay_at_once() {
    let shop = Shop::open().await;
    let broker = Arc::new(FlakyBroker::new(Mood::Confirms));
    let outcome = shop.relay(broker, Config { batch: 0, ..config() }, Shutdown::new()).await;
    assert!(matches!(outcome, Err(Error::Config(message)) if message.contains("relay.batch")));
}
