//! Many readers at once, and a database that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache::PagesConfig;
use futures::future::join_all;
use sea_orm::ConnectionTrait as _;
use store::Reads;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fixture::{Fixture, on_postgres, on_postgres_in_two_turns, on_sqlite, patient, quick, replicas};
use super::shelf::edit;
use crate::{Config, PublicReads};

const PATH: &str = "/v1/products/MUG";
const READERS: usize = 1_000;

/// What each of many readers got; `asked` counts those that asked.
async fn readers(replicas: &[Fixture; 3], asked: &Arc<AtomicUsize>) -> Vec<(u16, String)> {
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let replica = &replicas[reader % 3];
        let (http, url, asked) = (replica.http.clone(), format!("{}{PATH}", replica.base()), Arc::clone(asked));
        readers.spawn(async move {
            asked.fetch_add(1, Ordering::Relaxed);
            let answer = http.get(&url).await.unwrap();
            (answer.status.as_u16(), answer.json()["price"]["minor"].to_string())
        });
    }
    readers.join_all().await
}

fn renders(replicas: &[Fixture; 3]) -> u64 {
    replicas.iter().map(|replica| replica.pages.stats().renders).sum()
}

/// What many readers got of a page whose render ends when `held` does: after all of them have asked.
async fn crowd(replicas: &[Fixture; 3], held: store::Transaction) -> Vec<(u16, String)> {
    let asked = Arc::default();
    let (answers, ()) = tokio::join!(readers(replicas, &asked), async {
        let are_there = async || {
            let all = asked.load(Ordering::Relaxed) == READERS;
            (all && replicas.iter().all(|replica| replica.pages.stats().filling == 1)).then_some(())
        };
        testkit::wait::until("every reader to have asked", are_there).await.unwrap();
        held.commit().await.unwrap();
    });
    answers
}

/// Holds every read of `table` for as long as it lives.
async fn hold(fixture: &Fixture, table: &str) -> store::Transaction {
    let held = fixture.database().begin().await.unwrap();
    let lock = fixture.database().statement(format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"), []);
    held.execute_raw(lock).await.unwrap();
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_readers_of_a_cold_page_on_three_replicas_cost_one_render() {
    let replicas = replicas(quick(), patient()).await;
    replicas[0].shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    let held = hold(&replicas[0], "products").await;
    let answers = crowd(&replicas, held).await;
    assert!(answers.iter().all(|(status, price)| *status == 200 && price == "1450"), "{answers:?}");
    assert_eq!(renders(&replicas), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_purge_one_render_shows_the_change_and_of_a_crowd_nobody_waits_for_it_or_gets_an_error() {
    let replicas = replicas(quick(), PagesConfig { grace_ms: 10_000, ..patient() }).await;
    replicas[0].shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    for replica in &replicas {
        assert_eq!(replica.get(PATH).await.json()["price"]["minor"], 1_450);
    }
    replicas[0].shelve(&[edit("MUG", "Blue mug", 1_600)]).await;
    let waited = || {
        replicas.iter().map(|replica| replica.pages.stats()).map(|stats| stats.awaited + stats.fallback).sum::<u64>()
    };
    let before = waited();
    // The render lasts for as long as the crowd reads.
    let held = hold(&replicas[0], "products").await;
    replicas[0].purge("MUG").await;
    for replica in &replicas[1..] {
        replica.told("MUG");
    }
    let answers = readers(&replicas, &Arc::default()).await;
    assert!(answers.iter().all(|(status, price)| *status == 200 && price == "1450"), "{answers:?}");
    assert_eq!(waited() - before, 0, "within the grace a page is served while its successor is rendered");
    held.commit().await.unwrap();
    for replica in &replicas {
        replica.until(PATH, |answer| answer.json()["price"]["minor"] == 1_600).await;
    }
    assert_eq!(renders(&replicas), 2, "one before, and one for all after the purge");
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_grace_a_crowd_waits_for_one_render_and_all_of_it_sees_the_change() {
    let replicas = replicas(quick(), PagesConfig { grace_ms: 0, ..patient() }).await;
    replicas[0].shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    for replica in &replicas {
        assert_eq!(replica.get(PATH).await.json()["price"]["minor"], 1_450);
    }
    replicas[0].shelve(&[edit("MUG", "Blue mug", 1_600)]).await;
    let held = hold(&replicas[0], "products").await;
    replicas[0].purge("MUG").await;
    for replica in &replicas {
        replica.told("MUG");
    }
    let answers = crowd(&replicas, held).await;
    assert!(answers.iter().all(|(status, price)| *status == 200 && price == "1600"), "{answers:?}");
    assert_eq!(renders(&replicas), 2, "one before, and one for all after the purge");
}

fn impatient() -> Config {
    let pages = PublicReads { read_timeout_ms: 300, read_wait_ms: 300, max_reads: 2, ..quick().pages };
    Config { pages, ..quick() }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_hangs_kept_pages_are_served_and_nothing_else_is_kept_waiting() {
    // Looked after at each read: all of these try to render.
    let pages = PagesConfig { trust_ms: 0, grace_ms: 0, max_age_s: 1, ..PagesConfig::default() };
    let fixture = on_postgres(impatient(), pages).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450), edit("CUP", "Blue cup", 950)]).await;
    fixture.commit("a", "confirmed", None).await;
    // The first connections take longer than a read may.
    fixture.until(PATH, |answer| answer.status == 200).await;
    let held = hold(&fixture, "products").await;
    fixture.purge("MUG").await;
    for _ in 0..20 {
        let begin = Instant::now();
        let answer = fixture.get(PATH).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["price"]["minor"]), (200, &1_450.into()));
        assert!(begin.elapsed() < Duration::from_secs(2), "one render's time-out: {:?}", begin.elapsed());
    }
    // Who has no page to show says so within one time-out, and at once when it is known.
    for _ in 0..5 {
        let answer = fixture.get("/v1/products/CUP").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &"page_unavailable".into()));
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    // Neither status nor changes of stock wait behind them.
    let flood = join_all((0..50).map(|n| fixture.until_503(n)));
    let others = async {
        for _ in 0..10 {
            assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "confirmed");
            let key = format!("Bearer {}", fixture.api_keys.server);
            assert_eq!(fixture.get_with("/v1/stock/MUG", &[("authorization", &key)]).await.status, 200);
        }
    };
    let begin = Instant::now();
    let (_, ()) = tokio::join!(flood, others);
    assert!(begin.elapsed() < Duration::from_secs(20));
    held.commit().await.unwrap();
    fixture.until("/v1/products/CUP", |answer| answer.status == 200).await;
}

