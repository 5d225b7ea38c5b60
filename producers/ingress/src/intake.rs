//! What both kinds of request have in common: the media type, the body, the trace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use service::{Problem, kinds};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::publish::{full, starting};

/// What bodies may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// `application/json`, or nothing.
    Json,
    /// Also `text/plain`: what `navigator.sendBeacon` sends to avoid a preflight.
    JsonOrText,
}

/// Reads a body; `limit` counts bytes after decompression (the router's layer decompresses as it is read, so a
/// compressed bomb stops here too).
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    media: Media,
    limit: usize,
    time: Duration,
) -> Result<Bytes, Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(unsupported("the Content-Encoding must be gzip or none"));
    }
    check_media(headers, media)?;
    service::body::read(headers, body, limit, time).await
}

/// Refuses what comes before the queues are there: a confirm from a broker without them would be of a message that nobody
/// keeps.
pub(crate) fn started(declared: &AtomicBool, again: &str) -> Result<(), Problem> {
    if declared.load(Ordering::Acquire) { Ok(()) } else { Err(starting(again)) }
}

/// A place among what is in flight. Taken once the body is there: a body may take as long as `body_timeout_ms`, and a few
/// hundred slow ones would close the intake for everybody. Bodies on their way are bounded by the server's connections.
pub(crate) fn slot(slots: &Arc<Semaphore>, what: &str, again: &str) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(slots).try_acquire_owned().map_err(|_| full(what, again))
}

/// Looks before the body is read whether a place is free now: where none is, nobody uploads for nothing.
pub(crate) fn room(slots: &Semaphore, what: &str, again: &str) -> Result<(), Problem> {
    if slots.available_permits() == 0 { Err(full(what, again)) } else { Ok(()) }
}

fn check_media(headers: &HeaderMap, media: Media) -> Result<(), Problem> {
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
