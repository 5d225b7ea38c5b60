//! A public read: its name in the cache, what it depends on, and how it is rendered.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use cache::{PageKey, Rendered, Tag};
use model::{CollectionName, MarketId, RegionName, Sku};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sea_orm::DbErr;
use serde::Serialize;
use store::catalogue::{self, Cursor, Search};
use store::{Reader, Reads};

use super::market::Market;
use super::room::ReadError;
use super::{Public, answer, json};

/// What is asked for, canonical: two spellings of one thing are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// `/v1/products/{sku}`
    Product(Sku),
    /// `/v1/products`
    List(List),
    /// `/v1/stock/{sku}` without a key.
    Stock(Sku),
}

/// Part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct List {
    pub(super) collection: Option<CollectionName>,
    pub(super) q: Option<String>,
    pub(super) after: Option<Cursor>,
}

impl Read {
    /// Its name. The market is in it, and nothing of how it was found out.
    pub(super) fn key(&self, market: &MarketId) -> PageKey {
        PageKey::new(&match self {
            Self::Product(sku) => format!("api:{market}:/v1/products/{sku}"),
            Self::List(list) => format!("api:{market}:/v1/products?{}", list.canonical()),
            Self::Stock(sku) => format!("api:{market}:/v1/stock/{sku}"),
        })
    }

    /// The read that has this key, and its market's id; none for a key that was too long to be kept as it was.
    pub(super) fn of_key(key: &PageKey) -> Option<(&str, Self)> {
        let (kind, rest) = key.as_str().split_once(':')?;
        let (market, path) = rest.split_once(':')?;
        let read = match kind {
            "api" => {
                let path = path.strip_prefix("/v1/")?;
                if let Some(sku) = path.strip_prefix("products/") {
                    Self::Product(sku.parse().ok()?)
                } else if let Some(sku) = path.strip_prefix("stock/") {
                    Self::Stock(sku.parse().ok()?)
                } else {
                    Self::List(List::of_canonical(path.strip_prefix("products?")?)?)
                }
            }
            _ => return None,
        };
        Some((market, read))
    }

    /// What a client calls it.
    pub(super) fn noun(&self) -> &'static str {
        match self {
            Self::Product(_) | Self::Stock(_) => "product",
            Self::List(_) => "list",
        }
    }

    /// The tags that are known before anything is read. A list has those of its products' stock beside them.
    pub(super) fn tags(&self, region: &RegionName) -> Vec<Tag> {
        match self {
            Self::Product(sku) => vec![Tag::product(region, sku), Tag::stock(region, sku)],
            Self::List(list) => vec![list.tag(region)],
            // What is there at all is the product's own affair.
            Self::Stock(sku) => vec![Tag::stock(region, sku), Tag::product(region, sku)],
        }
    }

    /// Reads and renders it: inside of the market's room, and nothing that is older than a purge before this call.
    pub(super) async fn render(self, market: Arc<Market>, public: Arc<Public>) -> Result<Rendered, ReadError> {
        let region = &market.region;
        let tags = self.tags(&region.name);
        match self {
            Self::Product(sku) => {
                let reading = async {
                    let reader = region.reader_at(Reads::Listing, None);
                    let Some(product) = catalogue::product(&reader, region.number, &sku).await? else { return Ok(None) };
                    Ok(Some((product, catalogue::availability(&reader, region.number, &sku).await?)))
                };
                match market.room.read(reading).await? {
                    None => Ok(public.missing(tags)),
                    Some((product, availability)) => {
                        public.json(&json::Product::new(&product, availability), tags, Vec::new())
                    }
                }
            }
            Self::Stock(sku) => {
                let reading = async {
                    let reader = region.reader_at(Reads::Listing, None);
                    catalogue::availability(&reader, region.number, &sku).await
                };
                match market.room.read(reading).await? {
                    None => Ok(public.missing(tags)),
                    found => {
                        public.json(&json::Stock { sku: &sku, availability: json::band(found) }, tags, Vec::new())
                    }
                }
            }
            Self::List(list) => {
                let page = market.room.read(public.page(&market, &list)).await?;
                let tags = with_stock(tags, &region.name, &page);
                let link = page.next.as_ref().and_then(|next| public.link(&market.id, &list, next));
                public.json(&json::List::new(&page), tags, link.into_iter().collect())
            }
        }
    }
}

impl List {
    /// In a fixed order; what is searched for comes last, since nothing bounds its characters.
    fn canonical(&self) -> String {
        let mut parts = Vec::with_capacity(3);
        parts.extend(self.collection.as_ref().map(|name| format!("collection={name}")));
        parts.extend(self.after.as_ref().map(|after| format!("page={after}")));
        parts.extend(self.q.as_ref().map(|q| format!("q={q}")));
        parts.join("&")
    }

