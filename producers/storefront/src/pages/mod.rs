//! What everybody may read, rendered once and kept: products, lists and availability, for programs and for people.
//!
//! | route | what |
//! |---|---|
//! | `GET /v1/products/{sku}` | a product with its price, its version for `If-Match`, and whether it is there |
//! | `GET /v1/products?collection=&q=&page=` | products by title; `next` of the answer, and `Link: …; rel="next"`, lead on |
//! | `GET /v1/stock/{sku}` | `in`, `low` or `out` for whoever comes without a key |
//! | `GET /`, `/collections/{name}`, `/products/{sku}` | pages for people, by [`crate::shop`] |
//! | `GET /orders/{id}?t=` | an order's own page: kept by nobody |
//! | `GET /assets/{name}` | files that are named by their content: kept for ever |
//!
//! # Decisions
//! - **The market is in the URL**: `?market=ID`, else the host ([`Host`](crate::Host)), else the one that is configured
//!   ([`market`]). Where the visitor is decides nothing, so any cache between keeps one answer for one URL.
//! - **A path has one form**: `/v1/…` is for programs, the others are for people. Only what went wrong is told by `Accept`.
//! - **One answer for everybody.** No cookie is read or set, and no key changes a public answer; the one path that has both, stock,
//!   says `Vary: Authorization`.
//! - **Canonical keys.** Parameters that a path does not know, their order, case and blanks of a search make no new page.
//! - **No number of units** is told without a key: a band, and no version that counts sales.
//! - **What is rendered is as new as the last purge**: read from the primary, or a replica that has passed its position. A list of
//!   a lagging replica would be kept as new, and hide the change for its whole life.
//!
//! What is fresh in this process's memory is answered before the router is asked: [`at_hand`].
//!
//! # Isolation
//! Renders read within a [`room`] of their database: bounded, with time-outs of their own, and of the primary's connections for
//! reads half at most. The status of orders and changes of stock have other permits. Searches, which cost the most and which
//! anybody can make up, have a share of that room and leave the other pages theirs. While a database hangs, its pages are served
//! from the cache within their bounds, and a reader without one waits for one time-out at most. A flood of other URLs meets the
//! caps of [`cache::Pages`]: its bytes, renders and waits.

mod accept;
mod answer;
mod assets;
mod at_hand;
mod html;
mod json;
pub(crate) mod market;
mod people;
mod problems;
mod query;
mod read;
mod render;
mod room;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use cache::{Encodings, PageError, PageKey, Pages, Served};
use model::{MarketId, RegionName, Sku};
use service::{Problem, Tasks};
use store::Databases;
use store::catalogue::{self, Availability};

use crate::config::{Config, PublicReads};
use crate::run::Shared;
use crate::shop::{Site, Sites};
pub(crate) use accept::Form;
pub(crate) use problems::INVALID_QUERY;

use answer::{Lifetimes, Varies};
use market::{Market, Markets};
use query::Parameters;
use read::{List, Read};

/// What public reads share.
#[derive(Debug)]
pub(crate) struct Public {
    pages: Arc<Pages>,
    markets: Markets,
    lifetimes: Lifetimes,
    sites: Sites,
    /// Which release and files, and which settings, made the pages of this process.
    edition: String,
    config: PublicReads,
}

impl Public {
    pub(crate) fn new(
        config: &Config,
        pages: Arc<Pages>,
        markets: &BTreeMap<MarketId, RegionName>,
        databases: &Databases,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let ids: Vec<&MarketId> = markets.keys().collect();
        let markets = Markets::new(markets.iter(), databases, &config.pages, tasks);
        let sites = Sites::new(&config.shop, ids.iter().copied(), |market| markets.has_to_be_named(market));
        Arc::new(Self {
            pages,
            edition: edition(config, &ids),
            sites,
            markets,
            lifetimes: Lifetimes::new(&config.pages),
            config: config.pages.clone(),
        })
    }

