//! Parked messages: what there is in groups and one by one, one with its redacted sample, replay, stop, discard.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State as Shared};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use broker::QueueName;
use futures::future::BoxFuture;
use parker::{Audit, Deed, DeskError, Listing, Messages, Page, Selection, Shown};
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use service::Problem;
use store::{Database, Transaction};

use crate::audit;
use crate::auth::Operator;
use crate::body;
use crate::problems::{DATABASE_AWAY, INVALID, UNKNOWN_NAME};
use crate::run::State;

/// Groups or messages of one answer, and at most.
const USUAL: u32 = 100;
const MOST: u32 = 1_000;

impl State {
    /// The home queue that somebody calls `name`, as rows carry it. A queue that was removed may have left some; where none did,
    /// the name is a slip, and not one of which nothing is parked.
    async fn home(&self, name: &str) -> Result<String, Problem> {
        let unrouted = QueueName::unrouted();
        if name == unrouted.as_str() {
            return Ok(unrouted.to_string());
        }
        let unknown = match self.queue(name) {
            Ok(known) => return Ok(known.name().to_string()),
            Err(unknown) => unknown,
        };
        if self.desk.may_hold(name, self.config.database_timeout()).await {
            return Ok(name.to_owned());
        }
        Err(Problem::new(UNKNOWN_NAME, format!("{}, and {unrouted}", unknown.detail())))
    }

    /// `selection` with its queue as rows carry it.
    async fn resolved(&self, selection: Selection) -> Result<Selection, Problem> {
        let Some(name) = &selection.queue else { return Ok(selection) };
        Ok(Selection { queue: Some(self.home(name).await?), ..selection })
    }
}

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/parked", get(list))
        .route("/v1/parked/messages", get(messages))
        .route("/v1/parked/replay", post(replay))
        .route("/v1/parked/stop", post(stop))
        .route("/v1/parked/discard", post(discard))
        .route("/v1/parked/{queue}/{message_id}", get(show))
}

/// Which groups.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    queue: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
    limit: Option<u32>,
}

/// Which messages, and which part of their list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paged {
    queue: Option<String>,
    kind: Option<String>,
    reason: Option<String>,
    /// One state, or several with commas between; what is not ended where it is absent.
    state: Option<String>,
    /// What the page before gave as its `next`.
    after: Option<String>,
    limit: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    #[serde(default)]
    select: Selection,
    /// Messages a second, for each database; the configuration's where it is absent.
    per_second: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stop {
    #[serde(default)]
    select: Selection,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Discard {
    #[serde(default)]
    select: Selection,
    #[serde(default)]
    reason: String,
}

/// What an action came to.
#[derive(Debug, Serialize)]
struct Done {
    messages: u64,
}

async fn list(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Listing>, Problem> {
    let Query(Wanted { queue, kind, reason, limit }) = wanted.map_err(|error| {
        Problem::new(INVALID, format!("{error}; it takes queue=NAME, kind=TYPE, reason=REASON and limit=NUMBER"))
    })?;
    let selection = state.resolved(Selection { queue, kind, reason, ..Selection::default() }).await?;
    let limit = limit.unwrap_or(USUAL).clamp(1, MOST);
    Ok(Json(state.desk.list(&selection, limit, state.config.database_timeout()).await))
}

async fn messages(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    wanted: Result<Query<Paged>, QueryRejection>,
) -> Result<Json<Messages>, Problem> {
    let Query(Paged { queue, kind, reason, state: states, after, limit }) = wanted.map_err(|error| {
        let takes = "queue=NAME, kind=TYPE, reason=REASON, state=STATE, after=NEXT and limit=NUMBER";
        Problem::new(INVALID, format!("{error}; it takes {takes}"))
    })?;
    let page = Page::read(states.as_deref(), after.as_deref(), limit.unwrap_or(USUAL).clamp(1, MOST))
        .map_err(|why| Problem::new(INVALID, why))?;
    let selection = state.resolved(Selection { queue, kind, reason, ..Selection::default() }).await?;
    Ok(Json(state.desk.messages(&selection, &page, state.config.database_timeout()).await))
}

async fn show(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    Path((queue, message_id)): Path<(String, String)>,
) -> Result<Json<Shown>, Problem> {
    let queue = state.home(&queue).await?;
    let shown = state.desk.show(&queue, &message_id).await.map_err(problem)?;
    shown.map(Json).ok_or_else(|| Problem::new(UNKNOWN_NAME, format!("no message {message_id} of {queue} is parked")))
}

async fn replay(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let Replay { select, per_second } = body::json(&state.config, &headers, body).await?;
    let select = state.resolved(select).await?;
    let trail = Trail { state: &state, operator: &operator };
    let messages = state.desk.replay(&select, per_second, operator.name(), &trail).await.map_err(problem)?;
    Ok(Json(Done { messages }))
}

async fn stop(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let Stop { select } = body::json(&state.config, &headers, body).await?;
    let select = state.resolved(select).await?;
    let trail = Trail { state: &state, operator: &operator };
    let messages = state.desk.stop(&select, operator.name(), &trail).await.map_err(problem)?;
    Ok(Json(Done { messages }))
}

async fn discard(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, Problem> {
    let Discard { select, reason } = body::json(&state.config, &headers, body).await?;
    let select = state.resolved(select).await?;
    let trail = Trail { state: &state, operator: &operator };
    let messages = state.desk.discard(&select, &reason, operator.name(), &trail).await.map_err(problem)?;
    Ok(Json(Done { messages }))
}

fn problem(error: DeskError) -> Problem {
    match error {
        DeskError::Invalid(why) => Problem::new(INVALID, why),
        DeskError::Database { database, source } => {
            tracing::warn!(store.database = database, error = %source, "an operator's request failed at its database");
            let fault = store::Fault::classify(&source);
            let detail = format!("the database {database} can't do it now ({fault}); repeat the request");
            Problem::new(DATABASE_AWAY, detail).retry_after(2)
        }
    }
}

/// The audit trail of one request.
struct Trail<'a> {
    state: &'a State,
    operator: &'a Operator,
}

impl Audit for Trail<'_> {
    fn record<'a>(
        &'a self,
        database: &'a Database,
        tx: &'a Transaction,
        deed: &'a Deed,
    ) -> BoxFuture<'a, Result<(), DbErr>> {
        Box::pin(async move {
            let Selection { queue, message_id, .. } = &deed.selection;
            let target = match (queue, message_id) {
                (Some(queue), Some(id)) => format!("{queue}/{id}"),
                (Some(queue), None) => queue.clone(),
                _ => "parked".to_owned(),
            };
            let detail = serde_json::json!({
                "select": deed.selection, "messages": deed.messages, "how": deed.detail,
            });
            let action = audit::Action { action: deed.action, target: &target, detail };
            audit::write(self.state, database, tx, self.operator, action).await
        })
    }
}
