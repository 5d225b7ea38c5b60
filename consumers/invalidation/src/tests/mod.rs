//! Over both caches; the whole role; all the way to the readers of three processes and of Varnish.

mod role;
mod whole;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use broker::{Publish, layout};
use cache::{Cache, Generation, Tag};
use events::{Band, Contract, Envelope, ProductChanged, StockChanged};
use futures::future::join_all;
use model::{RegionName, Sku, SystemClock};
use service::metrics::Metrics;
use testkit::redis::{PrivateRedis, key_prefix};
use testkit::wait::until;
use worker::{BatchError, Handled, Handler as _, Item, Verdict};

use crate::Change;
use crate::coalesce::{Coalescer, Herald};
use crate::handler::Invalidation;

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

/// Keeps what it is told.
#[derive(Default)]
struct Ear {
    purged: Mutex<Vec<Tag>>,
    held_up: Mutex<Vec<Tag>>,
}

impl Herald for Ear {
    fn purged(&self, tags: &[Tag]) {
        self.purged.lock().unwrap().extend_from_slice(tags);
    }

    fn held_up(&self, tags: &[Tag]) {
        self.held_up.lock().unwrap().extend_from_slice(tags);
    }
}

/// A handler and whoever does what it asks for.
struct Desk {
    handler: Invalidation,
    coalescer: Arc<Coalescer>,
    ear: Ear,
}

impl Desk {
    fn new(cache: &Arc<Cache>, every: Duration) -> Self {
        let coalescer = Arc::new(Coalescer::new(Arc::clone(cache), every, &Metrics::new()));
        let handler = Invalidation::new(Arc::clone(cache), Arc::clone(&coalescer));
        Self { handler, coalescer, ear: Ear::default() }
    }

    async fn handle(&self, batch: &[Item<Change>]) -> Result<Handled, BatchError> {
        tokio::select! {
            handled = self.handler.handle(batch) => handled,
            never = self.coalescer.run(&self.ear) => match never {},
        }
    }
}

/// Which tags a batch purges: product, stock, collections a, b, c, catalogue.
async fn purged(cache: &Arc<Cache>, changes: impl IntoIterator<Item = Change>) -> [bool; 6] {
    let collection = |name| Tag::collection(&region(), name);
    let (product, stock) = (Tag::product(&region(), &mug()), Tag::stock(&region(), &mug()));
    let tags = [product, stock, collection("a"), collection("b"), collection("c"), Tag::catalogue(&region())];
    let mut before = Vec::new();
    for tag in &tags {
        before.push(cache.generation(tag).await);
    }
    let batch = items(changes);
    let desk = Desk::new(cache, Duration::ZERO);
    assert_eq!(desk.handle(&batch).await, Ok(vec![Verdict::Done; batch.len()].into()));
    let mut purged = [false; 6];
    for (i, tag) in tags.iter().enumerate() {
        purged[i] = cache.generation(tag).await != before[i];
        assert_eq!(purged[i], desk.ear.purged.lock().unwrap().contains(tag), "{tag} is told of as it is purged");
    }
    purged
}

#[tokio::test]
async fn a_change_purges_its_tags_once_and_an_older_one_none() {
    for cache in both().await {
        let change = |version| [Change::Product(product(version, &["a"]))];
        assert_eq!(purged(&cache, change(3)).await, [true, false, true, false, false, true]);
        assert_eq!(purged(&cache, change(3)).await, [false; 6], "a redelivery");
        assert_eq!(purged(&cache, change(2)).await, [false; 6], "an older version");
        assert_eq!(purged(&cache, change(4)).await, [true, false, true, false, false, true]);
    }
}

#[tokio::test]
async fn stock_and_product_count_their_versions_apart() {
    for cache in both().await {
        purged(&cache, [Change::Product(product(9, &[]))]).await;
        assert_eq!(purged(&cache, [Change::Stock(stock(1))]).await, [false, true, false, false, false, false]);
    }
}

#[tokio::test]
async fn an_overtaken_change_still_purges_the_collection_that_it_alone_names() {
    for cache in both().await {
        purged(&cache, [Change::Product(product(6, &["b", "c"]))]).await;
        let overtaken = purged(&cache, [Change::Product(product(5, &["a", "b"]))]).await;
        assert_eq!(overtaken, [false, false, true, false, false, false]);
    }
}

