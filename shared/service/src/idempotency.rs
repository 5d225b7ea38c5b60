//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): what makes a request safe to send again.

use axum::http::{HeaderMap, HeaderName, StatusCode};
use model::IdempotencyKey;

use crate::problem::{Kind, Problem};

/// No, or no usable, `Idempotency-Key`.
pub const KEY_REQUIRED: Kind =
    Kind::new(StatusCode::BAD_REQUEST, "idempotency_key_required", "This request needs an Idempotency-Key header");

/// Says, with the value `true`, that the answer is that of an earlier request.
pub static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The request's key; `what` is what one is chosen for, as in "a key per order".
///
/// # Errors
/// 400 where there is none, more than one, or one that is no key.
pub fn key(headers: &HeaderMap, what: &str) -> Result<IdempotencyKey, Problem> {
    let problem = |detail: String| Problem::new(KEY_REQUIRED, detail);
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Err(problem(format!(
            "the Idempotency-Key header is missing: choose a key per {what} that nobody can guess (a UUID, not a number \
             that counts up) and send the same one with every retry"
        )));
    };
    if values.next().is_some() {
        return Err(problem("there is more than one Idempotency-Key header".to_owned()));
    }
    let text = value
        .to_str()
        .map_err(|_| problem("an Idempotency-Key must consist of printable ASCII characters".to_owned()))?;
    IdempotencyKey::from_header(text).map_err(|error| problem(error.to_string()))
}
