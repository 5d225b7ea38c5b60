//! A change of everything that is for sale, once the shop is at rest: whatever was rendered before has to be old then. Every
//! page is read just before, so that there is something to be old.

use anyhow::{Context as _, Result, ensure};
use testkit::http::Http;

use super::{REDIS_PREFIX, SKUS, World, product};
use crate::oracle::Noted;

impl World {
    /// Imports the catalogue with new titles. Gives every product's tag as it was before.
    ///
    /// # Errors
    /// What keeps Redis from telling, or the import from being made.
    pub(crate) async fn change_catalogue(&self) -> Result<Vec<Noted>> {
        let client = redis::Client::open(self.servers.exported("MILLPOND_TEST_REDIS_URL")?)?;
        let mut redis =
            client.get_multiplexed_async_connection().await.context("Redis, which has to be back by now")?;
        let mut noted = Vec::new();
        let (http, storefront) = (Http::new(), self.roles.url("storefront").await?);
        for n in 1..=SKUS {
            let page = http.get(&format!("{storefront}/v1/products/SKU-{n}")).await?;
            ensure!(page.status.is_success(), "the page of SKU-{n}: {}", page.status);
            let tag = format!("product:{}:SKU-{n}", Self::region());
            let generation = redis::cmd("GET").arg(format!("{REDIS_PREFIX}tag:{tag}")).query_async(&mut redis).await?;
            noted.push(Noted { tag, generation });
        }
        let products: String = (1..=SKUS).map(|n| product(n, "Changed")).collect();
        std::fs::write(self.folder().join("changed.csv"), format!("{}{products}", super::HEAD))?;
        self.verb(&["import", "changed.csv", "--region", "main"]).await?;
        Ok(noted)
    }
}
