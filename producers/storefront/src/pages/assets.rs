//! `/assets/{name}`: files that are named by their content, so that a name's answer may be kept for ever.
//!
//! A page that was rendered before a release names files of before it, while it is kept; and while a release is rolled out, a page
//! and its files may come from processes on either side of it. So a name with another hash is answered with the file that is
//! there, for a short time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use cache::Encoding;

use super::accept::{self, Form};
use super::{Segment, problems};
use crate::run::Shared;
use crate::shop::assets::{self, Asset};

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const FOR_NOW: &str = "public, max-age=60";

pub(super) async fn asset(State(shared): State<Arc<Shared>>, segment: Segment, headers: HeaderMap) -> Response {
    let name = segment.map(|Path(name)| name).unwrap_or_default();
    let exact = assets::find(&name).map(|asset| (asset, FOR_EVER));
    match exact.or_else(|| Some((another_edition(&name)?, FOR_NOW))) {
        Some((asset, kept)) => answer(asset, kept, &headers),
        None => shared.public.problem(problems::missing("file"), &headers, Form::Html),
    }
}

/// The file of which `shop-0123456789abcdef.css` is, or was, a name.
fn another_edition(name: &str) -> Option<&'static Asset> {
    let (stem, hash_and_kind) = name.rsplit_once('-')?;
    let (_, kind) = hash_and_kind.split_once('.')?;
    let url = assets::url(&format!("{stem}.{kind}"));
    if url.is_empty() { None } else { assets::find(url) }
}

fn answer(asset: &'static Asset, kept: &'static str, request: &HeaderMap) -> Response {
    let accepted = accept::encodings(request);
    let (body, encoding) = if accepted.brotli {
        (asset.brotli, Encoding::Brotli)
    } else if accepted.gzip {
        (asset.gzip, Encoding::Gzip)
    } else {
        (asset.body, Encoding::Identity)
    };
    let etag = etag(asset.etag, encoding);
    let is_held = accept::joined(request, &header::IF_NONE_MATCH).is_some_and(|held| accept::names(&held, &etag));
    let mut response = Response::new(if is_held { Body::empty() } else { Body::from(body) });
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    if is_held {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(encoding) = encoding.header() {
        headers.insert(header::CONTENT_ENCODING, encoding);
    }
    response
}

/// The validator of the file in one encoding: strong, so each has its own.
fn etag(identity: &str, encoding: Encoding) -> String {
    let suffix = match encoding {
        Encoding::Identity => return identity.to_owned(),
        Encoding::Gzip => "-gzip",
        Encoding::Brotli => "-br",
    };
    format!("\"{}{suffix}\"", identity.trim_matches('"'))
}
