//! Answers of the routes of stock.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use service::idempotency::REPLAYED;
use service::{Kind, Problem};
use store::stock::{Done, Refusal, StockAnswer};

use super::Of;
use crate::caller::private;
use crate::condition::put_version;

/// What every 503 says.
pub(super) const AGAIN: &str = "send it again with the same Idempotency-Key: it is made once at most";

const PRECONDITION_FAILED: Kind =
    Kind::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "The stock is not what this change was made for");

/// The change is committed. That of a row of stock has a version, which the next one may name.
pub(super) fn done(done: Done, of: Of) -> Response {
    let version = done.answer["version"].as_i64().filter(|_| of == Of::Stock);
    let mut response = private(Json(done.answer).into_response());
    if let Some(version) = version {
        put_version(response.headers_mut(), version);
    }
    if done.replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Whoever comes without a key gets another answer at the same URL.
pub(super) fn stock(stock: &StockAnswer) -> Response {
    let mut response = private(Json(stock).into_response());
    put_version(response.headers_mut(), stock.version);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("authorization"));
    response
}

/// It was made for another version of the row, and so not made.
pub(super) fn precondition_failed(current: Option<i64>) -> Response {
    let detail = match current {
        Some(version) => format!(
            "the stock is in version {version} now, which may be a sale's: look at it, and send the change with If-Match: \
             \"{version}\""
        ),
        None => "there is no such stock in this market: If-None-Match: * begins it".to_owned(),
    };
    let mut response = Problem::new(PRECONDITION_FAILED, detail).into_response();
    if let Some(version) = current {
        put_version(response.headers_mut(), version);
    }
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
