//! What the tests render.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::{PageKey, Rendered, Tag};

pub(super) fn tag(sku: &str) -> Tag {
    Tag::product(&"eu".parse().unwrap(), &sku.parse().unwrap())
}

pub(super) fn key(sku: &str) -> PageKey {
    PageKey::new(&format!("page:eu:/p/{sku}"))
}

pub(super) fn html(body: &str, tags: &[Tag]) -> Rendered {
    Rendered {
        status: StatusCode::OK,
        content_type: HeaderValue::from_static("text/html; charset=utf-8"),
        headers: vec![],
        body: Bytes::copy_from_slice(body.as_bytes()),
        tags: tags.to_vec(),
    }
}
