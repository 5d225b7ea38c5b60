//! Answers of the routes of stock.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use service::idempotency::REPLAYED;
use service::{Kind, Problem, kinds};
use store::Fault;
use store::stock::{Done, Refusal, StockAnswer};

const KEY_REUSED: Kind = Kind::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "idempotency_conflict",
    "This Idempotency-Key was used for another change",
);
const UNAVAILABLE: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "The change can't be made right now");
const UNKNOWN: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "Whether the change was made is not known");

/// What every 503 says.
const AGAIN: &str = "send it again with the same Idempotency-Key: it is made once at most";

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

fn private(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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

pub(super) fn key_reused() -> Problem {
    let detail =
        "this market made another change under this Idempotency-Key, and that one stands. A new change needs a new key";
    Problem::new(KEY_REUSED, detail)
}

/// The database did not take it, or nobody knows whether it did.
pub(super) fn failed(fault: &Fault) -> Problem {
    match fault {
        Fault::Poison(_) => {
            tracing::error!(error = %fault, "a change of stock that passed every check can't be stored");
            broken()
        }
        Fault::Contention(_) => {
            Problem::new(UNAVAILABLE, format!("others change the same stock or order just now; {AGAIN}")).retry_after(1)
        }
        Fault::Infrastructure(_) => {
            tracing::warn!(error = %fault, "a change of stock was not made, or its outcome is not known");
            Problem::new(UNAVAILABLE, format!("the market's database does not take it now; {AGAIN}")).retry_after(2)
        }
    }
}

pub(super) fn too_slow() -> Problem {
    Problem::new(UNKNOWN, format!("the market's database did not answer in time; {AGAIN}")).retry_after(2)
}

pub(super) fn broken() -> Problem {
    Problem::new(kinds::INTERNAL, "this is a fault of the server; it was logged with the request's id")
}
