//! Throws away ids of page events that are old enough.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};
use store::{Backend, Database};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{Counting, Sweeping};

/// Beyond the time that repeats are recognised for: as much as the clocks of the application and of the database may
/// differ.
const GRACE_S: i64 = 3_600;

/// Sweeps for ever. Several may run at once: each takes rows that no other has.
pub(crate) async fn sweep_for_ever(database: Arc<Database>, counting: Counting, sweeping: Sweeping) {
    let mut tick = interval(Duration::from_secs(sweeping.interval_s.max(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match sweep(&database, &counting, sweeping.batch).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(analytics.swept = rows, "threw away old ids of page events"),
            Err(error) => tracing::warn!(%error, "old ids of page events stay until the next sweep"),
        }
    }
}

/// One sweep, in transactions of at most `batch` rows, so that it never holds anybody up. Returns the rows deleted.
pub(crate) async fn sweep(database: &Database, counting: &Counting, batch: u32) -> Result<u64, DbErr> {
    let seconds = counting.keep_ids().num_seconds() + GRACE_S;
    let sql = match database.backend() {
        Backend::Postgres => {
            "DELETE FROM page_events_seen WHERE ctid = ANY (ARRAY ( \
             SELECT ctid FROM page_events_seen WHERE seen_at < now() - make_interval(secs => $1::bigint) \
             ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED))"
        }
        Backend::Sqlite => {
            "DELETE FROM page_events_seen WHERE rowid IN ( \
             SELECT rowid FROM page_events_seen \
             WHERE seen_at < strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-' || $1 || ' seconds') \
             ORDER BY seen_at LIMIT $2)"
        }
    };
    let batch = i64::from(batch.max(1));
    let mut swept = 0;
    loop {
        let tx = database.begin().await?;
        let done = tx.execute_raw(database.statement(sql, [seconds.into(), batch.into()])).await?.rows_affected();
        tx.commit().await?;
        swept += done;
        if done < batch.unsigned_abs() {
            return Ok(swept);
        }
    }
}
