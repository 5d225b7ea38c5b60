//! Rows, as a stranger reads them.

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use store::Database;

/// The rows of a statement.
pub(super) async fn rows(
    database: &Database,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    database.read().query_all_raw(database.statement(sql, values)).await
}
