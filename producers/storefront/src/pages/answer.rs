//! From a page of the cache to an HTTP answer (RFC 9110, RFC 9111, RFC 5861): all semantics of caching are here.
//!
//! - The validator is strong, and one for each encoding; an answer says `Vary: Accept-Encoding` whatever its encoding is.
//! - `Age` counts from the page's render, so that `s-maxage` bounds how old a CDN's page may get however old it was when it was
//!   fetched. It is left out while it is 0.
//! - A page that may have been purged since it was last seen current is told to no cache as fresh.
//! - `Surrogate-Key` and `Cache-Tag` name the tags. A page whose tags do not fit could not be purged: no cache may keep it.
//! - No answer depends on a cookie or sets one.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use cache::{Freshness, Served, Tag};

use super::accept::{self, Form};
use crate::config::PublicReads;

/// What Fastly, and Varnish with `xkey`, purge by.
pub(super) const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// What Cloudflare purges by.
pub(super) const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// `Cache-Control` as it is configured.
#[derive(Debug)]
pub(crate) struct Lifetimes {
    page: HeaderValue,
    missing: HeaderValue,
    /// Of a page that was not seen current within its trust: it may be the one before a change.
    before: HeaderValue,
}

impl Lifetimes {
    pub(crate) fn new(config: &PublicReads) -> Self {
        let PublicReads { browser_max_age_s, stale_while_revalidate_s, stale_if_error_s, .. } = config;
        let value = |text: String| HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("no-store"));
        let of = |browser: u32, shared: u32| {
            value(format!(
                "public, max-age={browser}, s-maxage={shared}, stale-while-revalidate={stale_while_revalidate_s}, \
                 stale-if-error={stale_if_error_s}"
            ))
        };
        let browser = *browser_max_age_s;
        let missing = config.missing_max_age_s;
        let before = value(format!("public, max-age=0, s-maxage=0, stale-if-error={stale_if_error_s}"));
        Self { page: of(browser, config.shared_max_age_s), missing: of(browser.min(missing), missing), before }
    }

    fn of(&self, served: &Served) -> HeaderValue {
        if !served.headers().iter().any(|(name, _)| *name == SURROGATE_KEY) {
            return HeaderValue::from_static("no-cache");
        }
        // A CDN that was just purged asks at once, and would keep the page that everybody else sees for half a second more.
        if matches!(served.freshness(), Freshness::Stale | Freshness::Fallback) {
            return self.before.clone();
        }
        match served.status() {
            StatusCode::OK | StatusCode::MOVED_PERMANENTLY | StatusCode::PERMANENT_REDIRECT => self.page.clone(),
            StatusCode::NOT_FOUND | StatusCode::GONE => self.missing.clone(),
            _ => HeaderValue::from_static("no-store"),
        }
    }
}

/// What an answer depends on beside its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Varies {
    /// On the encoding alone.
    ByEncoding,
    /// Whoever comes with a key gets another view.
    ByKey,
}

impl Varies {
    fn header(self) -> HeaderValue {
        match self {
            Self::ByEncoding => HeaderValue::from_static("accept-encoding"),
            Self::ByKey => HeaderValue::from_static("accept-encoding, authorization"),
        }
    }
}

