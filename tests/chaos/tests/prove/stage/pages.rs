//! What the storefront shows of an article that changes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chaos::oracle::{Noted, Shown};
use testkit::redis;
use tokio::time::{Instant, interval};

use super::Stage;

/// How old a page may be with everything up: above 2.5 s by what a busy machine takes.
const SHOWN_WITHIN: Duration = Duration::from_secs(7);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Stage {
    /// Reads an article's page, gives the article another title, and looks until that is shown, or for longer than it may take.
    pub(crate) async fn change_and_look(&mut self, sku: &str) -> Result<()> {
        let storefront = self.storefront.as_ref().context("a storefront that was started")?;
        let page = format!("{storefront}/v1/products/{sku}");
        let read = self.http.get(&page).await?;
        ensure!(read.status.is_success(), "{page}: {}", read.status);
        self.note(sku).await?;
        let changed = format!("sku,title,price,on_hand\n{sku},Changed,10.00,1000\n");
        std::fs::write(self.folder.path().join("changed.csv"), changed)?;
        self.verb(&["--config", "millpond.toml", "import", "changed.csv"]).await?;
        let changed = Instant::now();
        let version = self.count(&format!("SELECT version AS count FROM products WHERE sku = '{sku}'")).await?;
        let (mut shown, mut newest, mut look) = (Shown::new(SHOWN_WITHIN), 0, interval(LOOK_EVERY));
        shown.edited(version, changed);
        while newest < version && changed.elapsed() < SHOWN_WITHIN + Duration::from_secs(1) {
            look.tick().await;
            let asked = Instant::now();
            if let Some(seen) = self.http.get(&page).await?.json()["version"].as_i64() {
                shown.seen(seen, asked, "the storefront");
                newest = seen;
            }
        }
        self.shown = Some(shown);
        Ok(())
    }

    /// Notes the tag of an article as the cache knows it.
    async fn note(&mut self, sku: &str) -> Result<()> {
        let client = ::redis::Client::open(redis::url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let tag = format!("product:main:{sku}");
        let key = format!("{}tag:{tag}", self.redis_prefix);
        let generation = ::redis::cmd("GET").arg(key).query_async(&mut connection).await?;
        self.noted.push(Noted { tag, generation });
        Ok(())
    }
}
