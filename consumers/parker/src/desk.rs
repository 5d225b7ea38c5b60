//! What operators see of parked messages, and do with them. All of it is SQL on the tables; the role does the rest.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use broker::QueueName;
use chrono::TimeDelta;
use futures::future::{BoxFuture, join_all};
use model::{Clock, EventId};
use sea_orm::{ConnectionTrait as _, DbErr, Value};
use serde::{Deserialize, Serialize};
use service::metrics::Metrics;
use store::{Database, Databases, Transaction};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::config::Config;
use crate::homes::Homes;
use crate::members::{self, Messages, Page};
use crate::meters;
use crate::row;
use crate::run::Error;
use crate::view::{self, Listing, Shown, Silent};

/// What nobody has decided about.
const OPEN: &str = "'open'";
/// What is to be replayed.
const REPLAYING: &str = "'replaying'";
/// The longest reason for a discard, in bytes.
const MAX_REASON: usize = 500;

/// Which parked messages. What is not named is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Of this home queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The one message; with `queue`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of this group's reason, as the listing writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every message that the action is for. Said, and not the meaning of an empty selection: nobody replays everything by a
    /// typing error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// What an operator did, for the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deed {
    /// `parked.replay`, `parked.stop` or `parked.discard`.
    pub action: &'static str,
    /// Who.
    pub operator: String,
    /// With which messages.
    pub selection: Selection,
    /// How many those were in this database.
    pub messages: u64,
    /// The reason of a discard, the rate of a replay.
    pub detail: String,
}

/// Writes an audit trail, within the transaction of what it tells of: neither is there without the other.
pub trait Audit: Send + Sync {
    /// Writes `deed` down in `tx`.
    ///
    /// # Errors
    /// The database's; the deed is then undone.
    fn record<'a>(
        &'a self,
        database: &'a Database,
        tx: &'a Transaction,
        deed: &'a Deed,
    ) -> BoxFuture<'a, Result<(), DbErr>>;
}

/// Why an operator's wish was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// It makes no sense; the message says what would.
    #[error("{0}")]
    Invalid(String),
    /// A database did not do it.
    #[error("the database {database} could not do it")]
    Database {
        /// Which.
        database: String,
        /// Why.
        source: DbErr,
    },
}

