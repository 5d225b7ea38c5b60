//! Suspects that run alone, as rows: one is written before a message runs and deleted after. A row that is still there when
//! its message comes again says that nothing came of the run, most likely since it took its process down.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};

use crate::database::Database;
use crate::sweep;

/// After that nobody asks for a message any more. A row outlives its message where the process ended right after the run.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// Rows thrown away at once, at most.
const SWEPT: u32 = 100;

/// Notes that `message` of `queue` is about to run alone. Says how often that was noted, this time included, without a word
/// of its end ([`end`]).
///
/// # Errors
/// The database's; then it may be noted or not.
pub async fn begin(database: &Database, queue: &str, message: &str) -> Result<u32, DbErr> {
    let sql = "INSERT INTO message_trials (queue, message_id) VALUES ($1, $2) \
               ON CONFLICT (queue, message_id) DO UPDATE SET begun = message_trials.begun + 1 RETURNING begun";
    let tx = database.begin().await?;
    let row = tx.query_one_raw(database.statement(sql, [queue.into(), message.into()])).await?;
    let begun: i32 = row.map_or(Ok(1), |row| row.try_get("", "begun"))?;
    tx.commit().await?;
    Ok(u32::try_from(begun).unwrap_or(1))
}

/// Forgets what was noted of `message`: its process lives, or it does not run again. Throws old rows away, too.
///
/// # Errors
/// The database's; then it may be forgotten or not.
pub async fn end(database: &Database, queue: &str, message: &str) -> Result<(), DbErr> {
    let sql = "DELETE FROM message_trials WHERE queue = $1 AND message_id = $2";
    let tx = database.begin().await?;
    tx.execute_raw(database.statement(sql, [queue.into(), message.into()])).await?;
    tx.commit().await?;
    sweep::forget(database, ("message_trials", "since"), KEPT, SWEPT).await.map(drop)
}
