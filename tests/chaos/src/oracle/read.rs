//! Rows, as a stranger reads them.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use store::{Database, Databases, bind};
use uuid::Uuid;

/// Ids in one statement.
const CHUNK: usize = 5_000;

/// The rows of a statement.
pub(super) async fn rows(
    database: &Database,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    database.read().query_all_raw(database.statement(sql, values)).await
}

/// The state of each of these orders that has a row.
pub(super) async fn states(databases: &Databases, ids: &[Uuid]) -> Result<HashMap<Uuid, String>, DbErr> {
    let mut states = HashMap::with_capacity(ids.len());
    for database in databases.databases() {
        for ids in ids.chunks(CHUNK) {
            let ids: [Value; 1] = [bind::uuids(ids.iter().copied())];
            for row in rows(database, "SELECT id, state FROM orders WHERE id = ANY($1)", ids).await? {
                states.insert(row.try_get("", "id")?, row.try_get("", "state")?);
            }
        }
    }
    Ok(states)
}

/// Whether somebody has decided about an order in this state for good.
pub(super) fn is_end(state: Option<&String>) -> bool {
    matches!(state.map(String::as_str), Some("confirmed" | "rejected" | "released"))
}