/// Where operators look and act.
#[derive(Clone)]
pub struct Desk {
    config: Config,
    homes: Arc<Homes>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Desk {
    /// A desk over every database of the shop. `clock` names replays.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that can't work.
    pub fn new(databases: &Databases, config: Config, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<Self, Error> {
        config.check().map_err(Error::Config)?;
        Ok(Self { homes: Arc::new(Homes::new(databases, &config)?), config, clock, metrics })
    }

    /// The groups of what is parked and not ended, the latest first, at most `limit` for each database. A database that does
    /// not answer within `patience` is named in the listing.
    pub async fn list(&self, selection: &Selection, limit: u32, patience: Duration) -> Listing {
        let databases = self.databases(selection);
        let looks = databases.iter().map(|database| timeout(patience, view::groups(database, selection, limit)));
        let (mut groups, silent) = answers(&databases, join_all(looks).await, patience);
        groups.sort_by_key(|group| Reverse(group.last_parked_at));
        Listing { groups, silent }
    }

    /// The selected messages one by one. A database that does not answer within `patience` is named in the listing.
    pub async fn messages(&self, selection: &Selection, page: &Page, patience: Duration) -> Messages {
        let databases = self.databases(selection);
        let looks = databases.iter().map(|database| timeout(patience, members::of(database, selection, page)));
        let (messages, silent) = answers(&databases, join_all(looks).await, patience);
        page.of(messages, silent)
    }

    /// One message, with a redacted sample; none where there is none.
    ///
    /// # Errors
    /// [`DeskError::Database`].
    pub async fn show(&self, queue: &str, message_id: &str) -> Result<Option<Shown>, DeskError> {
        for database in self.homes.holding(queue) {
            if let Some(shown) = view::one(&database, queue, message_id).await.map_err(in_database(&database))? {
                return Ok(Some(shown));
            }
        }
        Ok(None)
    }

    /// Asks for a replay of the selected messages at `per_second` (or the configured rate) in each database: of the one, also
    /// where it was replayed or discarded before; of a group or of all, those that are open. Gives how many.
    ///
    /// # Errors
    /// [`DeskError`]; databases that did their part before have done it.
    pub async fn replay(
        &self,
        selection: &Selection,
        per_second: Option<f64>,
        operator: &str,
        audit: &dyn Audit,
    ) -> Result<u64, DeskError> {
        let states = states(selection, "'open', 'replayed', 'discarded'", OPEN)?;
        let pace_us = self.config.pace(per_second).map_err(DeskError::Invalid)?;
        let rate = per_second.unwrap_or(self.config.replay_per_s);
        let mut asked = 0;
        for database in self.databases(selection) {
            let replay = EventId::new(&*self.clock).as_uuid();
            let work = async {
                let tx = database.begin().await?;
                let (chosen, mut binds) = chosen(selection, states, 2);
                binds.insert(0, replay.into());
                let sql = format!(
                    "UPDATE parked_messages SET state = 'replaying', replay_id = $1, claimed_until = NULL, \
                     ended_at = NULL, note = NULL WHERE {chosen}"
                );
                let messages = tx.execute_raw(database.statement(sql, binds)).await?.rows_affected();
                if messages == 0 {
                    tx.rollback().await?;
                    return Ok(0);
                }
                // The first message may go at once.
                let since = row::now(&database, &*tx).await? - TimeDelta::microseconds(pace_us);
                let sql = "INSERT INTO parked_replays (id, operator, messages, pace_us, paced_at) \
                           VALUES ($1, $2, $3, $4, $5)";
                let count = i64::try_from(messages).unwrap_or(i64::MAX);
                let binds = [replay.into(), operator.into(), count.into(), pace_us.into(), since.into()];
                tx.execute_raw(database.statement(sql, binds)).await?;
                let deed = deed("parked.replay", operator, selection, messages, format!("{rate} a second"));
                audit.record(&database, &tx, &deed).await?;
                tx.commit().await?;
                Ok(messages)
            };
            asked += work.await.map_err(in_database(&database))?;
        }
        Ok(asked)
    }

    /// Takes the selected messages out of the replay that they are a part of: they are open again, and a replay of which none
    /// is left is over. What a parker just claimed may be on its way nevertheless; its row closes once its effect exists.
    /// Gives how many.
    ///
    /// # Errors
    /// [`DeskError`]; databases that did their part before have done it.
    pub async fn stop(&self, selection: &Selection, operator: &str, audit: &dyn Audit) -> Result<u64, DeskError> {
        let states = states(selection, REPLAYING, REPLAYING)?;
        let mut stopped = 0;
        for database in self.databases(selection) {
            let work = async {
                let tx = database.begin().await?;
                let (chosen, binds) = chosen(selection, states, 1);
                let sql = format!(
                    "UPDATE parked_messages SET state = 'open', replay_id = NULL, claimed_until = NULL WHERE {chosen}"
                );
                let messages = tx.execute_raw(database.statement(sql, binds)).await?.rows_affected();
                if messages == 0 {
                    tx.rollback().await?;
                    return Ok(0);
                }
                let sql = "DELETE FROM parked_replays WHERE NOT EXISTS (SELECT 1 FROM parked_messages \
                           WHERE replay_id = parked_replays.id AND state = 'replaying')";
                tx.execute_raw(database.statement(sql, [])).await?;
                let deed = deed("parked.stop", operator, selection, messages, "open again".to_owned());
                audit.record(&database, &tx, &deed).await?;
                tx.commit().await?;
                Ok(messages)
            };
            stopped += work.await.map_err(in_database(&database))?;
        }
        Ok(stopped)
    }

    /// Discards the selected messages: of the one, also where it is replayed or to be; of a group or of all, those that are
    /// open. They are kept for a while, and the one can be replayed yet. Gives how many.
    ///
    /// # Errors
    /// [`DeskError`]; databases that did their part before have done it.
    pub async fn discard(
        &self,
        selection: &Selection,
        reason: &str,
        operator: &str,
        audit: &dyn Audit,
    ) -> Result<u64, DeskError> {
        let states = states(selection, "'open', 'replaying', 'replayed'", OPEN)?;
        let reason = reason.trim().replace('\0', "␀");
        if reason.is_empty() || reason.len() > MAX_REASON {
            return Err(DeskError::Invalid(format!("a discard needs a reason, of at most {MAX_REASON} bytes")));
        }
        let mut discarded = 0;
        for database in self.databases(selection) {
            let work = async {
                let tx = database.begin().await?;
                let (chosen, mut binds) = chosen(selection, states, 2);
                binds.insert(0, reason.clone().into());
                let now = database.backend().now_sql();
                let sql = format!(
                    "UPDATE parked_messages SET state = 'discarded', ended_at = {now}, note = $1 WHERE {chosen} \
                     RETURNING queue"
                );
                let rows = tx.query_all_raw(database.statement(sql, binds)).await?;
                let queues = rows.iter().map(|row| row.try_get("", "queue")).collect::<Result<Vec<String>, DbErr>>()?;
                if queues.is_empty() {
                    tx.rollback().await?;
                    return Ok(queues);
                }
                let deed = deed("parked.discard", operator, selection, queues.len() as u64, reason.clone());
                audit.record(&database, &tx, &deed).await?;
                tx.commit().await?;
                Ok(queues)
            };
            let queues = work.await.map_err(in_database(&database))?;
            discarded += queues.len() as u64;
            for queue in &queues {
                meters::discarded(&self.metrics, queue, 1);
            }
        }
        Ok(discarded)
    }

    /// Whether a row may carry this home queue's name, whatever became of its message: no only where every database that could
    /// hold one says so within `patience`.
    pub async fn may_hold(&self, queue: &str, patience: Duration) -> bool {
        let databases = self.homes.holding(queue);
        let looks = databases.iter().map(|database| timeout(patience, view::carries(database, queue)));
        join_all(looks).await.iter().any(|looked| !matches!(looked, Ok(Ok(false))))
    }

    /// The databases that hold what is parked of this home queue, or of what no queue wanted.
    pub fn holding(&self, queue: &QueueName) -> Vec<Arc<Database>> {
        self.homes.holding(queue.as_str())
    }

    fn databases(&self, selection: &Selection) -> Vec<Arc<Database>> {
        match &selection.queue {
            Some(queue) => self.homes.holding(queue),
            None => self.homes.databases().databases().to_vec(),
        }
    }
}

/// What the databases answered, and which did not within `patience`.
fn answers<T>(
    databases: &[Arc<Database>],
    looked: Vec<Result<Result<Vec<T>, DbErr>, Elapsed>>,
    patience: Duration,
) -> (Vec<T>, Vec<Silent>) {
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for (database, looked) in databases.iter().zip(looked) {
        let why = match looked {
            Ok(Ok(of_it)) => {
                rows.extend(of_it);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {} ms", patience.as_millis()),
        };
        tracing::warn!(store.database = database.name(), why, "parked messages can't be listed");
        silent.push(Silent { database: database.name().to_owned(), why });
    }
    (rows, silent)
}

fn in_database(database: &Arc<Database>) -> impl Fn(DbErr) -> DeskError {
    let name = database.name().to_owned();
    move |source| DeskError::Database { database: name.clone(), source }
}

fn deed(action: &'static str, operator: &str, selection: &Selection, messages: u64, detail: String) -> Deed {
    Deed { action, operator: operator.to_owned(), selection: selection.clone(), messages, detail }
}

/// The states that an action takes messages from: of the one, more than of many.
fn states(selection: &Selection, of_one: &'static str, of_many: &'static str) -> Result<&'static str, DeskError> {
    let Selection { queue, message_id, kind, reason, all } = selection;
    let invalid = |why: &str| Err(DeskError::Invalid(why.to_owned()));
    match (message_id, queue) {
        (Some(_), None) => return invalid("a message is named by its queue and its id: name the queue, too"),
        (Some(_), Some(_)) if *all || kind.is_some() || reason.is_some() => {
            return invalid("one message is named by its queue and its id alone");
        }
        (Some(_), Some(_)) => return Ok(of_one),
        (None, _) => {}
    }
    let narrowed = queue.is_some() || kind.is_some() || reason.is_some();
    match (narrowed, all) {
        (false, false) => invalid("name a message, a group (queue, kind, reason), or say `all`"),
        (true, true) => invalid("`all` is every message: name no group beside it"),
        _ => Ok(of_many),
    }
}

/// The condition of a selection, with placeholders from number `first` on.
pub(crate) fn chosen(selection: &Selection, states: &str, first: usize) -> (String, Vec<Value>) {
    let Selection { queue, message_id, kind, reason, all: _ } = selection;
    let wanted = [("queue", queue), ("message_id", message_id), ("kind", kind), ("reason_key", reason)];
    let mut condition = format!("state IN ({states})");
    let mut binds: Vec<Value> = Vec::new();
    for (column, value) in wanted {
        if let Some(value) = value {
            // Writing to a String does not fail.
            let _ = write!(condition, " AND {column} = ${}", first + binds.len());
            binds.push(value.replace('\0', "␀").into());
        }
    }
    (condition, binds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(selection: &Selection) -> String {
        states(selection, "'open', 'replayed'", OPEN).unwrap_err().to_string()
    }

    #[test]
    fn everything_is_chosen_only_where_it_is_said() {
        let some = |text: &str| Some(text.to_owned());
        assert!(refusal(&Selection::default()).contains("say `all`"));
        assert!(refusal(&Selection { message_id: some("m"), ..Selection::default() }).contains("name the queue"));
        assert!(
            refusal(&Selection { all: true, kind: some("k"), ..Selection::default() }).contains("no group beside it")
        );
        let all = Selection { all: true, ..Selection::default() };
        assert_eq!(states(&all, "'open', 'replayed'", OPEN).unwrap(), "'open'");
        let one = Selection { queue: some("q"), message_id: some("m"), ..Selection::default() };
        assert_eq!(states(&one, "'open', 'replayed'", OPEN).unwrap(), "'open', 'replayed'");
        let (condition, binds) = chosen(&one, "'open'", 2);
        assert_eq!((condition.as_str(), binds.len()), ("state IN ('open') AND queue = $2 AND message_id = $3", 2));
    }
}
