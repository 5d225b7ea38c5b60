//! Replays under way: claimed by lease, published to the home queue alone, marked.
//!
//! A replay is a row of `parked_replays`, and its messages are rows in state `replaying`. Any number of parkers work on it at
//! once: a claim moves the replay's pace on in the same transaction, so together they keep its rate, and after an outage
//! nothing is made up for. A parker that dies between the broker's confirm and the mark leaves its claim, which runs out;
//! another publishes the message again, and the effect's unique key does the rest.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerState, Publish, PublishError};
use chrono::{DateTime, TimeDelta, Utc};
use model::headers;
use sea_orm::{ConnectionTrait as _, DbErr};
use store::entity::parked_message::Model;
use store::entity::parked_replay;
use store::{Backend, Database, Rows, Transaction};
use tokio_util::sync::CancellationToken;

use sea_orm::FromQueryResult as _;

use crate::config::Config;
use crate::homes::{Homes, Side};
use crate::meters::Meters;
use crate::row;

/// The part of its pace that a replay may make up for: what was not used before is gone.
const CATCH_UP: TimeDelta = TimeDelta::seconds(1);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Publishes what is to be replayed of one database.
pub(crate) struct Replayer {
    pub(crate) config: Config,
    pub(crate) database: Arc<Database>,
    pub(crate) homes: Arc<Homes>,
    pub(crate) orders: Arc<dyn Broker>,
    pub(crate) events: Arc<dyn Broker>,
    pub(crate) meters: Meters,
}

/// How the publish of a claimed message ended.
pub(crate) enum Ended {
    Confirmed,
    /// Never: an operator has to know.
    Refused(String),
    /// Not now.
    Back(String),
}