    fn of_canonical(text: &str) -> Option<Self> {
        let mut list = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(q) = rest.strip_prefix("q=") {
                list.q = Some(q.to_owned());
                break;
            }
            let (part, after) = rest.split_once('&').unwrap_or((rest, ""));
            match part.split_once('=')? {
                ("collection", name) => list.collection = Some(name.parse().ok()?),
                ("page", page) => list.after = Some(page.parse().ok()?),
                _ => return None,
            }
            rest = after;
        }
        Some(list)
    }

    /// What says which products are in it, in which order, and what they are: a change of a product purges its collections.
    fn tag(&self, region: &RegionName) -> Tag {
        match &self.collection {
            Some(name) => Tag::collection(region, name.as_str()),
            None => Tag::catalogue(region),
        }
    }
}

impl Public {
    /// A part of a list, from a replica that has passed everything which was committed before this call, else from the primary: a
    /// list that is kept would else hide what was purged already.
    async fn page(&self, market: &Market, list: &List) -> Result<catalogue::Page, DbErr> {
        let List { collection, q, after } = list.clone();
        let search = Search { collection, q, after, limit: self.config.page_size };
        catalogue::list(&reader(market).await?, market.region.number, &search).await
    }

    /// Where a list goes on (RFC 8288), as a relative reference.
    fn link(&self, market: &MarketId, list: &List, next: &Cursor) -> Option<(HeaderName, HeaderValue)> {
        let mut query = String::new();
        if self.markets.are_several() {
            query += &format!("market={market}&");
        }
        if let Some(name) = &list.collection {
            query += &format!("collection={name}&");
        }
        if let Some(q) = &list.q {
            query += &format!("q={}&", utf8_percent_encode(q, NON_ALPHANUMERIC));
        }
        let link = HeaderValue::try_from(format!("</v1/products?{query}page={next}>; rel=\"next\"")).ok()?;
        Some((header::LINK, link))
    }

    /// Answered by each reader's own form of a 404; what is kept is that there is nothing.
    fn missing(&self, tags: Vec<Tag>) -> Rendered {
        Rendered {
            status: StatusCode::NOT_FOUND,
            content_type: HeaderValue::from_static("application/problem+json"),
            headers: answer::tag_headers(&tags, self.config.max_tag_bytes),
            body: Bytes::new(),
            tags,
        }
    }

    fn json(
        &self,
        body: &impl Serialize,
        tags: Vec<Tag>,
        mut headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Rendered, ReadError> {
        headers.extend(answer::tag_headers(&tags, self.config.max_tag_bytes));
        Ok(Rendered {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("application/json"),
            headers,
            body: serde_json::to_vec(body)?.into(),
            tags,
        })
    }
}

async fn reader(market: &Market) -> Result<Reader, DbErr> {
    let database = &market.region.database;
    let position = if database.replicas().is_empty() { None } else { database.position().await? };
    Ok(market.region.reader_at(Reads::Listing, position))
}

fn with_stock(mut tags: Vec<Tag>, region: &RegionName, page: &catalogue::Page) -> Vec<Tag> {
    tags.extend(page.items.iter().map(|item| Tag::stock(region, &item.sku)));
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_is_found_again_by_its_key() {
        let market: MarketId = "eu".parse().unwrap();
        let sku: Sku = "MUG/1:a".parse().unwrap();
        let after: Cursor = "YSBtdWcKTVVHLzk".parse().unwrap();
        let list = |collection: Option<&str>, q: Option<&str>, after: Option<&Cursor>| {
            let collection = collection.map(|name| name.parse().unwrap());
            Read::List(List { collection, q: q.map(str::to_owned), after: after.cloned() })
        };
        let reads = [
            Read::Product(sku.clone()),
            Read::Stock(sku),
            list(None, None, None),
            list(Some("mugs"), None, None),
            list(Some("mugs"), Some("a&collection=cups&page=x"), Some(&after)),
            list(None, Some("größe: 5"), None),
            list(None, None, Some(&after)),
        ];
        for read in reads {
            let key = read.key(&market);
            assert_eq!(Read::of_key(&key), Some(("eu", read)), "{key:?}");
        }
        for other in ["long:abc", "api:eu:/v2/products/MUG", "api:eu:/v1/products?colour=red", "page"] {
            assert_eq!(Read::of_key(&PageKey::new(other)), None, "{other}");
        }
    }
}
