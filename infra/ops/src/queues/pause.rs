//! Pause and resume: a row, and its audit row, in the queue's home.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::Problem;
use store::pause;

use super::view::PauseView;
use crate::audit::{self, Action};
use crate::auth::Operator;
use crate::run::{State, home_of};
use crate::{body, problems};

/// A reason at most, bytes.
const REASON_BYTES: usize = 500;

/// The body of both; it may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    reason: Option<String>,
}

/// The answer of both.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    queue: String,
    /// `null` once it is resumed.
    paused: Option<PauseView>,
    /// False where it was so before.
    changed: bool,
}

pub(super) async fn pause(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Outcome>, Problem> {
    let why: Why = body::json(&state.config, &headers, body).await?;
    act(&state, &operator, &name, why, true).await
}

pub(super) async fn resume(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Outcome>, Problem> {
    let why: Why = body::json(&state.config, &headers, body).await?;
    act(&state, &operator, &name, why, false).await
}

async fn act(
    state: &State,
    operator: &Operator,
    name: &str,
    Why { reason }: Why,
    pause: bool,
) -> Result<Json<Outcome>, Problem> {
    if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES) {
        return Err(Problem::new(problems::INVALID, format!("a reason has at most {REASON_BYTES} bytes")));
    }
    let known = state.queue(name)?;
    let queue = known.name().as_str();
    let home = home_of(&state.databases, known.name());
    let commit = async {
        let tx = home.begin().await?;
        let changed = if pause {
            pause::set(home, &tx, queue, operator.name(), reason.as_deref()).await?
        } else {
            pause::lift(home, &tx, queue).await?
        };
        let action = if pause { "queue.pause" } else { "queue.resume" };
        let detail = json!({"changed": changed, "reason": reason});
        audit::write(state, home, &tx, operator, Action { action, target: queue, detail }).await?;
        tx.commit().await?;
        let paused = pause::all(home).await?.into_iter().find(|row| row.queue == queue);
        Ok::<_, DbErr>(Outcome { queue: queue.to_owned(), paused: paused.as_ref().map(PauseView::from), changed })
    };
    match commit.await {
        Ok(done) => Ok(Json(done)),
        Err(error) => Err(problems::away(home, &error)),
    }
}
