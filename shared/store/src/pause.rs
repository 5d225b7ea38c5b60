//! Queues that operators have paused, as rows: a pause outlives every process. The rows of a queue are in one database,
//! which whoever pauses it and whoever takes from it agree on.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbErr};
use serde::Serialize;

use crate::database::{Database, Transaction};

/// A queue that is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Which.
    pub queue: String,
    /// By whom.
    pub paused_by: String,
    /// Why, where they said it.
    pub reason: Option<String>,
    /// Since when, by the database's clock.
    pub since: DateTime<Utc>,
}

/// Every pause that is written here.
///
/// # Errors
/// The database's.
pub async fn all(database: &Database) -> Result<Vec<Pause>, DbErr> {
    let sql = "SELECT queue, paused_by, reason, since FROM queue_pauses ORDER BY queue";
    let rows = database.read().query_all_raw(database.statement(sql, [])).await?;
    let pause = |row: &sea_orm::QueryResult| {
        Ok(Pause {
            queue: row.try_get("", "queue")?,
            paused_by: row.try_get("", "paused_by")?,
            reason: row.try_get("", "reason")?,
            since: row.try_get("", "since")?,
        })
    };
    rows.iter().map(pause).collect()
}

/// Pauses `queue`; whether it was not paused before. A pause that stands keeps who made it, and since when.
///
/// # Errors
/// The database's.
pub async fn set(
    database: &Database,
    tx: &Transaction,
    queue: &str,
    by: &str,
    reason: Option<&str>,
) -> Result<bool, DbErr> {
    let sql = "INSERT INTO queue_pauses (queue, paused_by, reason) VALUES ($1, $2, $3) ON CONFLICT (queue) DO NOTHING";
    let done = tx.execute_raw(database.statement(sql, [queue.into(), by.into(), reason.into()])).await?;
    Ok(done.rows_affected() > 0)
}

/// Resumes `queue`; whether it was paused.
///
/// # Errors
/// The database's.
pub async fn lift(database: &Database, tx: &Transaction, queue: &str) -> Result<bool, DbErr> {
    let sql = "DELETE FROM queue_pauses WHERE queue = $1";
    let done = tx.execute_raw(database.statement(sql, [queue.into()])).await?;
    Ok(done.rows_affected() > 0)
}
