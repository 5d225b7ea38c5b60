//! What readers notice of a database that does not answer: nothing, for as long as there is a page within its bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use super::served::{html, key, tag};
use crate::{Cache, Config, Encodings, Freshness, PageError, Pages, PagesConfig, Served};

/// A page whose renders can be made to hang until their time is over.
struct Shop {
    cache: Arc<Cache>,
    pages: Arc<Pages>,
    hangs: Arc<AtomicBool>,
    renders: Arc<AtomicUsize>,
}

impl Shop {
    async fn open(config: &PagesConfig) -> Self {
        let cache = Arc::new(Cache::open(&Config::default()).await.unwrap());
        let pages = Pages::new(Arc::clone(&cache), config);
        Self { cache, pages, hangs: Arc::default(), renders: Arc::default() }
    }

    async fn read(&self) -> Result<Served, PageError> {
        let (hangs, renders) = (Arc::clone(&self.hangs), Arc::clone(&self.renders));
        let render = move || async move {
            let number = renders.fetch_add(1, Ordering::SeqCst) + 1;
            if hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::io::Error>(html(&format!("render {number}"), &[tag("MUG")]))
        };
        self.pages.get_or_render(&key("MUG"), &[tag("MUG")], Encodings::default(), render).await
    }

    /// Reads every 20 ms for so long; none of the readers may wait. Gives how many there were of each freshness.
    async fn is_read_for(&self, time: Duration) -> Vec<(Freshness, usize)> {
        let (end, mut seen) = (Instant::now() + time, Vec::new());
        while Instant::now() < end {
            let asked = Instant::now();
            let freshness = self.read().await.unwrap().freshness();
            assert_eq!(asked.elapsed(), Duration::ZERO, "a reader waited, and had the page {freshness:?}");
            match seen.iter_mut().find(|(known, _)| *known == freshness) {
                Some((_, count)) => *count += 1,
                None => seen.push((freshness, 1)),
            }
            sleep(Duration::from_millis(20)).await;
        }
        seen
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_while_the_next_render_of_a_page_hangs_that_is_getting_old() {
    let shop = Shop::open(&PagesConfig::default()).await;
    shop.read().await.unwrap();
    // From three quarters of a minute on the next one is rendered, and its life is over after the whole.
    shop.is_read_for(Duration::from_secs(40)).await;
    shop.hangs.store(true, Ordering::SeqCst);
    let seen = shop.is_read_for(Duration::from_secs(70)).await;
    assert!(seen.iter().any(|(freshness, _)| *freshness == Freshness::Stale), "{seen:?}");
    assert!(seen.iter().any(|(freshness, _)| *freshness == Freshness::Fallback), "{seen:?}");
    assert!(shop.renders.load(Ordering::SeqCst) > 5, "it is tried again and again");

    shop.hangs.store(false, Ordering::SeqCst);
    // The try that hangs ends first.
    shop.is_read_for(Duration::from_secs(7)).await;
    assert_eq!(shop.read().await.unwrap().freshness(), Freshness::Fresh);
}

#[tokio::test(start_paused = true)]
async fn after_a_purge_readers_wait_for_the_first_render_that_hangs_and_for_no_other() {
    let shop = Shop::open(&PagesConfig::default()).await;
    shop.read().await.unwrap();
    shop.hangs.store(true, Ordering::SeqCst);
    shop.cache.bump(&[tag("MUG")]).await.unwrap();
    advance(Duration::from_secs(2)).await;
    let asked = Instant::now();
    assert_eq!(shop.read().await.unwrap().freshness(), Freshness::Fallback);
    assert!(asked.elapsed() >= PagesConfig::default().wait(), "whoever is the first can't know");
    shop.is_read_for(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn whatever_fails_no_page_is_served_beyond_its_hard_ttl() {
    let shop = Shop::open(&PagesConfig { hard_ttl_s: 90, stale_if_error_s: 3_600, ..PagesConfig::default() }).await;
    shop.read().await.unwrap();
    shop.hangs.store(true, Ordering::SeqCst);
    shop.cache.bump(&[tag("MUG")]).await.unwrap();
    advance(Duration::from_secs(80)).await;
    assert_eq!(shop.read().await.unwrap().freshness(), Freshness::Fallback);
    advance(Duration::from_secs(10)).await;
    assert!(matches!(shop.read().await, Err(PageError::TimedOut)));
}

#[tokio::test]
async fn a_page_that_would_live_longer_than_its_hard_ttl_is_refused_at_the_start() {
    let pages = PagesConfig { hard_ttl_s: 59, ..PagesConfig::default() };
    let refused = Cache::open(&Config { pages, ..Config::default() }).await.err().unwrap().to_string();
    assert!(refused.contains("hard_ttl_s is 59") && refused.contains("raise the one"), "{refused}");
}
