//! Rows that are thrown away once they are old enough.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};

use crate::config::Backend;
use crate::database::Database;

/// Throws at most `batch` rows of `table` away whose `moment` (a column) is longer than `age` ago, the oldest first, by the
/// database's clock; says how many. A row without a moment stays. Any number of processes may do so at once.
pub(crate) async fn forget(
    database: &Database,
    (table, moment): (&'static str, &'static str),
    age: Duration,
    batch: u32,
) -> Result<u64, DbErr> {
    let sql = match database.backend() {
        Backend::Postgres => format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY (SELECT ctid FROM {table} \
             WHERE {moment} < now() - make_interval(secs => $1::bigint) ORDER BY {moment} LIMIT $2 \
             FOR UPDATE SKIP LOCKED))"
        ),
        Backend::Sqlite => format!(
            "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} \
             WHERE {moment} < strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-' || $1 || ' seconds') \
             ORDER BY {moment} LIMIT $2)"
        ),
    };
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let tx = database.begin().await?;
    let deleted = tx.execute_raw(database.statement(sql, [seconds.into(), i64::from(batch.max(1)).into()])).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}
