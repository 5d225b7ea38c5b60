//! What can go wrong, over HTTP.

use axum::http::StatusCode;
use sea_orm::DbErr;
use service::{Kind, Problem};
use store::Database;

/// A parameter or a body that can't be meant.
pub(crate) const INVALID: Kind = Kind::new(StatusCode::BAD_REQUEST, "invalid_request", "The request can't be meant so");
/// No queue, database or order by this name.
pub(crate) const UNKNOWN_NAME: Kind = Kind::new(StatusCode::NOT_FOUND, "unknown_name", "There is nothing of this name");
/// A database that an action needs does not answer, or refuses.
pub(crate) const DATABASE_AWAY: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "database_away", "A database does not answer");

/// The answer where `database` failed at an action: it was not done, or (a connection lost at the commit) is not known to
/// be; every action may be repeated.
pub(crate) fn away(database: &Database, error: &DbErr) -> Problem {
    tracing::warn!(store.database = database.name(), %error, "an operator's request failed at its database");
    let detail = format!(
        "the database {} can't do it now ({}); look with `millpond doctor`, and repeat the request",
        database.name(),
        store::Fault::classify(error)
    );
    Problem::new(DATABASE_AWAY, detail).retry_after(2)
}

/// The answer where `database` took too long.
pub(crate) fn slow(database: &Database, limit: std::time::Duration) -> Problem {
    let detail = format!("the database {} did not answer within {} ms", database.name(), limit.as_millis());
    Problem::new(DATABASE_AWAY, detail).retry_after(2)
}
