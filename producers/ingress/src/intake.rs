//! What both kinds of request have in common: the media type, the body, the trace.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use service::{Problem, kinds};

/// What bodies may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, or nothing.
    Json,
    /// Also `text/plain`: what `navigator.sendBeacon` sends to avoid a preflight.
    JsonOrText,
    /// `application/x-www-form-urlencoded`, which the caller has looked at already.
    Form,
}

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) media: Media,
    /// Bytes after decompression (the router's layer decompresses as it is read, so a compressed bomb stops here too).
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

/// Reads a body, asking `reserve` for room for each piece.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
    reserve: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(unsupported("the Content-Encoding must be gzip or none"));
    }
    check_media(headers, limits.media)?;
    service::body::read_reserving(headers, body, limits.bytes, limits.time, reserve).await
}

fn check_media(headers: &HeaderMap, media: Media) -> Result<(), Problem> {
    if media == Media::Form {
        return Ok(());
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    let is_json = essence.eq_ignore_ascii_case("application/json")
        || essence.get(essence.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    let is_text = media == Media::JsonOrText && essence.eq_ignore_ascii_case("text/plain");
    if is_json || is_text { Ok(()) } else { Err(unsupported("send `Content-Type: application/json`")) }
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE, detail)
}

pub(crate) fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(kinds::NOT_JSON, format!("the body is not JSON: {error}"))
}

/// The request's W3C Trace Context (version 00), where it has a valid one; anything else is not worth an error.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = value.split('-');
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let valid = parts.next() == Some("00")
        && hex(parts.next(), 32)
        && hex(parts.next(), 16)
        && hex(parts.next(), 2)
        && parts.next().is_none();
    valid.then(|| value.to_owned())
}
