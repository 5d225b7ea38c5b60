//! Old prices, thrown away once nobody can have been shown them.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};

use crate::config::Backend;
use crate::database::Database;

/// Throws at most `batch` prices away that ended longer than `age` ago, by the database's clock; says how many. Any number of
/// processes may do so at once. A standing price is never among them.
///
/// # Errors
/// The database's.
pub async fn forget_prices(database: &Database, age: Duration, batch: u32) -> Result<u64, DbErr> {
    let sql = match database.backend() {
        Backend::Postgres => {
            "DELETE FROM product_prices WHERE ctid = ANY (ARRAY (SELECT ctid FROM product_prices \
             WHERE superseded_at < now() - make_interval(secs => $1::bigint) ORDER BY superseded_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED))"
        }
        Backend::Sqlite => {
            "DELETE FROM product_prices WHERE rowid IN (SELECT rowid FROM product_prices \
             WHERE superseded_at < strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-' || $1 || ' seconds') \
             ORDER BY superseded_at LIMIT $2)"
        }
    };
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let tx = database.begin().await?;
    let deleted = tx.execute_raw(database.statement(sql, [seconds.into(), i64::from(batch.max(1)).into()])).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}