/// The answer of a `GET` with these headers; of a `HEAD`, too, whose body the router takes away.
pub(super) fn served(
    served: &Served,
    request: &HeaderMap,
    lifetimes: &Lifetimes,
    (varies, form): (Varies, Form),
) -> Response {
    let is_held = served.status() == StatusCode::OK
        && accept::joined(request, &header::IF_NONE_MATCH).is_some_and(|held| served.is_held(&held));
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.reserve(14);
    kept(headers, served, lifetimes);
    headers.insert(header::ETAG, served.etag().clone());
    headers.insert(header::VARY, varies.header());
    if form == Form::Json {
        open(headers);
    }
    let body = served.body();
    if is_held {
        // That of the body which the client has: a zero would speak of another one (RFC 9110, section 8.6).
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, served.content_type().clone());
    if let Some(encoding) = served.encoding().header() {
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    *response.status_mut() = served.status();
    *response.body_mut() = Body::from(body.clone());
    response
}

/// `page`, which says that there is nothing, with how long that may be believed.
pub(super) fn missing(mut page: Response, served: &Served, lifetimes: &Lifetimes, varies: Varies) -> Response {
    kept(page.headers_mut(), served, lifetimes);
    let vary = match varies {
        Varies::ByEncoding => "accept",
        Varies::ByKey => "accept, authorization",
    };
    page.headers_mut().insert(header::VARY, HeaderValue::from_static(vary));
    page
}

/// What caches are told of a page that is kept.
fn kept(headers: &mut HeaderMap, served: &Served, lifetimes: &Lifetimes) {
    headers.insert(header::CACHE_CONTROL, lifetimes.of(served));
    if let Some(age) = seconds(served.age()) {
        headers.insert(header::AGE, age);
    }
    for (name, value) in served.headers() {
        headers.insert(name.clone(), value.clone());
    }
}

/// Scripts of any site may read it, as anybody may.
pub(super) fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("link"));
}

fn seconds(age: Duration) -> Option<HeaderValue> {
    Some(age.as_secs()).filter(|seconds| *seconds > 0).map(HeaderValue::from)
}

/// `Surrogate-Key` and `Cache-Tag` for `tags`, and for what all pages are purged by at once; nothing where either has more than
/// `most` bytes.
pub(super) fn tag_headers(tags: &[Tag], most: usize) -> Vec<(HeaderName, HeaderValue)> {
    let everything = Tag::everything();
    let told: Vec<_> = tags.iter().chain([&everything]).map(Tag::in_header).collect();
    [(SURROGATE_KEY, " "), (CACHE_TAG, ",")]
        .into_iter()
        .map(|(name, between)| {
            let value = told.join(between);
            Some((name, HeaderValue::try_from(value).ok().filter(|value| value.len() <= most)?))
        })
        .collect::<Option<_>>()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> Vec<Tag> {
        let region = "eu".parse().unwrap();
        vec![Tag::product(&region, &"MUG/1".parse().unwrap()), Tag::collection(&region, "two words, größe")]
    }

    #[test]
    fn tags_are_told_to_either_kind_of_cdn_with_what_separates_them_escaped() {
        let headers = tag_headers(&tags(), 1_000);
        let expected = [
            ("surrogate-key", "product:eu:MUG/1 collection:eu:two%20words%2C%20gr%C3%B6%C3%9Fe millpond"),
            ("cache-tag", "product:eu:MUG/1,collection:eu:two%20words%2C%20gr%C3%B6%C3%9Fe,millpond"),
        ];
        for ((name, value), expected) in headers.iter().zip(expected) {
            assert_eq!((name.as_str(), value.to_str().unwrap()), expected);
        }
    }

    #[test]
    fn tags_that_do_not_fit_are_not_told_in_part() {
        let length = tag_headers(&tags(), 1_000)[0].1.len();
        assert_eq!(tag_headers(&tags(), length).len(), 2);
        assert_eq!(tag_headers(&tags(), length - 1), []);
        assert_eq!(tag_headers(&[], 10).len(), 2, "no tags are told as such");
    }

    #[test]
    fn what_is_not_there_is_kept_for_a_shorter_time() {
        let lifetimes = Lifetimes::new(&PublicReads { browser_max_age_s: 20, ..PublicReads::default() });
        let page = "public, max-age=20, s-maxage=60, stale-while-revalidate=10, stale-if-error=60";
        assert_eq!(lifetimes.page, page);
        let missing = "public, max-age=10, s-maxage=10, stale-while-revalidate=10, stale-if-error=60";
        assert_eq!(lifetimes.missing, missing);
    }
}
