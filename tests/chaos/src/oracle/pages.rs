//! Whether what shoppers read says what the database says: every product, asked of the storefront as a stranger would, in the
//! version and with the title of its row. The bound of a page's age is waited for, and not a moment more.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use testkit::http::Http;
use tokio::time::{Instant, interval};

use super::Site;
use super::read::rows;

/// The oldest that a page may be with Redis and the broker up: 1.5 s, and 1 s for a change that waits to be coalesced.
const BOUND: Duration = Duration::from_millis(2_500);
const ASK_EVERY: Duration = Duration::from_millis(250);

/// What one side says of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    version: i64,
    title: String,
}

/// By article.
type Catalogue = BTreeMap<String, Said>;

fn compare(shown: &Catalogue, stored: &Catalogue) -> Breaches {
    let mut breaches = Breaches::default();
    for (sku, row) in stored {
        let page = shown.get(sku);
        if page != Some(row) {
            let page = page.map_or_else(|| "no page".to_owned(), |page| format!("{page:?}"));
            breaches.add(Guarantee::Cached, format!("the page of {sku}"), format!("{row:?}"), page);
        }
    }
    breaches
}

/// Asks until every page is as its row, or the bound is over. Nobody is asked where no storefront was named.
pub(super) async fn judge(site: &Site<'_>) -> Result<Breaches> {
    let Some(storefront) = &site.evidence.storefront else { return Ok(Breaches::default()) };
    let stored = stored(site).await?;
    let (http, begun, mut again) = (Http::new(), Instant::now(), interval(ASK_EVERY));
    loop {
        again.tick().await;
        let late = begun.elapsed() >= BOUND;
        let breaches = compare(&shown(&http, storefront, stored.keys()).await, &stored);
        if breaches.is_empty() || late {
            return Ok(breaches);
        }
    }
}

async fn shown(http: &Http, storefront: &str, skus: impl Iterator<Item = &String>) -> Catalogue {
    let mut shown = Catalogue::new();
    for sku in skus {
        // Who does not answer shows nothing, and is asked again within the bound.
        let page =
            http.get(&format!("{storefront}/v1/products/{sku}")).await.map(|answer| answer.json()).unwrap_or_default();
        if let (Some(version), Some(title)) = (page["version"].as_i64(), page["title"].as_str()) {
            shown.insert(sku.clone(), Said { version, title: title.to_owned() });
        }
    }
    shown
}

/// Of the first region: its market is the one that a read is of which names none.
async fn stored(site: &Site<'_>) -> Result<Catalogue> {
    let mut stored = Catalogue::new();
    let sql = "SELECT sku, version, title FROM products WHERE region = $1";
    let region = site.evidence.regions.first().map_or(0, |region| i32::from(region.number));
    for database in site.databases.databases() {
        for row in rows(database, sql, [region.into()]).await? {
            let said = Said { version: row.try_get("", "version")?, title: row.try_get("", "title")? };
            stored.insert(row.try_get("", "sku")?, said);
        }
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(version: i64, title: &str) -> Catalogue {
        [("MUG".to_owned(), Said { version, title: title.to_owned() })].into()
    }

    #[test]
    fn a_page_says_what_its_row_says() {
        let breaches = |shown: &Catalogue| compare(shown, &catalogue(2, "Blue")).of(Guarantee::Cached);
        assert_eq!(breaches(&catalogue(2, "Blue")), 0);
        assert_eq!(breaches(&catalogue(1, "Blue")), 1, "an old version");
        assert_eq!(breaches(&catalogue(2, "Red")), 1, "what was rendered before");
        assert_eq!(breaches(&Catalogue::new()), 1, "no page at all");
    }
}