#[tokio::test]
async fn without_redis_a_batch_is_held_and_its_purge_is_done_when_redis_is_back() {
    let mut server = PrivateRedis::start().await.unwrap();
    let cache = Arc::new(Cache::open(&patient(server.url())).await.unwrap());
    let desk = Desk::new(&cache, Duration::from_mins(1));
    server.kill().await.unwrap();
    let batch = items([Change::Stock(stock(1))]);
    for _ in 0..2 {
        assert!(matches!(desk.handle(&batch).await, Err(BatchError::Infrastructure(_))));
    }
    assert!(desk.handler.probe().await.is_err());
    let tag = Tag::stock(&region(), &mug());
    assert_eq!(*desk.ear.held_up.lock().unwrap(), std::slice::from_ref(&tag), "told once, as nobody can ask Redis");
    server.bring_back().await.unwrap();
    until("the probe succeeds", || async { desk.handler.probe().await.ok() }).await.unwrap();
    desk.handle(&batch).await.unwrap();
    assert_eq!(*desk.ear.purged.lock().unwrap(), [tag], "at once, and not a minute later");
}

#[tokio::test]
async fn a_purge_that_was_done_without_an_answer_is_told_of_when_it_is_tried_again() {
    let mut server = PrivateRedis::start().await.unwrap();
    let cache = Arc::new(Cache::open(&patient(server.url())).await.unwrap());
    let desk = Desk::new(&cache, Duration::ZERO);
    let batch = items([Change::Stock(stock(1))]);
    server.kill().await.unwrap();
    assert!(desk.handle(&batch).await.is_err());
    server.bring_back().await.unwrap();
    until("the probe succeeds", || async { desk.handler.probe().await.ok() }).await.unwrap();
    // As if Redis had done it before it died.
    assert_eq!(purged(&cache, [Change::Stock(stock(1))]).await, [false, true, false, false, false, false]);
    desk.handle(&batch).await.unwrap();
    assert_eq!(*desk.ear.purged.lock().unwrap(), [Tag::stock(&region(), &mug())]);
}

#[tokio::test]
async fn a_purge_of_a_process_that_died_before_it_told_of_it_is_told_of_by_whoever_gets_its_message() {
    for cache in both().await {
        assert_eq!(purged(&cache, [Change::Stock(stock(1))]).await, [false, true, false, false, false, false]);
        let desk = Desk::new(&cache, Duration::ZERO);
        let mut batch = items([Change::Stock(stock(1))]);
        desk.handle(&batch).await.unwrap();
        assert!(desk.ear.purged.lock().unwrap().is_empty(), "the same again is no news");
        batch[0].redelivered = true;
        desk.handle(&batch).await.unwrap();
        assert_eq!(*desk.ear.purged.lock().unwrap(), [Tag::stock(&region(), &mug())]);
    }
}

/// The generations that a tag has had, looked at all the time.
async fn generations(cache: &Cache, tag: &Tag, seen: &Mutex<Vec<Generation>>) {
    loop {
        let now = cache.generation(tag).await;
        {
            let mut seen = seen.lock().unwrap();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_import_purges_the_catalogue_once_a_second_and_each_product_before_it_is_acked() {
    for cache in both().await {
        let every = Duration::from_millis(500);
        let desk = Desk::new(&cache, every);
        let seen = Mutex::new(Vec::new());
        let begin = Instant::now();
        let imported = async {
            let batches = (0..20).map(async |n: u32| {
                tokio::time::sleep(every / 20 * n).await;
                let skus = (0..50).map(|i| format!("SKU-{n}-{i}").parse::<Sku>().unwrap());
                let changes = skus.map(|sku| Change::Product(ProductChanged { sku, ..product(1, &["a"]) }));
                desk.handler.handle(&items(changes)).await.unwrap();
            });
            join_all(batches).await;
            begin.elapsed()
        };
        let catalogue = Tag::catalogue(&region());
        let took = tokio::select! {
            took = imported => took,
            never = desk.coalescer.run(&desk.ear) => match never {},
            () = generations(&cache, &catalogue, &seen) => unreachable!(),
        };
        // The first is there before anything is purged.
        let bumps = seen.into_inner().unwrap().len() - 1;
        let allowed = took.as_millis() / every.as_millis() + 1;
        assert!((1..=allowed).contains(&(bumps as u128)), "{bumps} purges in {took:?} over {cache:?}");
        let told = desk.ear.purged.into_inner().unwrap();
        assert!(told.iter().filter(|tag| **tag == catalogue).count() as u128 <= allowed);
        assert_eq!(told.iter().filter(|tag| tag.as_str().starts_with("product:")).count(), 1_000);
    }
}

fn publish<P: Contract>(change: P) -> Publish {
    let message = Envelope::new(&SystemClock, "test", change).to_message();
    Publish { exchange: layout::facts_exchange(), routing_key: P::KIND.to_owned(), message }
}
