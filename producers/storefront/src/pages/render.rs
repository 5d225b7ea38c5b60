//! What is read for each kind of page, and how it is written for programs. For people: `html.rs`.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use cache::{Rendered, Tag};
use model::{MarketId, RegionName, Sku};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sea_orm::DbErr;
use serde::Serialize;
use store::catalogue::{self, Availability, Cursor, Product, Search};
use store::{Reader, Reads, Region};

use super::market::Market;
use super::read::{List, Read};
use super::room::ReadError;
use super::{Public, answer, html, json};

/// Headers of a page beside those of its tags.
pub(super) type Headers = Vec<(HeaderName, HeaderValue)>;

impl Read {
    /// Reads and renders it: inside of the market's room, and from nothing older than a purge before this call.
    pub(super) async fn render(self, market: Arc<Market>, public: Arc<Public>) -> Result<Rendered, ReadError> {
        let region = &market.region;
        let tags = self.tags(&region.name);
        match self {
            Self::Product(sku) => match market.room.read(product(region.clone(), sku)).await? {
                None => Ok(public.missing(tags)),
                Some((product, availability)) => {
                    public.json(&json::Product::new(&product, availability), tags, Headers::new())
                }
            },
            Self::Stock(sku) => match market.room.read(availability(region.clone(), sku.clone())).await? {
                None => Ok(public.missing(tags)),
                found => {
                    let stock = json::Stock { sku: &sku, availability: json::band(found) };
                    public.json(&stock, tags, Headers::new())
                }
            },
            Self::List(list) => {
                let reading = page(region.clone(), public.search(&list));
                let page = match &list.q {
                    Some(_) => market.room.search(reading).await?,
                    None => market.room.read(reading).await?,
                };
                let tags = with_stock(tags, &region.name, &page);
                let link = page.next.as_ref().and_then(|next| public.link(&market.id, &list, next));
                public.json(&json::List::new(&page), tags, link.into_iter().collect())
            }
            Self::Home => html::home(&public, &market, tags).await,
            Self::Collection(name, after) => html::collection(&public, &market, tags, (name, after)).await,
            Self::ProductPage(sku) => html::product(&public, &market, tags, sku).await,
        }
    }
}

/// A product and how much of it there is, by the primary.
pub(super) async fn product(region: Region, sku: Sku) -> Result<Option<(Product, Option<Availability>)>, DbErr> {
    let reader = region.reader_at(Reads::Listing, None);
    let Some(product) = catalogue::product(&reader, region.number, &sku).await? else { return Ok(None) };
    Ok(Some((product, catalogue::availability(&reader, region.number, &sku).await?)))
}

async fn availability(region: Region, sku: Sku) -> Result<Option<Availability>, DbErr> {
    let reader = region.reader_at(Reads::Listing, None);
    catalogue::availability(&reader, region.number, &sku).await
}

/// A part of a list.
pub(super) async fn page(region: Region, search: Search) -> Result<catalogue::Page, DbErr> {
    catalogue::list(&list_reader(&region).await?, region.number, &search).await
}

/// For lists: a replica that has passed everything which was committed before this call, else the primary. A list that is kept
/// would otherwise hide what was purged already.
pub(super) async fn list_reader(region: &Region) -> Result<Reader, DbErr> {
    region.database.reader_as_of_now(Reads::Listing).await
}

/// `tags`, and those of the stock of everything that is listed.
pub(super) fn with_stock(mut tags: Vec<Tag>, region: &RegionName, page: &catalogue::Page) -> Vec<Tag> {
    tags.extend(page.items.iter().map(|item| Tag::stock(region, &item.sku)));
    tags
}

impl Public {
    pub(super) fn search(&self, list: &List) -> Search {
        let List { collection, q, after } = list.clone();
        Search { collection, q, after, limit: self.config.page_size }
    }

    /// Where a list goes on (RFC 8288), as a relative reference.
    fn link(&self, market: &MarketId, list: &List, next: &Cursor) -> Option<(HeaderName, HeaderValue)> {
        let mut query = Vec::with_capacity(4);
        // Also where the host would say it: this answer may have been asked for by name, on another market's host.
        if self.markets.are_several() {
            query.push(format!("market={market}"));
        }
        query.extend(list.collection.as_ref().map(|name| format!("collection={name}")));
        query.extend(list.q.as_ref().map(|q| format!("q={}", utf8_percent_encode(q, NON_ALPHANUMERIC))));
        query.push(format!("page={next}"));
        let link = format!("</v1/products?{}>; rel=\"next\"", query.join("&"));
        let link = HeaderValue::try_from(link).ok()?;
        Some((header::LINK, link))
    }

    /// Answered by each reader's own form of a 404; what is kept is that there is nothing.
    pub(super) fn missing(&self, tags: Vec<Tag>) -> Rendered {
        self.rendered(StatusCode::NOT_FOUND, "application/problem+json", Bytes::new(), tags, Headers::new())
    }

    fn json(&self, body: &impl Serialize, tags: Vec<Tag>, headers: Headers) -> Result<Rendered, ReadError> {
        let body = serde_json::to_vec(body)?.into();
        Ok(self.rendered(StatusCode::OK, "application/json", body, tags, headers))
    }

    pub(super) fn rendered(
        &self,
        status: StatusCode,
        content_type: &'static str,
        body: Bytes,
        tags: Vec<Tag>,
        mut headers: Headers,
    ) -> Rendered {
        headers.extend(answer::tag_headers(&tags, self.config.max_tag_bytes));
        Rendered { status, content_type: HeaderValue::from_static(content_type), headers, body, tags }
    }
}
