//! What is looked at now and then: whose effect exists, what is old enough to go, and how much is parked.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Value};
use store::entity::parked_message::Model;
use store::{Backend, Database};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::Config;
use crate::effects::{self, Trace};
use crate::homes::Homes;
use crate::meters::{Meters, Parked};
use crate::row;

/// The pause between two sweeps of what ended long ago, and the rows that go in one transaction.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
const SWEEP_BATCH: i64 = 1_000;

const EXISTS: &str = "its effect exists";
const QUIET: &str = "its effect leaves nothing to look for, and it was not parked again";

/// Looks after the parked messages of one database.
pub(crate) struct Upkeep {
    pub(crate) config: Config,
    pub(crate) database: Arc<Database>,
    pub(crate) homes: Arc<Homes>,
    pub(crate) meters: Meters,
}

impl Upkeep {
    /// Looks for ever. Several may: what one did, another finds done.
    pub(crate) async fn run(&self) {
        let mut look = interval(self.config.check_every());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swept: Option<Instant> = None;
        loop {
            look.tick().await;
            let name = self.database.name();
            if let Err(error) = self.measure().await {
                self.meters.unknown(name);
                tracing::debug!(store.database = name, %error, "how much is parked is not known");
            }
            match self.close().await {
                Ok(0) => {}
                Ok(closed) => {
                    tracing::info!(store.database = name, closed, "parked messages have had their effect: closed");
                }
                Err(error) => {
                    tracing::debug!(store.database = name, %error, "effects of parked messages are looked for later");
                }
            }
            if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                swept = Some(Instant::now());
                if let Err(error) = self.sweep().await {
                    tracing::debug!(store.database = name, %error, "old parked messages stay until the next sweep");
                }
            }
        }
    }

    /// Closes messages whose effect exists, and replayed ones that stayed quiet. Those looked at longest ago come first, so
    /// every one has its turn. Gives how many were closed.
    pub(crate) async fn close(&self) -> Result<u64, DbErr> {
        let nulls = match self.database.backend() {
            Backend::Postgres => " NULLS FIRST",
            Backend::Sqlite => "",
        };
        let sql = format!(
            "SELECT * FROM parked_messages WHERE state IN ('open', 'replayed') ORDER BY checked_at{nulls} LIMIT $1"
        );
        let found = self.database.read();
        let found =
            found.query_all_raw(self.database.statement(sql, [i64::from(self.config.check_batch).into()])).await?;
        let rows = found.iter().map(row::read).collect::<Result<Vec<Model>, DbErr>>()?;
        if rows.is_empty() {
            return Ok(0);
        }
        let traces: Vec<Trace> = rows.iter().map(|row| Trace::of(&self.homes, row)).collect();
        let exist = effects::exist(&self.homes, &traces).await?;
        let tx = self.database.begin().await?;
        let now = row::now(&self.database, &*tx).await?;
        let mut closed = 0;
        for ((row, trace), exists) in rows.iter().zip(&traces).zip(exist) {
            let quiet = !trace.is_kept()
                && row.state == "replayed"
                && row.replayed_at.is_some_and(|at| (now - at).num_seconds() >= i64::from(self.config.close_after_s));
            // A row that was parked again or is replayed again meanwhile is another row than the one that was looked at.
            let unchanged = "WHERE queue = $1 AND message_id = $2 AND state = $3 AND times = $4 AND replays = $5";
            let mut binds: Vec<Value> = vec![
                row.queue.clone().into(),
                row.message_id.clone().into(),
                row.state.clone().into(),
                row.times.into(),
                row.replays.into(),
                now.into(),
            ];
            if exists || quiet {
                binds.push((if exists { EXISTS } else { QUIET }).into());
                let sql = format!("UPDATE parked_messages SET state = 'closed', ended_at = $6, note = $7 {unchanged}");
                let done = tx.execute_raw(self.database.statement(sql, binds)).await?.rows_affected();
                self.meters.closed(&row.queue, done);
                closed += done;
            } else {
                let sql = format!("UPDATE parked_messages SET checked_at = $6 {unchanged}");
                tx.execute_raw(self.database.statement(sql, binds)).await?;
            }
        }
        tx.commit().await?;
        Ok(closed)
    }

    /// Deletes what was closed or discarded long ago; gives how many rows went.
    pub(crate) async fn sweep(&self) -> Result<u64, DbErr> {
        let mut swept = 0;
        loop {
            let tx = self.database.begin().await?;
            let before =
                row::now(&self.database, &*tx).await? - chrono::TimeDelta::days(self.config.keep_ended_days.into());
            let sql = "DELETE FROM parked_messages WHERE (queue, message_id) IN (
                SELECT queue, message_id FROM parked_messages
                WHERE state IN ('discarded', 'closed') AND ended_at < $1 ORDER BY ended_at LIMIT $2)";
            let done = tx.execute_raw(self.database.statement(sql, [before.into(), SWEEP_BATCH.into()])).await?;
            tx.commit().await?;
            swept += done.rows_affected();
            if done.rows_affected() < SWEEP_BATCH.unsigned_abs() {
                return Ok(swept);
            }
        }
    }

    async fn measure(&self) -> Result<(), DbErr> {
        let age = match self.database.backend() {
            Backend::Postgres => "extract(epoch FROM clock_timestamp() - min(first_parked_at))::float8",
            Backend::Sqlite => "(julianday('now') - julianday(min(first_parked_at))) * 86400.0",
        };
        let sql = format!(
            "SELECT queue, count(*) AS messages, {age} AS age FROM parked_messages WHERE state = 'open' GROUP BY queue"
        );
        let mut parked = Vec::new();
        for row in self.database.read().query_all_raw(self.database.statement(sql, [])).await? {
            let (messages, age): (i64, f64) = (row.try_get("", "messages")?, row.try_get("", "age")?);
            let messages = u64::try_from(messages).unwrap_or(0);
            parked.push(Parked { queue: row.try_get("", "queue")?, messages, oldest_s: age.max(0.0) });
        }
        self.meters.parked(self.database.name(), parked);
        Ok(())
    }
}
