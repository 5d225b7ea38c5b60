//! Routes for people. A page is the same for everybody, so everybody may have it from a cache; the order's own page is for whoever
//! holds its URL, and nobody keeps it.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use model::OrderId;
use serde::Deserialize;
use service::{Problem, kinds};

use super::accept::Form;
use super::answer::Varies;
use super::html::{HTML, page_headers};
use super::query::Parameters;
use super::read::Read;
use super::{Public, Segment, assets, problems, route, sku};
use crate::routes::authenticate;
use crate::run::Shared;
use crate::shop::view::OrderView;
use crate::shop::{Site, render as template};
use crate::view::View;

/// The longest that the order's page says it takes, seconds: what is in a URL may be anybody's word.
const LONGEST_WAIT_S: u32 = 24 * 3_600;

pub(super) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(route::HOME, get(home).fallback(problems::method_not_allowed))
        .route(route::COLLECTION, get(collection).fallback(problems::method_not_allowed))
        .route(route::PRODUCT_PAGE, get(product).fallback(problems::method_not_allowed))
        .route("/orders/{id}", get(order).fallback(problems::method_not_allowed))
        .route("/assets/{name}", get(assets::asset).fallback(problems::method_not_allowed))
        // For a path that nobody serves: people get a page, programs what they get without it.
        .route("/{*path}", any(nothing))
        .with_state(Arc::clone(shared))
}

async fn home(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    shared.public.answer(&uri, &headers, Varies::ByEncoding, |_| Ok(Read::Home)).await
}

async fn collection(State(shared): State<Arc<Shared>>, segment: Segment, uri: Uri, headers: HeaderMap) -> Response {
    let read = |asked: &Parameters| {
        let name = segment.ok().and_then(|Path(name)| name.parse().ok());
        let name = name.ok_or_else(|| problems::missing("collection"))?;
        Ok(Read::Collection(name, asked.page()?))
    };
    shared.public.answer(&uri, &headers, Varies::ByEncoding, read).await
}

async fn product(State(shared): State<Arc<Shared>>, segment: Segment, uri: Uri, headers: HeaderMap) -> Response {
    let read = |_: &Parameters| sku(segment).map(Read::ProductPage);
    shared.public.answer(&uri, &headers, Varies::ByEncoding, read).await
}

async fn nothing(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path();
    let problem = Problem::new(kinds::NOT_FOUND, format!("nothing is served at {path}"));
    shared.public.problem(problem, request.headers(), Form::Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OrderQuery {
    /// The token.
    t: String,
    /// How long the order was expected to wait when it was accepted, seconds.
    w: String,
    market: Option<String>,
}

async fn order(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    query: Result<Query<OrderQuery>, QueryRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|Query(query)| query).unwrap_or_default();
    let token = match authenticate(&shared, &id, &query.t) {
        Ok(token) => token,
        Err(problem) => return private(shared.public.problem(problem, &headers, Form::Html)),
    };
    let known = shared.lookup.find(token.order_id).await.ok();
    let known = known.map(|known| View::of(&token, &known));
    let site = shared.public.site_of(token.order_id, query.market.as_deref(), &uri, &headers);
    let wait_s = query.w.parse().ok().map(|wait: u32| wait.min(LONGEST_WAIT_S));
    let view = OrderView::new(Arc::clone(site), (&token, &query.t), known.as_ref(), wait_s, shared.clock.now());
    let mut response = template::order(&view).into_response();
    for (name, value) in page_headers(site) {
        response.headers_mut().insert(name, value);
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    private(response)
}

/// The URL is a permission: nobody keeps the page, and no link tells the URL.
fn private(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Public {
    /// What the page of an order shares with others: those of the request's market, where that is in the order's region.
    fn site_of(&self, order: OrderId, named: Option<&str>, uri: &Uri, headers: &HeaderMap) -> &Arc<Site> {
        let asked = self.markets.of(named, uri, headers).ok();
        let market = asked.filter(|market| market.region.number == order.region());
        let market = market.or_else(|| self.markets.in_region(order.region()));
        market.map_or_else(|| self.sites.of_none(), |market| self.sites.of(&market.id))
    }
}
