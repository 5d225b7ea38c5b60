//! What is looked at now and then: whose effect exists, what is old enough to go, and how much is parked.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr};
use store::entity::parked_message::Model;
use store::{Backend, Database, Rows};
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

const OF_FREE: &str = "FROM free WHERE queue = home AND message_id = id";

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

    /// Looks at batch after batch, as long as one closes something: a replay of a hundred thousand is over when its effects
    /// are. Those that wait for a person stand in nobody's way. Gives how many were closed.
    pub(crate) async fn close(&self) -> Result<u64, DbErr> {
        let mut closed = 0;
        for state in ["replayed", "open"] {
            loop {
                match self.look(state).await? {
                    0 => break,
                    more => closed += more,
                }
            }
        }
        Ok(closed)
    }

    /// Closes messages in this state whose effect exists, or that stayed quiet after their replay. Those looked at longest
    /// ago come first, so every one has its turn. Gives how many were closed.
    async fn look(&self, state: &str) -> Result<u64, DbErr> {
        let nulls = match self.database.backend() {
            Backend::Postgres => " NULLS FIRST",
            Backend::Sqlite => "",
        };
        // By both states, for the index; by one of them.
        let sql = format!(
            "SELECT * FROM parked_messages WHERE state IN ('open', 'replayed') AND state = $2
             ORDER BY checked_at{nulls} LIMIT $1"
        );
        let found = self.database.read();
        let binds = [i64::from(self.config.check_batch).into(), state.into()];
        let found = found.query_all_raw(self.database.statement(sql, binds)).await?;
        let rows = found.iter().map(row::read).collect::<Result<Vec<Model>, DbErr>>()?;
        if rows.is_empty() {
            return Ok(0);
        }
        let traces: Vec<Trace> = rows.iter().map(|row| Trace::of(&self.homes, row)).collect();
        let exist = effects::exist(&self.homes, &traces).await?;
        let now = row::now(&self.database, self.database.read()).await?;
        let (mut over, mut notes, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for ((row, trace), exists) in rows.iter().zip(&traces).zip(exist) {
            let quiet = !trace.is_kept()
                && row.state == "replayed"
                && row.replayed_at.is_some_and(|at| (now - at).num_seconds() >= i64::from(self.config.close_after_s));
            if exists || quiet {
                over.push(row);
                notes.push((if exists { EXISTS } else { QUIET }).to_owned());
            } else {
                rest.push(row);
            }
        }
        let now = self.database.backend().now_sql();
        let sql = format!("{} UPDATE parked_messages SET checked_at = {now} {OF_FREE}", self.free(""));
        let tx = self.database.begin().await?;
        seen(rest.into_iter()).execute(&*tx, &sql).await?;
        let sql = format!(
            "{} UPDATE parked_messages SET state = 'closed', ended_at = {now}, note = why {OF_FREE} RETURNING queue",
            self.free(", r.note AS why")
        );
        let closed = seen(over.into_iter()).column("note", "text", notes).query(&*tx, &sql).await?;
        tx.commit().await?;
        for row in &closed {
            self.meters.closed(&row.try_get::<String>("", "queue")?, 1);
        }
        Ok(closed.len() as u64)
    }

    /// SQL for those of the rows in `r` that are as they were, as `free` with `more` columns. It waits for no lock, nor does
    /// it hold one for long: an operator's replay takes thousands of rows, in another order.
    fn free(&self, more: &str) -> String {
        let skip = match self.database.backend() {
            Backend::Postgres => " FOR UPDATE OF p SKIP LOCKED",
            Backend::Sqlite => "",
        };
        format!(
            ", free AS (
                SELECT p.queue AS home, p.message_id AS id{more} FROM parked_messages AS p
                JOIN r ON p.queue = r.queue AND p.message_id = r.message_id
                WHERE p.state = r.state AND p.times = r.times AND p.replays = r.replays{skip}
            )"
        )
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

/// Rows as they were looked at: one that was parked again or is replayed again meanwhile is another row.
fn seen<'a>(rows: impl Iterator<Item = &'a Model> + Clone) -> Rows {
    Rows::default()
        .column("queue", "text", rows.clone().map(|row| row.queue.clone()))
        .column("message_id", "text", rows.clone().map(|row| row.message_id.clone()))
        .column("state", "text", rows.clone().map(|row| row.state.clone()))
        .column("times", "int", rows.clone().map(|row| row.times))
        .column("replays", "int", rows.map(|row| row.replays))
}
