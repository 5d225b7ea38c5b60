//! Whether an order's message lies among the parked ones: those of its region's checkout queue, and those that no queue
//! wanted.

use std::sync::Arc;

use broker::{QueueName, layout};
use chrono::{DateTime, Utc};
use model::OrderId;
use sea_orm::{ConnectionTrait as _, DbErr};
use store::{Database, Reader, Reads, Region};

use super::rows::{bytes, holds, moment};
use super::view::{Moment, Named};

/// Rows of one queue that are looked through, those that wait for somebody first.
const MOST: u64 = 20_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) moments: Vec<Moment>,
    /// Some rows were not looked through: they are too many, or their database did not answer.
    pub(super) unknown: bool,
}

impl Parked {
    /// The order's messages that were parked, whatever became of them. A message's id is its event's, so the order is looked
    /// for in the bodies. `unrouted` hold what no queue wanted.
    pub(super) async fn of(
        region: &Region,
        db: &Reader,
        unrouted: &[Arc<Database>],
        id: OrderId,
    ) -> Result<Self, DbErr> {
        let mut parked = Self::default();
        parked.look(db, &layout::checkout_queue(&region.name), id).await?;
        for database in unrouted {
            // The order is not to be hidden by a database that is not its own.
            if let Err(error) = parked.look(&database.reader(Reads::History), &QueueName::unrouted(), id).await {
                tracing::warn!(store.database = database.name(), %error, "what no queue wanted can't be looked through");
                parked.unknown = true;
            }
        }
        Ok(parked)
    }

    async fn look(&mut self, db: &Reader, queue: &QueueName, id: OrderId) -> Result<(), DbErr> {
        let sql = format!(
            "SELECT count(*) AS rows FROM (SELECT 1 FROM parked_messages WHERE queue = $1 LIMIT {MOST}) looked"
        );
        let row = db.query_one_raw(db.statement(sql, [queue.to_string().into()])).await?;
        let rows: i64 = row.map_or(Ok(0), |row| row.try_get("", "rows"))?;
        self.unknown |= u64::try_from(rows).unwrap_or(0) >= MOST;
        let holds = holds(db.backend());
        let sql = format!(
            "SELECT message_id, kind, reason, state, times, first_parked_at, last_parked_at FROM (
                SELECT * FROM parked_messages WHERE queue = $2
                ORDER BY CASE WHEN state IN ('closed', 'discarded') THEN 1 ELSE 0 END, message_id DESC LIMIT {MOST}
             ) looked WHERE {holds}"
        );
        for row in &db.query_all_raw(db.statement(sql, [bytes(id), queue.to_string().into()])).await? {
            let (kind, reason): (String, String) = (row.try_get("", "kind")?, row.try_get("", "reason")?);
            let (state, times): (String, i32) = (row.try_get("", "state")?, row.try_get("", "times")?);
            let first: DateTime<Utc> = row.try_get("", "first_parked_at")?;
            let why = parker::without_quoted(&reason);
            let message = Some(Named { queue: queue.to_string(), message_id: row.try_get("", "message_id")? });
            let parked = moment(first, format!("{kind} was parked ({state} now): {why}"));
            self.moments.push(Moment { message: message.clone(), ..parked });
            if times > 1 {
                let again =
                    moment(row.try_get("", "last_parked_at")?, format!("{kind} was parked {times} times by now"));
                self.moments.push(Moment { message, ..again });
            }
        }
        Ok(())
    }
}
