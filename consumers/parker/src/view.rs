//! Parked messages as operators see them: in groups, with a redacted sample.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbErr};
use serde::Serialize;
use serde_json::{Map, Value};
use store::entity::parked_message::Model;
use store::{Database, Reader, Reads};

use crate::desk::{Selection, chosen};
use crate::members::Member;
use crate::reason::without_quoted;
use crate::redact;
use crate::row;

/// States of what is not ended.
pub(crate) const WAITING: &str = "'open', 'replaying', 'replayed'";

/// What is parked.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Listing {
    /// The latest first.
    pub groups: Vec<Group>,
    /// Databases that did not answer, and why: what they hold is not in here.
    pub silent: Vec<Silent>,
}

/// A database that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// Its name in the configuration.
    pub database: String,
    /// In words.
    pub why: String,
}

/// Messages of one queue that were parked for one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Their home queue, or `millpond.unrouted`.
    pub queue: String,
    /// Their type.
    pub kind: String,
    /// What is the same about their reasons; names the group.
    pub reason: String,
    /// Messages that wait for a person.
    pub open: u64,
    /// Messages that are to be replayed.
    pub replaying: u64,
    /// Messages that were replayed, and whose effect is not known yet.
    pub replayed: u64,
    /// How often they were parked, all together.
    pub times: u64,
    /// When the first of them was parked, by the database's clock.
    pub first_parked_at: DateTime<Utc>,
    /// When one of them was parked last, by the database's clock.
    pub last_parked_at: DateTime<Utc>,
    /// The one parked last, redacted.
    pub sample: Option<Shown>,
}

/// A parked message as it may be shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// What a list says of it.
    #[serde(flatten)]
    pub member: Member,
    /// When it was published first.
    pub published_at: DateTime<Utc>,
    /// By the database's clock.
    pub replayed_at: Option<DateTime<Utc>>,
    /// When it was closed or discarded, by the database's clock.
    pub ended_at: Option<DateTime<Utc>>,
    /// Media type of the body.
    pub content_type: String,
    /// Millpond's own headers, and the names of the others.
    pub headers: Value,
    /// Length of the body.
    pub body_bytes: usize,
    /// The body with its field names, and the values that name no person.
    pub body: Value,
}

impl From<Model> for Shown {
    fn from(row: Model) -> Self {
        let none = Map::new();
        Self {
            headers: redact::headers(row.headers.as_object().unwrap_or(&none)),
            body: redact::sample(&row.body),
            body_bytes: row.body.len(),
            member: Member {
                reason: without_quoted(&row.reason),
                group: row.reason_key,
                queue: row.queue,
                message_id: row.message_id,
                kind: row.kind,
                state: row.state,
                note: row.note,
                times: row.times,
                replays: row.replays,
                first_parked_at: row.first_parked_at,
                last_parked_at: row.last_parked_at,
            },
            published_at: row.published_at,
            replayed_at: row.replayed_at,
            ended_at: row.ended_at,
            content_type: row.content_type,
        }
    }
}

pub(crate) async fn groups(database: &Arc<Database>, selection: &Selection, limit: u32) -> Result<Vec<Group>, DbErr> {
    let (condition, mut binds) = chosen(selection, WAITING, 2);
    binds.insert(0, i64::from(limit).into());
    let in_state =
        |state: &str| format!("CAST(sum(CASE WHEN state = '{state}' THEN 1 ELSE 0 END) AS bigint) AS {state}");
    let sql = format!(
        "SELECT queue, kind, reason_key, {}, {}, {}, CAST(sum(times) AS bigint) AS times, \
         min(first_parked_at) AS first_parked_at, max(last_parked_at) AS last_parked_at \
         FROM parked_messages WHERE {condition} GROUP BY queue, kind, reason_key ORDER BY max(last_parked_at) DESC LIMIT $1",
        in_state("open"),
        in_state("replaying"),
        in_state("replayed"),
    );
    // As of now: whoever has just replayed or discarded a group sees it.
    let reader = database.reader_as_of_now(Reads::Report).await?;
    let mut groups = Vec::new();
    for row in reader.query_all_raw(reader.statement(sql, binds)).await? {
        let count = |column: &str| -> Result<u64, DbErr> {
            let count: i64 = row.try_get("", column)?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let mut group = Group {
            queue: row.try_get("", "queue")?,
            kind: row.try_get("", "kind")?,
            reason: row.try_get("", "reason_key")?,
            open: count("open")?,
            replaying: count("replaying")?,
            replayed: count("replayed")?,
            times: count("times")?,
            first_parked_at: row.try_get("", "first_parked_at")?,
            last_parked_at: row.try_get("", "last_parked_at")?,
            sample: None,
        };
        // One body in memory at a time.
        group.sample = newest(&reader, &group).await?;
        groups.push(group);
    }
    Ok(groups)
}

async fn newest(reader: &Reader, group: &Group) -> Result<Option<Shown>, DbErr> {
    let sql = format!(
        "SELECT * FROM parked_messages WHERE queue = $1 AND kind = $2 AND reason_key = $3 AND state IN ({WAITING}) \
         ORDER BY last_parked_at DESC LIMIT 1"
    );
    let binds = [group.queue.clone().into(), group.kind.clone().into(), group.reason.clone().into()];
    let row = reader.query_one_raw(reader.statement(sql, binds)).await?;
    Ok(row.map(|row| row::read(&row)).transpose()?.map(Shown::from))
}

pub(crate) async fn one(database: &Arc<Database>, queue: &str, message_id: &str) -> Result<Option<Shown>, DbErr> {
    let sql = "SELECT * FROM parked_messages WHERE queue = $1 AND message_id = $2";
    let binds = [queue.replace('\0', "␀").into(), message_id.replace('\0', "␀").into()];
    let row = database.read().query_one_raw(database.statement(sql, binds)).await?;
    Ok(row.map(|row| row::read(&row)).transpose()?.map(Shown::from))
}

/// Whether any row carries this home queue's name.
pub(crate) async fn carries(database: &Arc<Database>, queue: &str) -> Result<bool, DbErr> {
    let sql = "SELECT 1 AS found FROM parked_messages WHERE queue = $1 LIMIT 1";
    let binds = [queue.replace('\0', "␀").into()];
    Ok(database.read().query_one_raw(database.statement(sql, binds)).await?.is_some())
}
