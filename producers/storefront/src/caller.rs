//! Who asks for a change, and what every change has in common.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use model::MarketId;
use service::keys::{self, KeyKind, Scope};
use service::{Kind, Problem, kinds};
use store::{Fault, Region};

use crate::run::Shared;

const KEY_REUSED: Kind = Kind::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "idempotency_conflict",
    "This Idempotency-Key was used for another change",
);
const UNAVAILABLE: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", "The change can't be made right now");
const UNKNOWN: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", "Whether the change was made is not known");

/// The market that asks, and where its data are.
pub(crate) struct Caller {
    pub(crate) market: MarketId,
    pub(crate) region: Region,
}

impl Caller {
    /// The market of a server key that may do this.
    pub(crate) fn of(shared: &Shared, headers: &HeaderMap, scope: Scope) -> Result<Self, Problem> {
        let plain = keys::from_header(headers)?;
        let key = keys::check(&shared.keys, &*shared.clock, plain.as_deref(), scope, headers)?;
        if key.kind != KeyKind::Server {
            let detail = format!("the API key {:?} is a browser's: this takes a server key", key.name);
            return Err(keys::forbidden(detail));
        }
        let region = shared.regions.get(&key.market).cloned().ok_or_else(|| {
            let market = &key.market;
            keys::forbidden(format!(
                "the API key {:?} is for the market {market}, which is not configured here",
                key.name
            ))
        })?;
        Ok(Self { market: key.market.clone(), region })
    }
}

/// Another transaction was in the way: the same again may pass.
pub(crate) fn is_contention(error: &sea_orm::DbErr) -> bool {
    matches!(Fault::classify(error), Fault::Contention(_))
}

/// The database did not take it, or nobody knows whether it did; `again` says why it is safe to send once more.
pub(crate) fn failed(fault: &Fault, again: &str) -> Problem {
    match fault {
        Fault::Poison(_) => {
            tracing::error!(error = %fault, "a change that passed every check can't be stored");
            broken()
        }
        Fault::Contention(_) => {
            Problem::new(UNAVAILABLE, format!("others change the same just now; {again}")).retry_after(1)
        }
        Fault::Infrastructure(_) => {
            tracing::warn!(error = %fault, "a change was not made, or its outcome is not known");
            Problem::new(UNAVAILABLE, format!("the market's database does not take it now; {again}")).retry_after(2)
        }
    }
}

/// It may still be made.
pub(crate) fn too_slow(again: &str) -> Problem {
    Problem::new(UNKNOWN, format!("the market's database did not answer in time; {again}")).retry_after(2)
}

/// The key was used for something else.
pub(crate) fn key_reused() -> Problem {
    let detail =
        "this market made another change under this Idempotency-Key, and that one stands. A new change needs a new key";
    Problem::new(KEY_REUSED, detail)
}

/// A task of a change panicked, or stored data are not what they should be: it was logged.
pub(crate) fn broken() -> Problem {
    Problem::new(kinds::INTERNAL, "this is a fault of the server; it was logged with the request's id")
}

/// What answers a change is nobody's to keep.
pub(crate) fn private(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
