//! The 202.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use model::{OrderId, StatusToken};
use serde::Serialize;
use service::idempotency::REPLAYED;

use super::recent::Accepted;
use crate::run::Shared;

#[derive(Serialize)]
struct Body<'a> {
    order_id: OrderId,
    status: &'a str,
    accepted_at: DateTime<Utc>,
    status_url: &'a str,
}

/// Says that the order is taken, where its status is read, and whether it was taken before.
pub(super) fn accepted(shared: &Shared, order_id: OrderId, accepted: &Accepted) -> Response {
    let token =
        StatusToken { order_id, fingerprint: accepted.order.fingerprint, accepted_at: accepted.order.accepted_at }
            .sign(&shared.token_key);
    let base = shared.config.public_url.trim_end_matches('/');
    let status_url = format!("{base}/v1/orders/{order_id}?t={token}");
    let body = Body { order_id, status: "queued", accepted_at: accepted.order.accepted_at, status_url: &status_url };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(location) = HeaderValue::from_str(&status_url) {
        headers.insert(header::LOCATION, location);
    }
    if accepted.replayed {
        headers.insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
