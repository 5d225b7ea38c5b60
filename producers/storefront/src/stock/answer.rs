//! Answers of the routes of stock.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use service::idempotency::REPLAYED;
use service::{Kind, Problem};
use store::stock::{Done, Refusal, StockAnswer};

use crate::caller::private;

/// What every 503 says.
pub(super) const AGAIN: &str = "send it again with the same Idempotency-Key: it is made once at most";

/// The change is committed.
pub(super) fn done(done: Done) -> Response {
    let mut response = private(Json(done.answer).into_response());
    if done.replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Whoever comes without a key gets another answer at the same URL.
pub(super) fn stock(stock: &StockAnswer) -> Response {
    let mut response = private(Json(stock).into_response());
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization"));
    response
}

/// It may not be made, and never was.
pub(super) fn refused(refusal: &Refusal) -> Problem {
    let kind = if refusal.is_unknown() {
        Kind::new(StatusCode::NOT_FOUND, refusal.code(), "There is no such thing in this market")
    } else {
        Kind::new(StatusCode::CONFLICT, refusal.code(), "The change does not fit what there is")
    };
    Problem::new(kind, refusal.to_string())
}
