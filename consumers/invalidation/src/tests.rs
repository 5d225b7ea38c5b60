//! Over both caches, and the whole role over the embedded broker.

use std::sync::Arc;

use broker::{Broker as _, Publish, layout};
use broker_embedded::Embedded;
use cache::{Cache, Tag};
use events::{Band, Contract, Envelope, ProductChanged, StockChanged};
use model::{RegionName, Sku, SystemClock};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use testkit::redis::{PrivateRedis, key_prefix};
use testkit::wait::until;
use worker::{BatchError, Handler as _, Item, Pauses, Verdict};

use crate::{Change, Config, Deps, Invalidation, run};

/// A busy machine is not what these tests are about.
fn patient(url: String) -> cache::Config {
    cache::Config {
        url: url.into(),
        key_prefix: key_prefix(),
        command_timeout_ms: 5_000,
        connect_timeout_ms: 5_000,
        ..cache::Config::default()
    }
}

async fn both() -> [Arc<Cache>; 2] {
    let memory = Cache::open(&cache::Config::default()).await.unwrap();
    [Arc::new(memory), Arc::new(Cache::open(&patient(testkit::redis::url())).await.unwrap())]
}

fn region() -> RegionName {
    "eu".parse().unwrap()
}

fn mug() -> Sku {
    "MUG".parse().unwrap()
}

fn product(version: i64, collections: &[&str]) -> ProductChanged {
    let collections = collections.iter().map(|name| (*name).to_owned()).collect();
    ProductChanged { region: region(), sku: mug(), version, collections }
}

fn stock(version: i64) -> StockChanged {
    StockChanged { region: region(), sku: mug(), band: Band::Low, version }
}

fn items(changes: impl IntoIterator<Item = Change>) -> Vec<Item<Change>> {
    let item = |event| Item { id: "id".parse().unwrap(), attempt: 0, redelivered: false, event };
    changes.into_iter().map(item).collect()
}

/// Which tags a batch purges: product, stock, collections a, b, c.
async fn purged(cache: &Arc<Cache>, changes: impl IntoIterator<Item = Change>) -> [bool; 5] {
    let collection = |name| Tag::collection(&region(), name);
    let product = Tag::product(&region(), &mug());
    let tags = [product, Tag::stock(&region(), &mug()), collection("a"), collection("b"), collection("c")];
    let mut before = Vec::new();
    for tag in &tags {
        before.push(cache.generation(tag).await);
    }
    let batch = items(changes);
    let verdicts = Invalidation::new(Arc::clone(cache)).handle(&batch).await;
    assert_eq!(verdicts, Ok(vec![Verdict::Done; batch.len()].into()));
    let mut purged = [false; 5];
    for (i, tag) in tags.iter().enumerate() {
        purged[i] = cache.generation(tag).await != before[i];
    }
    purged
}

#[tokio::test]
async fn a_change_purges_its_tags_once_and_an_older_one_none() {
    for cache in both().await {
        let change = |version| [Change::Product(product(version, &["a"]))];
        assert_eq!(purged(&cache, change(3)).await, [true, false, true, false, false]);
        assert_eq!(purged(&cache, change(3)).await, [false; 5], "a redelivery");
        assert_eq!(purged(&cache, change(2)).await, [false; 5], "an older version");
        assert_eq!(purged(&cache, change(4)).await, [true, false, true, false, false]);
    }
}

#[tokio::test]
async fn stock_and_product_count_their_versions_apart() {
    for cache in both().await {
        purged(&cache, [Change::Product(product(9, &[]))]).await;
        assert_eq!(purged(&cache, [Change::Stock(stock(1))]).await, [false, true, false, false, false]);
    }
}

#[tokio::test]
async fn an_overtaken_change_still_purges_the_collection_that_it_alone_names() {
    for cache in both().await {
        purged(&cache, [Change::Product(product(6, &["b", "c"]))]).await;
        let overtaken = purged(&cache, [Change::Product(product(5, &["a", "b"]))]).await;
        assert_eq!(overtaken, [false, false, true, false, false]);
    }
}

#[tokio::test]
async fn without_redis_a_batch_is_held_and_its_purge_is_done_when_redis_is_back() {
    let mut server = PrivateRedis::start().await.unwrap();
    let cache = Arc::new(Cache::open(&patient(server.url())).await.unwrap());
    let handler = Invalidation::new(Arc::clone(&cache));
    server.kill().await.unwrap();
    let batch = items([Change::Stock(stock(1))]);
    assert!(matches!(handler.handle(&batch).await, Err(BatchError::Infrastructure(_))));
    assert!(handler.probe().await.is_err());
    server.bring_back().await.unwrap();
    until("the probe succeeds", || async { handler.probe().await.ok() }).await.unwrap();
    assert_eq!(purged(&cache, [Change::Stock(stock(1))]).await, [false, true, false, false, false]);
}

fn publish<P: Contract>(change: P) -> Publish {
    let message = Envelope::new(&SystemClock, "test", change).to_message();
    Publish { exchange: layout::facts_exchange(), routing_key: P::KIND.to_owned(), message }
}

#[tokio::test]
async fn the_role_purges_what_both_kinds_of_events_name() {
    for cache in both().await {
        let folder = tempfile::tempdir().unwrap();
        let config = broker_embedded::Config::default();
        let broker = Embedded::open(folder.path().join("queue"), config).await.unwrap();
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let deps = Deps {
            config: Config::default(),
            orders: broker.clone(),
            cache: Arc::clone(&cache),
            pauses: Pauses::none(),
            readiness: readiness.clone(),
            metrics: Metrics::new(),
        };
        let role = Tasks::new().spawn("invalidation", run(deps, shutdown.clone()));
        until("the role is ready", || async { readiness.report().ready.then_some(()) }).await.unwrap();

        let tags = [Tag::product(&region(), &mug()), Tag::stock(&region(), &mug())];
        let before = [cache.generation(&tags[0]).await, cache.generation(&tags[1]).await];
        let batch = vec![publish(product(1, &[])), publish(stock(1))];
        assert!(broker.publish(batch).await.iter().all(Result::is_ok));
        until("both tags are purged", || async {
            let after = [cache.generation(&tags[0]).await, cache.generation(&tags[1]).await];
            (after[0] != before[0] && after[1] != before[1]).then_some(())
        })
        .await
        .unwrap();
        shutdown.request();
        role.await.unwrap().unwrap();
        broker.close().await;
    }
}
