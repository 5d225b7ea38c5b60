//! Over memory and a real Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use testkit::redis::{PrivateRedis, key_prefix};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::second::{Ask, Opened, Second};
use super::served::{html, key, tag};
use crate::{Cache, Config, Encoding, Encodings, Freshness, PageError, Pages, PagesConfig, Rendered};

const BOTH: Encodings = Encodings { gzip: true, brotli: true };

/// A busy machine is not what these tests are about.
fn patient(url: &str) -> Config {
    let (command_timeout_ms, connect_timeout_ms) = (5_000, 5_000);
    Config { url: url.into(), key_prefix: key_prefix(), command_timeout_ms, connect_timeout_ms, ..Config::default() }
}

/// Nothing is late because the machine is.
fn slow() -> PagesConfig {
    PagesConfig {
        wait_ms: 60_000,
        lease_ms: 60_000,
        render_timeout_ms: 60_000,
        turn_wait_ms: 60_000,
        ..PagesConfig::default()
    }
}

async fn replicas(config: &Config, pages: &PagesConfig, count: usize) -> Vec<(Arc<Cache>, Arc<Pages>)> {
    let mut replicas = Vec::new();
    for _ in 0..count {
        let cache = Arc::new(Cache::open(config).await.unwrap());
        replicas.push((Arc::clone(&cache), Pages::new(cache, pages)));
    }
    replicas
}