impl Fixture {
    /// The broker tells this process what another one purged.
    fn told(&self, sku: &str) {
        let region = &self.region("main").name;
        let tag = cache::Tag::product(region, &sku.parse().unwrap());
        self.pages.purged(&[tag]);
    }

    async fn until_503(&self, n: usize) {
        let answer = self.get(&format!("/v1/products/FLOOD-{n}")).await;
        assert_eq!(answer.status, 503);
    }

    async fn search(&self, n: usize) -> u16 {
        self.get(&format!("/v1/products?q=flood{n}")).await.status.as_u16()
    }

    /// Once a statement waits for a lock.
    async fn until_one_is_held(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let look = async || {
            let row = self.database().read().query_one_raw(self.database().statement(waiting, [])).await.unwrap();
            (row.unwrap().try_get_by_index::<i64>(0).unwrap() > 0).then_some(())
        };
        testkit::wait::until("a statement waits for a lock", look).await.unwrap();
    }

    /// Reads for ever, in the turns that pages have, a tenth of a second each.
    async fn read_on(&self) {
        let reader = self.region("main").reader_at(Reads::History, None);
        loop {
            let sleep = reader.statement("SELECT 1 FROM pg_sleep(0.1)", []);
            reader.query_one_raw(sleep).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_beyond_their_share_are_refused_while_a_product_page_is_rendered() {
    let pages = PublicReads { max_reads: 4, max_searches: 1, read_wait_ms: 100, ..quick().pages };
    let fixture = on_postgres_in_two_turns(Config { pages, ..quick() }).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450), edit("CUP", "Blue cup", 950)]).await;
    let held = hold(&fixture, "product_words").await;
    let page = async {
        fixture.until_one_is_held().await;
        fixture.get("/v1/products/CUP").await.status.as_u16()
    };
    let (searches, page) = tokio::join!(join_all((0..20).map(|n| fixture.search(n))), page);
    assert_eq!(page, 200);
    assert!(searches.iter().all(|status| *status == 503), "{searches:?}");
    held.commit().await.unwrap();
    fixture.until("/v1/products?q=cup", |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_turn_behind_readers_that_are_answered_makes_no_database_away() {
    let pages = PublicReads { read_timeout_ms: 2_000, away_after: 1, ..quick().pages };
    let fixture = on_postgres(Config { pages, ..quick() }, patient()).await;
    // The first connections take longer than a read may.
    fixture.until(PATH, |answer| answer.status == 404).await;
    let others = join_all((0..60).map(|_| fixture.read_on()));
    let pages = async {
        for n in 0..3 {
            let begin = Instant::now();
            assert_eq!(fixture.get(&format!("/v1/products/CUP-{n}")).await.status, 503);
            // While a database is away all but one are refused at once.
            assert!(begin.elapsed() >= Duration::from_secs(2), "number {n} waits its time: {:?}", begin.elapsed());
        }
    };
    tokio::select! {
        biased; // all of them wait before the first page is asked for
        _ = others => unreachable!("they read for ever"),
        () = pages => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_urls_is_bounded_in_memory_and_the_hot_page_stays() {
    let pages = PagesConfig { memory_bytes: 1 << 20, ..patient() };
    let fixture = Arc::new(on_sqlite(quick(), pages).await);
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    let mut flood = JoinSet::new();
    for part in 0..8 {
        let fixture = Arc::clone(&fixture);
        flood.spawn(async move {
            for n in 0..1_000 {
                let url = match n % 3 {
                    0 => format!("/v1/products/FLOOD-{part}-{n}"),
                    1 => format!("/v1/products?q=flood{part}x{n}"),
                    _ => format!("/v1/stock/FLOOD-{part}-{n}"),
                };
                let status = fixture.get(&url).await.status.as_u16();
                assert!([200, 404].contains(&status), "{url}: {status}");
                assert_eq!(fixture.get(PATH).await.status, 200);
            }
        });
    }
    flood.join_all().await;
    let stats = fixture.pages.stats();
    assert!(stats.bytes <= 1 << 20 && stats.pages < 2_500, "{stats:?}");
    assert!(stats.fresh > 7_000, "the page that everybody reads was not thrown out: {stats:?}");
}
