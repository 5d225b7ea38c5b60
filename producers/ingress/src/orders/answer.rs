//! The 202.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use model::OrderId;
use serde::Serialize;
use service::idempotency::REPLAYED;

use super::Placed;
use crate::run::Shared;

#[derive(Serialize)]
struct Body<'a> {
    order_id: OrderId,
    status: &'a str,
    accepted_at: DateTime<Utc>,
    status_url: &'a str,
    /// How long the outcome is likely to take, seconds; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    wait_s: Option<u32>,
}

/// Says that the order is taken, where its status is read, and whether it was taken before.
pub(super) fn accepted(shared: &Shared, placed: &Placed) -> Response {
    let Placed { order_id, accepted, wait_s } = placed;
    let token = placed.token(&shared.token_key);
    let status_url = format!("{}/v1/orders/{order_id}?t={token}", shared.public_url());
    let accepted_at = accepted.order.accepted_at;
    let body = Body { order_id: *order_id, status: "queued", accepted_at, status_url: &status_url, wait_s: *wait_s };
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