/// A page that counts its renders, each of which waits for a permit.
#[derive(Clone)]
struct Shelf {
    renders: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Shelf {
    fn new() -> Self {
        Self { renders: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn renders(&self) -> usize {
        self.renders.load(Ordering::SeqCst)
    }

    async fn read(&self, pages: &Arc<Pages>) -> Result<crate::Served, PageError> {
        let Self { renders, gate } = self.clone();
        let render = move || async move {
            let number = renders.fetch_add(1, Ordering::SeqCst) + 1;
            gate.acquire().await.unwrap().forget();
            Ok::<_, std::io::Error>(html(&format!("render {number}"), &[tag("MUG")]))
        };
        pages.get_or_render(&key("MUG"), &[tag("MUG")], BOTH, render).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_of_a_cold_page_on_three_replicas_cost_one_render() {
    let replicas = replicas(&patient(testkit::redis::url().as_ref()), &slow(), 3).await;
    let shelf = Shelf::new();
    let mut readers = JoinSet::new();
    for reader in 0..1_000 {
        let (shelf, pages) = (shelf.clone(), Arc::clone(&replicas[reader % 3].1));
        readers.spawn(async move { shelf.read(&pages).await.unwrap().body().clone() });
    }
    // Wherever the first render began, all others wait for it.
    testkit::wait::until("one render", async || (shelf.renders() == 1).then_some(())).await.unwrap();
    shelf.gate.add_permits(1);
    while let Some(body) = readers.join_next().await {
        assert_eq!(body.unwrap(), "render 1");
    }
    assert_eq!(shelf.renders(), 1);
    let adopted: u64 = replicas.iter().map(|(_, pages)| pages.stats().adopted).sum();
    assert_eq!(adopted, 2, "the others took it from Redis");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_purge_under_load_it_is_rendered_once_and_nobody_gets_an_error() {
    let replicas = replicas(&patient(testkit::redis::url().as_ref()), &slow(), 3).await;
    let shelf = Shelf::new();
    shelf.gate.add_permits(1);
    for (_, pages) in &replicas {
        shelf.read(pages).await.unwrap();
    }
    replicas[0].0.bump(&[tag("MUG")]).await.unwrap();
    for (_, pages) in &replicas {
        pages.purged(&[tag("MUG")]);
    }
    let mut readers = JoinSet::new();
    for reader in 0..1_000 {
        let (shelf, pages) = (shelf.clone(), Arc::clone(&replicas[reader % 3].1));
        readers.spawn(async move { shelf.read(&pages).await.unwrap().body().clone() });
    }
    testkit::wait::until("a second render", async || (shelf.renders() == 2).then_some(())).await.unwrap();
    shelf.gate.add_permits(1);
    while let Some(body) = readers.join_next().await {
        let body = body.unwrap();
        assert!(body == "render 1" || body == "render 2", "{body:?}");
    }
    for (_, pages) in &replicas {
        testkit::wait::until("the new page everywhere", async || {
            (shelf.read(pages).await.unwrap().body() == "render 2").then_some(())
        })
        .await
        .unwrap();
    }
    assert_eq!(shelf.renders(), 2);
}

#[tokio::test]
async fn a_render_that_a_purge_overtook_is_not_taken_by_others() {
    for url in ["memory:", testkit::redis::url().as_ref()] {
        let (cache, pages) = replicas(&patient(url), &slow(), 1).await.remove(0);
        let purging = Arc::clone(&cache);
        let render = move || async move {
            let made = html("old", &[tag("MUG"), tag("CUP")]);
            purging.bump(&[tag("CUP")]).await.unwrap();
            Ok::<_, std::io::Error>(made)
        };
        // One tag was known before, the one that was purged was found.
        pages.get_or_render(&key("MUG"), &[tag("MUG")], BOTH, render).await.unwrap();
        assert_eq!(pages.stats().overtaken, 1, "{url}");
        let other = Pages::new(cache, &slow());
        let render = || async { Ok::<_, std::io::Error>(html("new", &[tag("MUG"), tag("CUP")])) };
        let served = other.get_or_render(&key("MUG"), &[tag("MUG")], BOTH, render).await.unwrap();
        assert_eq!(served.body(), "new");
    }
}

/// Whoever asked before the purge may have it; a CDN that keeps it as new would show it to others for its whole life.
#[tokio::test]
async fn a_page_that_a_purge_overtook_in_a_long_render_is_given_as_an_old_one() {
    let trust = Duration::from_millis(500);
    let pages = PagesConfig { trust_ms: 500, ..slow() };
    for purged in [true, false] {
        let (cache, pages) = replicas(&patient(testkit::redis::url().as_ref()), &pages, 1).await.pop().unwrap();
        let shelf = Shelf::new();
        let begin = Instant::now();
        let (served, ()) = tokio::join!(shelf.read(&pages), async {
            testkit::wait::until("it is rendered", async || (shelf.renders() == 1).then_some(())).await.unwrap();
            if purged {
                cache.bump(&[tag("MUG")]).await.unwrap();
            }
            let long = async || (begin.elapsed() > 2 * trust).then_some(());
            testkit::wait::until("that takes long", long).await.unwrap();
            shelf.gate.add_permits(1);
        });
        let freshness = if purged { Freshness::Stale } else { Freshness::Awaited };
        assert_eq!(served.unwrap().freshness(), freshness, "purged: {purged}");
    }
}

#[tokio::test]
async fn bodies_are_compressed_once_with_a_validator_each_and_the_same_from_every_replica() {
    let replicas = replicas(&patient(testkit::redis::url().as_ref()), &slow(), 2).await;
    let body = "All mugs are blue. ".repeat(500);
    let mut seen = Vec::new();
    for (_, pages) in &replicas {
        for (accept, encoding) in [("br, gzip", Encoding::Brotli), ("gzip", Encoding::Gzip), ("", Encoding::Identity)] {
            let made = html(&body, &[tag("MUG")]);
            let render = move || async move { Ok::<_, std::io::Error>(made) };
            let served =
                pages.get_or_render(&key("MUG"), &[tag("MUG")], Encodings::accepted(accept), render).await.unwrap();
            assert_eq!(served.encoding(), encoding);
            assert_eq!(served.content_type(), "text/html; charset=utf-8");
            assert_eq!(served.tags(), [tag("MUG")]);
            let etag = served.etag().to_str().unwrap().to_owned();
            assert!(served.is_held(&format!("\"other\", W/{etag}")) && !served.is_held("\"other\""));
            seen.push((etag, served.body().clone()));
        }
    }
    assert_eq!(seen[..3], seen[3..], "both replicas");
    assert!(seen[0].1.len() < seen[1].1.len() && seen[1].1.len() < body.len() / 10);
    assert_eq!(seen[2].1, body);
    assert!(seen[0].0 != seen[1].0 && seen[1].0 != seen[2].0);
    assert_eq!(replicas.iter().map(|(_, pages)| pages.stats().renders).sum::<u64>(), 1);
}

#[tokio::test]
async fn without_redis_pages_are_rendered_by_each_replica_and_served() {
    let redis = PrivateRedis::start().await.unwrap();
    let (_, pages) = replicas(&patient(&redis.url()), &slow(), 1).await.remove(0);
    drop(redis);
    let shelf = Shelf::new();
    shelf.gate.add_permits(10);
    let served = shelf.read(&pages).await.unwrap();
    assert_eq!((served.freshness(), served.body().as_ref()), (Freshness::Awaited, b"render 1".as_slice()));
    assert_eq!(shelf.read(&pages).await.unwrap().body(), "render 1");
    assert_eq!(shelf.renders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_can_not_be_rendered_is_served_as_it_was_for_its_time_and_then_is_an_error() {
    let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
    let pages = Pages::new(Arc::clone(&cache), &PagesConfig::default());
    let read = async |fails: bool| {
        let render = move || async move {
            if fails { Err(std::io::Error::other("no database")) } else { Ok(html("page", &[tag("MUG")])) }
        };
        pages.get_or_render(&key("MUG"), &[tag("MUG")], BOTH, render).await
    };
    assert!(matches!(read(true).await, Err(PageError::Failed(_))));
    read(false).await.unwrap();
    cache.bump(&[tag("MUG")]).await.unwrap();
    tokio::time::advance(std::time::Duration::from_secs(20)).await;
    assert_eq!(read(true).await.unwrap().freshness(), Freshness::Fallback);
    tokio::time::advance(std::time::Duration::from_secs(41)).await;
    assert!(matches!(read(true).await, Err(PageError::Failed(_))));
    assert_eq!(read(false).await.unwrap().freshness(), Freshness::Awaited);
}

#[tokio::test]
async fn renders_are_capped_and_a_panic_harms_nobody_else() {
    let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
    let config = PagesConfig { max_fills: 2, ..slow() };
    let pages = Pages::new(cache, &config);
    let gate = Arc::new(Semaphore::new(0));
    let mut readers = JoinSet::new();
    for sku in ["A", "B"] {
        let (pages, gate) = (Arc::clone(&pages), Arc::clone(&gate));
        readers.spawn(async move {
            let render = move || async move {
                gate.acquire().await.unwrap().forget();
                assert!(sku != "B", "broken on purpose");
                Ok::<_, std::io::Error>(html(sku, &[]))
            };
            pages.get_or_render(&key(sku), &[], BOTH, render).await.is_ok()
        });
    }
    testkit::wait::until("two fills", async || (pages.stats().filling == 2).then_some(())).await.unwrap();
    let render = || async { Ok::<_, std::io::Error>(html("C", &[])) };
    let refused = pages.get_or_render(&key("C"), &[], BOTH, render).await;
    assert!(matches!(refused, Err(PageError::Overloaded)));
    gate.add_permits(2);
    let answers = readers.join_all().await;
    assert_eq!(answers.iter().filter(|ok| **ok).count(), 1, "B panicked");
    pages.get_or_render(&key("C"), &[], BOTH, render).await.unwrap();
    pages.drain().await;
}

#[tokio::test]
async fn a_render_that_finds_no_turn_in_its_time_is_refused_and_the_next_one_is_not() {
    let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
    let pages = Pages::new(cache, &PagesConfig { max_renders: 1, turn_wait_ms: 1, ..slow() });
    let shelf = Shelf::new();
    let (held, full) = (shelf.clone(), Arc::clone(&pages));
    let mut first = JoinSet::new();
    first.spawn(async move { held.read(&full).await.unwrap() });
    testkit::wait::until("the one render", async || (shelf.renders() == 1).then_some(())).await.unwrap();
    let render = || async { Ok::<_, std::io::Error>(html("cup", &[])) };
    assert!(matches!(pages.get_or_render(&key("CUP"), &[], BOTH, render).await, Err(PageError::Overloaded)));
    shelf.gate.add_permits(1);
    first.join_next().await.unwrap().unwrap();
    pages.get_or_render(&key("CUP"), &[], BOTH, render).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_was_lost_with_its_replica_keeps_no_reader_from_a_page() {
    // It runs out in Redis while the reader would wait longer; or the reader's process insists while it would last longer.
    for (lost_ms, lease_ms) in [(300, 600_000), (600_000, 300)] {
        let config = PagesConfig { lease_ms, ..slow() };
        let (lost, pages) = replicas(&patient(testkit::redis::url().as_ref()), &config, 1).await.remove(0);
        let lease = Duration::from_millis(lost_ms);
        let ask = Ask { key: key("MUG"), tags: vec![tag("MUG")], lease, insist: false };
        // Whoever got this renders nothing and gives nothing back.
        let opened = Second::open(&*lost, &ask).await.unwrap();
        assert!(matches!(opened, Opened::Granted(_)), "{opened:?}");
        let shelf = Shelf::new();
        shelf.gate.add_permits(1);
        assert_eq!(shelf.read(&pages).await.unwrap().body(), "render 1");
        assert_eq!(shelf.renders(), 1);
    }
}

#[tokio::test]
async fn memory_is_bounded_however_many_pages_there_are() {
    let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
    let config = PagesConfig { memory_bytes: 4 << 20, ..slow() };
    let pages = Pages::new(cache, &config);
    for number in 0..20_000 {
        let body = format!("{number} {}", "x".repeat(800));
        let render = move || async move { Ok::<_, std::io::Error>(html(&body, &[])) };
        pages.get_or_render(&key(&format!("S{number}")), &[], BOTH, render).await.unwrap();
    }
    let stats = pages.stats();
    assert!(stats.bytes <= 4 << 20 && stats.pages > 1_000, "{stats:?}");
}

#[tokio::test]
async fn what_is_not_worth_keeping_is_rendered_for_each_reader() {
    let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
    let pages = Pages::new(cache, &PagesConfig { max_page_bytes: 10, ..slow() });
    for (status, body) in [(StatusCode::OK, "more than ten bytes"), (StatusCode::IM_A_TEAPOT, "tea")] {
        for round in 1..=2 {
            let made = Rendered { status, content_type: HeaderValue::from_static("text/plain"), ..html(body, &[]) };
            let render = move || async move { Ok::<_, std::io::Error>(made) };
            let served = pages.get_or_render(&key(body), &[], BOTH, render).await.unwrap();
            assert_eq!((served.status(), served.freshness(), round), (status, Freshness::Awaited, round));
        }
    }
    assert_eq!((pages.stats().unkept, pages.stats().pages), (4, 0));
}
