//! Pages for people: what is read for each, and shown by the shop's templates.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use cache::{Rendered, Tag};
use model::{CollectionName, Sku};
use store::catalogue::{self, Cursor};

use super::market::Market;
use super::read::List;
use super::render::{self, Headers, list_reader, with_stock};
use super::room::ReadError;
use super::{Public, json};
use crate::shop::view::{CollectionView, HomeView, ProductView};
use crate::shop::{Site, csp, render as template};

pub(super) const HTML: &str = "text/html; charset=utf-8";

/// What each page of `site` is sent with.
pub(super) fn page_headers(site: &Site) -> Headers {
    let mut headers = vec![(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))];
    headers.extend(HeaderValue::try_from(csp(site)).ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    headers
}

pub(super) async fn home(public: &Public, market: &Market, tags: Vec<Tag>) -> Result<Rendered, ReadError> {
    let region = market.region.clone();
    let search = public.search(&List::default());
    let reading = async move {
        let reader = list_reader(&region).await?;
        let collections = catalogue::collections(&reader, region.number).await?;
        Ok((collections, catalogue::list(&reader, region.number, &search).await?))
    };
    let (collections, page) = market.room.read(reading).await?;
    let tags = with_stock(tags, &market.region.name, &page);
    let site = public.sites.of(&market.id);
    let view = HomeView::new(Arc::clone(site), collections, page.items);
    Ok(html(public, site, template::home(&view), tags))
}

/// A collection that lists nothing is none.
pub(super) async fn collection(
    public: &Public,
    market: &Market,
    tags: Vec<Tag>,
    (name, after): (CollectionName, Option<Cursor>),
) -> Result<Rendered, ReadError> {
    let list = List { collection: Some(name.clone()), q: None, after };
    let page = market.room.read(render::page(market.region.clone(), public.search(&list))).await?;
    if page.items.is_empty() && list.after.is_none() {
        return Ok(public.missing(tags));
    }
    let tags = with_stock(tags, &market.region.name, &page);
    let site = public.sites.of(&market.id);
    let next = page.next.as_ref().map(ToString::to_string);
    let view = CollectionView::new(Arc::clone(site), name, page.items, next);
    Ok(html(public, site, template::collection(&view), tags))
}

pub(super) async fn product(public: &Public, market: &Market, tags: Vec<Tag>, sku: Sku) -> Result<Rendered, ReadError> {
    let Some((product, availability)) = market.room.read(render::product(market.region.clone(), sku)).await? else {
        return Ok(public.missing(tags));
    };
    let site = public.sites.of(&market.id);
    let view = ProductView::new(Arc::clone(site), product, json::band(availability));
    Ok(html(public, site, template::product(&view), tags))
}

fn html(public: &Public, site: &Site, body: String, tags: Vec<Tag>) -> Rendered {
    public.rendered(StatusCode::OK, HTML, Bytes::from(body), tags, page_headers(site))
}