    /// The market of a request, and what its pages share; `named` is the parameter `market`.
    ///
    /// # Errors
    /// 400 where there is none.
    pub(crate) fn market(
        &self,
        named: Option<&str>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(&Arc<Market>, &Arc<Site>), Problem> {
        let market = self.markets.of(named, uri, headers)?;
        Ok((market, self.sites.of(&market.id)))
    }

    /// A product as it is now, for a page that nobody keeps; read in the market's room as renders are.
    ///
    /// # Errors
    /// 404 where there is none, 503 where it can't be read.
    pub(crate) async fn product_now(
        &self,
        market: &Market,
        sku: &Sku,
    ) -> Result<(catalogue::Product, Option<Availability>), Problem> {
        let reading = render::product(market.region.clone(), sku.clone());
        let read = market.room.read(reading).await.map_err(|error| problems::unread(&error))?;
        read.ok_or_else(|| problems::missing("product"))
    }

    /// A problem as JSON or as a page, whichever the client asks for; `native` where it does not mind.
    pub(crate) fn problem(&self, problem: Problem, headers: &HeaderMap, native: Form) -> Response {
        problems::answer(problem, headers, native, self.sites.of_none())
    }

    /// A fault of the server itself, whatever was asked for; it names no market, and is a page for whoever asks for one alone.
    pub(crate) fn fault(&self, problem: Problem, headers: &HeaderMap) -> Response {
        problems::in_form(problem, headers, Form::Json, self.sites.of_none())
    }

    /// From the cache, or rendered.
    async fn read(self: &Arc<Self>, market: &Arc<Market>, read: Read, accept: Encodings) -> Result<Served, PageError> {
        let key = read.key(&market.id, &self.edition);
        if let Some(served) = self.pages.fresh(&key, accept) {
            return Ok(served);
        }
        let tags = read.tags(&market.region.name);
        let (public, market) = (Arc::clone(self), Arc::clone(market));
        self.pages.get_or_render(&key, &tags, accept, move || read.render(market, public)).await
    }

    /// Has pages of this process looked after as if somebody read them, each in turn; nobody waits for their renders.
    pub(crate) async fn refresh(self: &Arc<Self>, keys: &[PageKey]) {
        for key in keys {
            let Some((market, read)) = Read::of_key(key) else { continue };
            if let Some(market) = self.markets.get(market)
                && read.key(&market.id, &self.edition) == *key
            {
                // What failed is tried again by the next reader.
                let _ = self.read(market, read, Encodings::NONE).await;
            }
        }
    }

    /// The answer to a `GET` of `uri`; `read` says what its parameters ask for.
    async fn answer(
        self: &Arc<Self>,
        uri: &Uri,
        headers: &HeaderMap,
        varies: Varies,
        read: impl FnOnce(&Parameters) -> Result<Read, Problem>,
    ) -> Response {
        let form = Form::of_path(uri.path());
        let asked = Parameters::read(uri, &self.config).and_then(|parameters| {
            let market = self.markets.of(parameters.market.as_deref(), uri, headers)?;
            Ok((market, read(&parameters)?))
        });
        let (market, read) = match asked {
            Ok(asked) => asked,
            Err(problem) => return self.problem(problem, headers, form),
        };
        let noun = read.noun();
        match self.read(market, read, accept::encodings(headers)).await {
            Ok(served) if served.status().is_success() => {
                answer::served(&served, headers, &self.lifetimes, (varies, form))
            }
            Ok(served) => {
                let page = problems::answer(problems::missing(noun), headers, form, self.sites.of(&market.id));
                answer::missing(page, &served, &self.lifetimes, varies)
            }
            Err(error) => self.problem(problems::unrendered(&error), headers, form),
        }
    }
}

/// The routes of public reads.
pub(crate) mod route {
    pub(crate) const HOME: &str = "/";
    pub(crate) const COLLECTION: &str = "/collections/{name}";
    pub(crate) const PRODUCT_PAGE: &str = "/products/{sku}";
    pub(crate) const PRODUCTS: &str = "/v1/products";
    pub(crate) const PRODUCT: &str = "/v1/products/{sku}";
    /// With a key it is no public one.
    pub(crate) const STOCK: &str = "/v1/stock/{sku}";
}

/// Routes of what everybody may read.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(route::PRODUCTS, get(list).fallback(problems::method_not_allowed))
        .route(route::PRODUCT, get(product).fallback(problems::method_not_allowed))
        .with_state(Arc::clone(shared))
        .merge(people::routes(shared))
}

/// What tells this process's pages for people from those that an older or a newer one made. The same on all replicas of a release.
fn edition(config: &Config, markets: &[&MarketId]) -> String {
    let Config { shop, pages: PublicReads { market, hosts, page_size, .. }, .. } = config;
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    // Which markets there are, and which is whose, is in every link.
    format!("{shop:?} {market:?} {hosts:?} {page_size} {markets:?}").hash(&mut hasher);
    for asset in crate::shop::assets::urls() {
        asset.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// A segment of the path, unless it is no UTF-8.
type Segment = Result<Path<String>, PathRejection>;

/// A SKU that none can have is one that is not there.
fn sku(segment: Segment) -> Result<Sku, Problem> {
    let sku = segment.ok().and_then(|Path(sku)| sku.parse().ok());
    sku.ok_or_else(|| problems::missing("product"))
}

async fn product(State(shared): State<Arc<Shared>>, segment: Segment, uri: Uri, headers: HeaderMap) -> Response {
    let read = |_: &Parameters| sku(segment).map(Read::Product);
    shared.public.answer(&uri, &headers, Varies::ByEncoding, read).await
}

async fn list(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let config = &shared.public.config;
    let read = |asked: &Parameters| {
        Ok(Read::List(List { collection: asked.collection()?, q: asked.search(config)?, after: asked.page()? }))
    };
    shared.public.answer(&uri, &headers, Varies::ByEncoding, read).await
}

/// `GET /v1/stock/{sku}` of whoever comes without a key.
pub(crate) async fn stock(shared: &Shared, segment: &str, uri: &Uri, headers: &HeaderMap) -> Response {
    let read = |_: &Parameters| segment.parse().map(Read::Stock).map_err(|_| problems::missing("product"));
    shared.public.answer(uri, headers, Varies::ByKey, read).await
}
