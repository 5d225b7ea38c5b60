//! The messages of a group one by one, page by page, whatever became of them: without their bodies, which `view` shows.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use serde::Serialize;
use store::{Backend, Database};

use crate::desk::{Selection, chosen};
use crate::reason::without_quoted;
use crate::view::{Silent, WAITING};

/// What may become of a parked message.
const STATES: [&str; 5] = ["open", "replaying", "replayed", "discarded", "closed"];

/// A page of the parked messages, sorted by queue and id.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Messages {
    /// Sorted.
    pub messages: Vec<Member>,
    /// Where the next page begins, for [`Page::read`]; none behind the last.
    pub next: Option<String>,
    /// Databases that did not answer, and why: what they hold is not in here.
    pub silent: Vec<Silent>,
}

/// A parked message without what it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Its home queue, or `millpond.unrouted`.
    pub queue: String,
    /// Its key within the queue.
    pub message_id: String,
    /// Its type.
    pub kind: String,
    /// Why it was parked the last time, without what was quoted from it.
    pub reason: String,
    /// Its group's reason.
    pub group: String,
    /// `open`, `replaying`, `replayed`, `discarded` or `closed`.
    pub state: String,
    /// Why it was discarded or closed, or why its replay failed.
    pub note: Option<String>,
    /// How often it was parked.
    pub times: i32,
    /// How often it was replayed.
    pub replays: i32,
    /// By the database's clock.
    pub first_parked_at: DateTime<Utc>,
    /// By the database's clock.
    pub last_parked_at: DateTime<Utc>,
}

/// Which part of a list of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// SQL texts, with commas between.
    states: String,
    after: Option<(String, String)>,
    limit: u32,
}

impl Page {
    /// The first `limit` messages in one of the states `state` (several with commas between; by default what is not ended),
    /// behind the one that an earlier page named as its `next`.
    ///
    /// # Errors
    /// What can't be meant, in words.
    pub fn read(state: Option<&str>, after: Option<&str>, limit: u32) -> Result<Self, String> {
        let states = match state {
            None => WAITING.to_owned(),
            Some(named) => {
                let known = named.split(',').map(|name| STATES.iter().find(|state| **state == name.trim()));
                let known: Option<Vec<String>> = known.map(|state| state.map(|state| format!("'{state}'"))).collect();
                known.ok_or_else(|| format!("the states are {}, not {named:?}", STATES.join(", ")))?.join(", ")
            }
        };
        let after = after.map(|place| {
            let (queue, message_id) = place.split_once('/').ok_or("after takes what a page gave as its next")?;
            Ok::<_, String>((queue.to_owned(), message_id.to_owned()))
        });
        Ok(Self { states, after: after.transpose()?, limit: limit.max(1) })
    }

    /// Puts the rows of all databases together.
    pub(crate) fn of(&self, mut messages: Vec<Member>, silent: Vec<Silent>) -> Messages {
        messages.sort_by(|one, other| one.place().cmp(&other.place()));
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = messages.len() > limit;
        messages.truncate(limit);
        let last = messages.last().filter(|_| more);
        let next = last.map(|member| format!("{}/{}", member.queue, member.message_id));
        Messages { messages, next, silent }
    }
}

impl Member {
    fn place(&self) -> (&str, &str) {
        (&self.queue, &self.message_id)
    }

    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let reason: String = row.try_get("", "reason")?;
        Ok(Self {
            queue: row.try_get("", "queue")?,
            message_id: row.try_get("", "message_id")?,
            kind: row.try_get("", "kind")?,
            reason: without_quoted(&reason),
            group: row.try_get("", "reason_key")?,
            state: row.try_get("", "state")?,
            note: row.try_get("", "note")?,
            times: row.try_get("", "times")?,
            replays: row.try_get("", "replays")?,
            first_parked_at: row.try_get("", "first_parked_at")?,
            last_parked_at: row.try_get("", "last_parked_at")?,
        })
    }
}

/// The rows of one database that may be on the page, and one more: it says whether there is another page.
pub(crate) async fn of(database: &Arc<Database>, selection: &Selection, page: &Page) -> Result<Vec<Member>, DbErr> {
    // Byte by byte, as rows of several databases are put together here.
    let bytewise = match database.backend() {
        Backend::Postgres => " COLLATE \"C\"",
        Backend::Sqlite => "",
    };
    let place = format!("queue{bytewise}, message_id{bytewise}");
    let (mut condition, mut binds) = chosen(selection, &page.states, 2);
    binds.insert(0, (i64::from(page.limit) + 1).into());
    if let Some((queue, message_id)) = &page.after {
        let first = binds.len() + 1;
        condition = format!("{condition} AND ({place}) > (${first}, ${})", first + 1);
        binds.extend([queue, message_id].map(|text| Value::from(text.replace('\0', "␀"))));
    }
    let sql = format!(
        "SELECT queue, message_id, kind, reason, reason_key, state, note, times, replays, first_parked_at, last_parked_at \
         FROM parked_messages WHERE {condition} ORDER BY {place} LIMIT $1"
    );
    let rows = database.read().query_all_raw(database.statement(sql, binds)).await?;
    rows.iter().map(Member::read).collect()
}
