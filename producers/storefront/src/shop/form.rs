//! The way to an order without JavaScript: two pages that no cache keeps.
//!
//! | route | what |
//! |---|---|
//! | `GET /order/new?sku=&quantity=` | makes an idempotency key and leads on to the review with it |
//! | `GET /order/review?sku=&quantity=&key=` | what is about to be ordered, and the form that posts it to the ingress |
//!
//! The key can't stand in the article's page, which all visitors share. It stands in the review's URL instead: whoever loads that
//! again, goes back to it, or sends its form twice means the same order, and gets it. Only a new step through `/order/new` is
//! another one. The ingress leads back here with `busy=SECONDS` or `used=1` where it did not take the order.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use events::{Band, Quantity};
use model::{IdempotencyKey, Sku};
use rand::RngExt as _;
use serde::Deserialize;
use service::Problem;

use super::view::{Card, Refusal, ReviewView};
use super::{Site, csp, render};
use crate::pages::{Form, INVALID_QUERY};
use crate::run::Shared;

/// The longest that a page says to wait, seconds: what is in a URL may be anybody's word.
const LONGEST_BUSY: u32 = 3_600;

pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new().route("/order/new", get(new)).route("/order/review", get(review)).with_state(Arc::clone(shared))
}

/// The parameters of both pages, as they came.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    market: Option<String>,
    sku: String,
    quantity: String,
    key: String,
    busy: String,
    used: String,
}

impl Asked {
    fn sku(&self) -> Result<Sku, Problem> {
        self.sku.parse().map_err(|error| wrong(format!("the parameter sku: {error}")))
    }

    fn quantity(&self) -> Result<u32, Problem> {
        let units = if self.quantity.is_empty() { Ok(1) } else { self.quantity.parse::<u32>() };
        let quantity = units.ok().and_then(|units| Quantity::try_from(units).ok());
        let range = || wrong(format!("the parameter quantity must be a whole number from 1 to {}", Quantity::MAX));
        quantity.map(Quantity::get).ok_or_else(range)
    }

    fn key(&self) -> Result<IdempotencyKey, Problem> {
        self.key.parse().map_err(|error| wrong(format!("the parameter key: {error}")))
    }

    fn refusal(&self) -> Option<Refusal> {
        if !self.used.is_empty() {
            return Some(Refusal::Used);
        }
        self.busy.parse().ok().map(|seconds: u32| Refusal::Busy(seconds.clamp(1, LONGEST_BUSY)))
    }
}

/// The query, unless it is none that can be read.
type Asking = Result<Query<Asked>, QueryRejection>;

async fn new(State(shared): State<Arc<Shared>>, asking: Asking, uri: Uri, headers: HeaderMap) -> Response {
    let lead_on = || {
        let asked = readable(asking)?;
        let (_, site) = shared.public.market(asked.market.as_deref(), &uri, &headers)?;
        Ok(site.review(&asked.sku()?, asked.quantity()?, &new_key()))
    };
    match lead_on() {
        Ok(location) => see_other(&location),
        Err(problem) => shared.public.problem(problem, &headers, Form::Html),
    }
}

async fn review(State(shared): State<Arc<Shared>>, asking: Asking, uri: Uri, headers: HeaderMap) -> Response {
    match look(&shared, asking, &uri, &headers).await {
        Ok(view) => private(&view.site, render::review(&view)),
        Err(problem) => shared.public.problem(problem, &headers, Form::Html),
    }
}

fn readable(asking: Asking) -> Result<Asked, Problem> {
    asking.map(|Query(asked)| asked).map_err(|error| wrong(error.body_text()))
}

async fn look(shared: &Shared, asking: Asking, uri: &Uri, headers: &HeaderMap) -> Result<ReviewView, Problem> {
    let asked = readable(asking)?;
    let (market, site) = shared.public.market(asked.market.as_deref(), uri, headers)?;
    let (sku, quantity, key) = (asked.sku()?, asked.quantity()?, asked.key()?);
    let (product, availability) = shared.public.product_now(market, &sku).await?;
    let band = availability.map_or(Band::Out, |availability| availability.band);
    let card = Card { sku, title: product.title, image: product.image, price: product.price, band };
    Ok(ReviewView { site: Arc::clone(site), card, quantity, key: key.to_string(), refusal: asked.refusal() })
}

/// 128 bits that nobody can guess: all keys of a market share one space.
fn new_key() -> String {
    // The thread's generator is a CSPRNG that the operating system seeds.
    let bits: u128 = rand::rng().random();
    format!("{bits:032x}")
}

fn wrong(detail: String) -> Problem {
    Problem::new(INVALID_QUERY, detail)
}

fn see_other(location: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A page with a key in it: nobody keeps it, and no other page learns its URL. Its origin is told, though: a browser that may not
/// say that posts its form with the origin `null`, which no key allows.
fn private(site: &Site, html: String) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "strict-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let mut response = html.into_response();
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::try_from(csp(site)) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
