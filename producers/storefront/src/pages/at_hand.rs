//! Pages that are fresh in this process's memory: answered without the router.
//!
//! What most of a spike asks for is one page. Its way through a router, a span, futures and their boxes costs more than all that is
//! done for the answer itself, and none of it is of use where nothing is waited for. So the server asks here first. Whatever is not
//! plainly one of these reads, or not fresh, goes the usual way, and so does everything that is wrong with a request: there is one
//! place that refuses.

use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;

use super::accept::{self, Form};
use super::answer::{self, Varies};
use super::query::Parameters;
use super::read::{List, Read};
use super::{Public, route};

/// A read, and what its route says of it.
type Found = (&'static str, Varies, Read);

impl Public {
    /// The answer to a `GET`, and its route: what that would answer, now.
    pub(crate) fn at_hand(&self, uri: &Uri, headers: &HeaderMap) -> Option<(&'static str, Response)> {
        let asked = Parameters::read(uri, &self.config).ok()?;
        let (route, varies, read) = self.found(uri.path(), &asked, headers)?;
        let market = self.markets.of(asked.market.as_deref(), uri, headers).ok()?;
        let served = self.pages.fresh(&read.key(&market.id, &self.edition), accept::encodings(headers))?;
        let form = Form::of_path(uri.path());
        let is_page = served.status().is_success();
        is_page.then(|| (route, answer::served(&served, headers, &self.lifetimes, (varies, form))))
    }

    fn found(&self, path: &str, asked: &Parameters, headers: &HeaderMap) -> Option<Found> {
        let by_encoding = |route, read| Some((route, Varies::ByEncoding, read));
        match path {
            "/" => return by_encoding(route::HOME, Read::Home),
            "/v1/products" => {
                let (collection, q) = (asked.collection().ok()?, asked.search(&self.config).ok()?);
                return by_encoding(route::PRODUCTS, Read::List(List { collection, q, after: asked.page().ok()? }));
            }
            _ => {}
        }
        let (folder, name) = path.rsplit_once('/')?;
        // A name that is spelled otherwise is for the router to read.
        if name.contains('%') {
            return None;
        }
        match folder {
            "/v1/products" => by_encoding(route::PRODUCT, Read::Product(name.parse().ok()?)),
            "/products" => by_encoding(route::PRODUCT_PAGE, Read::ProductPage(name.parse().ok()?)),
            "/collections" => by_encoding(route::COLLECTION, Read::Collection(name.parse().ok()?, asked.page().ok()?)),
            "/v1/stock" if !headers.contains_key(header::AUTHORIZATION) => {
                Some((route::STOCK, Varies::ByKey, Read::Stock(name.parse().ok()?)))
            }
            _ => None,
        }
    }
}
