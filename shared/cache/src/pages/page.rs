//! What is rendered, kept and served.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::encoding::{Encoding, Encodings};
use crate::tags::Tag;

/// What a render made.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// 200, 301 and 308 are kept, 404 and 410 for a short while; anything else is given to those who wait for it and
    /// forgotten.
    pub status: StatusCode,
    /// The value of `Content-Type`.
    pub content_type: HeaderValue,
    /// Other headers that belong to the page itself (`Surrogate-Key`, `Link`, `Location` …), sent as they are. Not those
    /// of this cache: `ETag`, `Content-Encoding`, `Content-Length`, `Age`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, not encoded.
    pub body: Bytes,
    /// Everything it was rendered from, with or without the tags that were known before.
    pub tags: Vec<Tag>,
}

/// A page with its bodies, one for each encoding that makes it smaller.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) content_type: HeaderValue,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) tags: Vec<Tag>,
    pub(crate) identity: Body,
    pub(crate) gzip: Option<Body>,
    pub(crate) brotli: Option<Body>,
}

/// A body in one encoding, with the strong validator of these very bytes.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    pub(crate) etag: HeaderValue,
}

impl Body {
    /// The validator is half a BLAKE3 of the bytes, so that all replicas and restarts give the same. The bytes are copied: what
    /// they were written into has up to twice their size, and a cache that is bounded by their length would take that.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let bytes = Bytes::copy_from_slice(bytes);
        let hash = blake3::hash(&bytes).to_hex();
        let etag = format!("\"{}\"", &hash[..32]);
        Self { bytes, etag: HeaderValue::try_from(etag).unwrap_or_else(|_| HeaderValue::from_static("\"\"")) }
    }
}

impl Page {
    /// The best body for a client that takes `accept`.
    pub(crate) fn encoding(&self, accept: Encodings) -> Encoding {
        if accept.brotli && self.brotli.is_some() {
            Encoding::Brotli
        } else if accept.gzip && self.gzip.is_some() {
            Encoding::Gzip
        } else {
            Encoding::Identity
        }
    }

    pub(crate) fn body(&self, encoding: Encoding) -> &Body {
        match encoding {
            Encoding::Identity => &self.identity,
            Encoding::Gzip => self.gzip.as_ref().unwrap_or(&self.identity),
            Encoding::Brotli => self.brotli.as_ref().unwrap_or(&self.identity),
        }
    }
}

pub(crate) fn is_missing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Whether an answer with this status says something of the page that holds for the next reader too.
pub(crate) fn is_kept(status: StatusCode) -> bool {
    let lasting = [StatusCode::OK, StatusCode::MOVED_PERMANENTLY, StatusCode::PERMANENT_REDIRECT];
    lasting.contains(&status) || is_missing(status)
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Seen current within what is trusted, and nothing was awaited.
    Fresh,
    /// Not seen current for longer than that, within the bound; a newer one is on its way.
    Stale,
    /// It could not be looked after (a render failed, ran out of time, was refused): the one before, within its bound.
    Fallback,
    /// This reader waited for it to be rendered or found.
    Awaited,
}

/// An answer for one reader.
#[derive(Debug, Clone)]
pub struct Served {
    pub(crate) page: Arc<Page>,
    pub(crate) encoding: Encoding,
    pub(crate) age: Duration,
    pub(crate) freshness: Freshness,
}

impl Served {
    /// The page's status.
    pub fn status(&self) -> StatusCode {
        self.page.status
    }

    /// The value of `Content-Type`.
    pub fn content_type(&self) -> &HeaderValue {
        &self.page.content_type
    }

    /// The other headers of the render.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.page.headers
    }

    /// What it was rendered from.
    pub fn tags(&self) -> &[Tag] {
        &self.page.tags
    }

    /// How the body is encoded. An answer depends on `Accept-Encoding`: say so in `Vary`, whatever this is.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The body, encoded; shared with the cache, so that it costs nothing.
    pub fn body(&self) -> &Bytes {
        &self.page.body(self.encoding).bytes
    }

    /// The strong validator of this body in this encoding, with its quotes: the value of `ETag`.
    pub fn etag(&self) -> &HeaderValue {
        &self.page.body(self.encoding).etag
    }

    /// Time since its render began: the value of `Age` in whole seconds.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Where it came from.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Whether a client with this `If-None-Match` has this body already: a 304 (RFC 9110, section 13.1.2: compared weakly).
    /// Fields that came several times are joined by commas.
    pub fn is_held(&self, if_none_match: &str) -> bool {
        let etag = self.etag().as_bytes();
        if_none_match
            .split(',')
            .map(str::trim)
            .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate).as_bytes() == etag)
    }
}

/// Why there is no page. Nothing that is still within its bound could be served either.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PageError {
    /// The render failed.
    #[error("the page could not be rendered")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The render panicked.
    #[error("rendering the page panicked")]
    Panicked,
    /// The render, or waiting for it, took longer than it may.
    #[error("the page was not rendered in time")]
    TimedOut,
    /// As many pages as may are rendered or waited for already: a 503 that is safe to repeat.
    #[error("too many pages are rendered at once")]
    Overloaded,
}
