//! Who did what, when, to what: table `operator_audit`, in the database that was acted upon.

use std::sync::Arc;

use axum::extract::{Query, State as Shared};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use model::EventId;
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use serde::{Deserialize, Serialize};
use service::Problem;
use store::{Database, Reads, Transaction};
use tokio::time::timeout;

use crate::auth::Operator;
use crate::problems::INVALID;
use crate::run::State;

/// Rows of one answer at most.
const MOST: u64 = 1_000;

/// What was done, to be written where it was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Action<'a> {
    /// Permanent, `noun.verb`: `queue.pause`.
    pub action: &'a str,
    /// To what: a queue, a database, an order's id.
    pub target: &'a str,
    /// What else there is to know. Nothing that customers wrote.
    pub detail: serde_json::Value,
}

/// Writes what `operator` does, in the transaction that does it.
///
/// # Errors
/// The database's: then the action fails too.
pub async fn write(
    state: &State,
    database: &Database,
    tx: &Transaction,
    operator: &Operator,
    action: Action<'_>,
) -> Result<(), DbErr> {
    let id = EventId::new(&*state.clock).as_uuid();
    tracing::info!(operator = operator.name(), action = action.action, target = action.target, "an operator acts");
    let sql = "INSERT INTO operator_audit (id, operator, action, target, detail) VALUES ($1, $2, $3, $4, $5)";
    let binds = [id.into(), operator.name().into(), action.action.into(), action.target.into(), action.detail.into()];
    tx.execute_raw(database.statement(sql, binds)).await.map(drop)
}

/// An action in a transaction of its own: for what changes nothing in a database, such as a look at customer data.
///
/// # Errors
/// The database's: then what was asked for should not be done.
pub async fn write_alone(
    state: &State,
    database: &Database,
    operator: &Operator,
    action: Action<'_>,
) -> Result<(), DbErr> {
    let tx = database.begin().await?;
    write(state, database, &tx, operator, action).await?;
    tx.commit().await
}

/// A row of the trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Entry {
    at: DateTime<Utc>,
    operator: String,
    action: String,
    target: String,
    detail: serde_json::Value,
    database: String,
}

/// The answer of `GET /v1/audit`.
#[derive(Debug, Serialize)]
struct Trail {
    /// Newest first.
    entries: Vec<Entry>,
    /// Databases whose rows are missing here, and why.
    silent: Vec<Silent>,
}

/// A database that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Silent {
    pub(crate) database: String,
    pub(crate) why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    limit: Option<u64>,
    before: Option<DateTime<Utc>>,
}

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new().route("/v1/audit", get(show))
}

async fn show(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    wanted: Result<Query<Wanted>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Trail>, Problem> {
    let Query(wanted) = wanted.map_err(|error| {
        Problem::new(INVALID, format!("{error}; it takes limit=NUMBER and before=TIME (2026-11-24T14:00:00Z)"))
    })?;
    let limit = wanted.limit.unwrap_or(100).clamp(1, MOST);
    let looks = state.databases.databases().iter().map(|database| async {
        let look = timeout(state.config.database_timeout(), rows(database, limit, wanted.before));
        (database.name(), look.await)
    });
    let mut trail = Trail { entries: Vec::new(), silent: Vec::new() };
    for (database, looked) in join_all(looks).await {
        match looked {
            Ok(Ok(entries)) => trail.entries.extend(entries),
            Ok(Err(error)) => trail.silent.push(Silent { database: database.to_owned(), why: error.to_string() }),
            Err(_) => trail.silent.push(Silent { database: database.to_owned(), why: "no answer in time".to_owned() }),
        }
    }
    trail.entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    trail.entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Json(trail))
}

/// As of now: whoever has just acted finds it in the trail.
async fn rows(database: &Arc<Database>, limit: u64, before: Option<DateTime<Utc>>) -> Result<Vec<Entry>, DbErr> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let columns = "SELECT at, operator, action, target, detail FROM operator_audit";
    let mut binds = vec![limit.into()];
    binds.extend(before.map(Value::from));
    let earlier = if before.is_some() { "WHERE at < $2" } else { "" };
    let sql = format!("{columns} {earlier} ORDER BY at DESC, id DESC LIMIT $1");
    let reader = database.reader_as_of_now(Reads::History).await?;
    let rows = reader.query_all_raw(reader.statement(sql, binds)).await?;
    rows.iter().map(|row| entry(database, row)).collect()
}

fn entry(database: &Database, row: &QueryResult) -> Result<Entry, DbErr> {
    Ok(Entry {
        at: row.try_get("", "at")?,
        operator: row.try_get("", "operator")?,
        action: row.try_get("", "action")?,
        target: row.try_get("", "target")?,
        detail: row.try_get("", "detail")?,
        database: database.name().to_owned(),
    })
}