impl Replayer {
    /// Runs until `stop`, and ends with what is in hand.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let (least, mut trouble) = (self.config.replay_poll(), None);
        let mut pause = least;
        while !stop.is_cancelled() {
            match self.pass().await {
                Ok(claimed) if claimed >= self.config.replay_batch as usize => continue,
                Ok(_) => {
                    pause = least;
                    trouble = None;
                }
                Err(reason) => {
                    if trouble.as_ref() != Some(&reason) {
                        tracing::warn!(store.database = self.database.name(), reason, "replays are held");
                        trouble = Some(reason);
                    }
                    pause = (pause * 2).min(MAX_PAUSE.max(least));
                }
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// One look: how many messages were claimed. `Err` says in words what is in the way.
    pub(crate) async fn pass(&self) -> Result<usize, String> {
        let words = |error: DbErr| error.to_string();
        if !self.is_asked_for().await.map_err(words)? {
            return Ok(0);
        }
        // Asked before the claim: what can't be published would keep its rows from a parker that can.
        if [&self.orders, &self.events].iter().all(|broker| broker.state() != BrokerState::Ready) {
            return Err("the broker takes no publishes".to_owned());
        }
        let claimed = self.claim().await.map_err(words)?;
        if claimed.is_empty() {
            return Ok(0);
        }
        let ended = self.publish(&claimed).await;
        let trouble =
            ended.iter().find_map(|ended| if let Ended::Back(why) = ended { Some(why.clone()) } else { None });
        self.mark(&claimed, ended).await.map_err(words)?;
        trouble.map_or(Ok(claimed.len()), Err)
    }

    /// A look that takes no lock.
    async fn is_asked_for(&self) -> Result<bool, DbErr> {
        let sql = "SELECT 1 AS one FROM parked_replays LIMIT 1";
        Ok(self.database.read().query_one_raw(self.database.statement(sql, [])).await?.is_some())
    }

    pub(crate) async fn claim(&self) -> Result<Vec<Model>, DbErr> {
        let tx = self.database.begin().await?;
        let now = row::now(&self.database, &*tx).await?;
        let skip = self.skip_locked();
        let sql = format!("SELECT * FROM parked_replays ORDER BY requested_at, id{skip}");
        let mut claimed = Vec::new();
        for found in tx.query_all_raw(self.database.statement(sql, [])).await? {
            let replay = parked_replay::Model::from_query_result(&found, "")?;
            let room = self.config.replay_batch as usize - claimed.len();
            claimed.extend(self.claim_of(&tx, &replay, now, room).await?);
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// The next messages of `replay`, as many as its pace allows now.
    async fn claim_of(
        &self,
        tx: &Transaction,
        replay: &parked_replay::Model,
        now: DateTime<Utc>,
        room: usize,
    ) -> Result<Vec<Model>, DbErr> {
        let pace = TimeDelta::microseconds(replay.pace_us.max(1));
        let from = replay.paced_at.max(now - CATCH_UP.max(pace));
        let due = (now - from).num_microseconds().unwrap_or(0) / replay.pace_us.max(1);
        let due = due.clamp(0, i64::try_from(room).unwrap_or(i64::MAX));
        if due == 0 {
            return Ok(Vec::new());
        }
        let lease = TimeDelta::from_std(self.config.replay_lease()).unwrap_or(TimeDelta::minutes(1));
        let sql = format!(
            "UPDATE parked_messages SET claimed_until = $1, replays = replays + 1
             WHERE (queue, message_id) IN (
                SELECT queue, message_id FROM parked_messages
                WHERE replay_id = $2 AND state = 'replaying' AND (claimed_until IS NULL OR claimed_until <= $3)
                ORDER BY first_parked_at LIMIT $4{})
             RETURNING *",
            self.skip_locked()
        );
        let binds = [(now + lease).into(), replay.id.into(), now.into(), due.into()];
        let rows = tx.query_all_raw(self.database.statement(sql, binds)).await?;
        let rows = rows.iter().map(row::read).collect::<Result<Vec<Model>, DbErr>>()?;
        if rows.is_empty() {
            // Nothing is left, or what is left is claimed.
            let sql = "DELETE FROM parked_replays WHERE id = $1 AND NOT EXISTS \
                       (SELECT 1 FROM parked_messages WHERE replay_id = $1 AND state = 'replaying')";
            tx.execute_raw(self.database.statement(sql, [replay.id.into()])).await?;
        } else {
            let used = pace * i32::try_from(rows.len()).unwrap_or(i32::MAX);
            let sql = "UPDATE parked_replays SET paced_at = $1 WHERE id = $2";
            tx.execute_raw(self.database.statement(sql, [(from + used).into(), replay.id.into()])).await?;
        }
        Ok(rows)
    }

    /// SQLite has one writer, and needs no such words.
    fn skip_locked(&self) -> &'static str {
        match self.database.backend() {
            Backend::Postgres => " FOR UPDATE SKIP LOCKED",
            Backend::Sqlite => "",
        }
    }

    pub(crate) async fn publish(&self, claimed: &[Model]) -> Vec<Ended> {
        let mut ended: Vec<Option<Ended>> = Vec::with_capacity(claimed.len());
        let (mut orders, mut events) = (Vec::new(), Vec::new());
        for (place, row) in claimed.iter().enumerate() {
            match self.to_publish(row) {
                Ok((Side::Orders, publish)) => orders.push((place, publish)),
                Ok((Side::Events, publish)) => events.push((place, publish)),
                Err(why) => {
                    ended.push(Some(Ended::Refused(why)));
                    continue;
                }
            }
            ended.push(None);
        }
        for (broker, batch) in [(&self.orders, orders), (&self.events, events)] {
            let (places, publishes): (Vec<usize>, Vec<Publish>) = batch.into_iter().unzip();
            if publishes.is_empty() {
                continue;
            }
            for (place, outcome) in places.into_iter().zip(broker.publish(publishes).await) {
                ended[place] = Some(match outcome {
                    Ok(()) => Ended::Confirmed,
                    Err(error @ (PublishError::TooLarge(_) | PublishError::Unroutable)) => {
                        Ended::Refused(error.to_string())
                    }
                    Err(error) => Ended::Back(error.to_string()),
                });
            }
        }
        let none = || Ended::Back("the broker gave no outcome".to_owned());
        ended.into_iter().map(|ended| ended.unwrap_or_else(none)).collect()
    }

    fn to_publish(&self, row: &Model) -> Result<(Side, Publish), String> {
        let mut message = row::message(row).map_err(|error| error.to_string())?;
        let home = self.homes.target(&row.queue, &message).ok_or_else(|| {
            format!("no one queue of this release is known to be home to {:?} from {}", row.kind, row.queue)
        })?;
        message.headers.remove(headers::ORIGIN_QUEUE);
        message.headers.insert(headers::REPLAYED.to_owned(), row.replays.to_string());
        Ok((home.side, Publish::to_queue(&home.queue, message)))
    }

    /// Writes down what became of each message, where the claim still holds.
    async fn mark(&self, claimed: &[Model], ended: Vec<Ended>) -> Result<(), DbErr> {
        let (mut confirmed, mut back, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (row, ended) in claimed.iter().zip(ended) {
            match ended {
                Ended::Confirmed => confirmed.push(row),
                Ended::Back(_) => back.push(row),
                Ended::Refused(why) => {
                    tracing::warn!(
                        queue = row.queue,
                        message.id = row.message_id,
                        reason = why,
                        "a message can't be replayed"
                    );
                    refused.push((row, format!("it can't be replayed: {why}")));
                }
            }
        }
        let now = self.database.backend().now_sql();
        let why = claims(refused.iter().map(|(row, why)| (*row, why.as_str())));
        let replayed = format!("state = 'replayed', replayed_at = {now}, checked_at = NULL, note = NULL");
        let in_order = match self.database.backend() {
            Backend::Postgres => "ORDER BY p.queue, p.message_id FOR UPDATE OF p",
            Backend::Sqlite => "",
        };
        for (rows, set) in [
            (claims(confirmed.iter().map(|row| (*row, ""))), replayed.as_str()),
            (why, "state = 'open', note = why"),
            (claims(back.into_iter().map(|row| (row, ""))), "state = 'replaying'"),
        ] {
            // Locked in the order in which parked messages are stored: some of these may come back at this moment.
            let sql = format!(
                ", held AS (
                    SELECT p.queue AS home, p.message_id AS id, r.note AS why FROM parked_messages AS p
                    JOIN r ON p.queue = r.queue AND p.message_id = r.message_id
                    WHERE p.state = 'replaying' AND p.replays = r.replays {in_order}
                 )
                 UPDATE parked_messages SET {set}, claimed_until = NULL FROM held WHERE queue = home AND message_id = id"
            );
            let tx = self.database.begin().await?;
            rows.execute(&*tx, &sql).await?;
            tx.commit().await?;
        }
        for row in confirmed {
            self.meters.replayed(&row.queue);
        }
        Ok(())
    }
}

/// What names the claims on these rows, with a note for each.
fn claims<'a>(rows: impl Iterator<Item = (&'a Model, &'a str)> + Clone) -> Rows {
    Rows::default()
        .column("queue", "text", rows.clone().map(|(row, _)| row.queue.clone()))
        .column("message_id", "text", rows.clone().map(|(row, _)| row.message_id.clone()))
        .column("replays", "int", rows.clone().map(|(row, _)| row.replays))
        .column("note", "text", rows.map(|(_, note)| note.to_owned()))
}
