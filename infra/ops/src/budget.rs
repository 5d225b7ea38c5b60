//! Budgets of databases at run time: what is written into a database counts for every process, without a roll-out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use flow::{Budget, shares};
use futures::future::join_all;
use sea_orm::DbErr;
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::Problem;
use store::{Database, governor};
use tokio::time::timeout;

use crate::audit::{self, Action, Silent};
use crate::auth::Operator;
use crate::run::State;
use crate::{body, problems};

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new().route("/v1/databases", get(list)).route("/v1/databases/{name}/budget", get(show).put(set))
}

/// A database's budget.
#[derive(Debug, Serialize)]
struct BudgetView {
    database: String,
    /// What counts.
    budget: Budget,
    /// What was written into the database; `null`: the configuration counts.
    written: Option<Budget>,
    /// What this process's configuration says.
    configured: Budget,
    /// Who holds which part of it. A SQLite file's are in its process's memory, and not told here.
    leases: Vec<LeaseView>,
}

#[derive(Debug, Serialize)]
struct LeaseView {
    /// `checkout` or `analytics`.
    rank: &'static str,
    /// Part of the budget, 0 to 1.
    share: f64,
}

/// The answer of `GET /v1/databases`.
#[derive(Debug, Serialize)]
struct Answer {
    databases: Vec<BudgetView>,
    silent: Vec<Silent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `null` takes back what was written: the configuration counts again. It must be said: a body that was forgotten is not
    /// to take anything back.
    #[serde(deserialize_with = "Option::deserialize")]
    budget: Option<Budget>,
}

async fn list(Shared(state): Shared<Arc<State>>, _operator: Operator) -> Json<Answer> {
    let looks = state.databases.databases().iter().map(|database| async {
        (database.name().to_owned(), timeout(state.config.database_timeout(), view(database)).await)
    });
    let mut answer = Answer { databases: Vec::new(), silent: Vec::new() };
    for (database, looked) in join_all(looks).await {
        match looked {
            Ok(Ok(view)) => answer.databases.push(view),
            Ok(Err(error)) => answer.silent.push(Silent { database, why: error.to_string() }),
            Err(_) => answer.silent.push(Silent { database, why: "no answer in time".to_owned() }),
        }
    }
    Json(answer)
}

async fn show(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    Path(name): Path<String>,
) -> Result<Json<BudgetView>, Problem> {
    let database = state.database(&name)?;
    let limit = state.config.database_timeout();
    match timeout(limit, view(database)).await {
        Ok(Ok(view)) => Ok(Json(view)),
        Ok(Err(error)) => Err(problems::away(database, &error)),
        Err(_) => Err(problems::slow(database, limit)),
    }
}

async fn set(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BudgetView>, Problem> {
    let database = state.database(&name)?;
    let Wanted { budget } = body::json(&state.config, &headers, body).await?;
    let commit = async {
        let before = governor::budget(database).await?;
        let tx = database.begin().await?;
        governor::set_budget_in(database, &tx, budget).await?;
        let detail = json!({"before": before, "budget": budget});
        audit::write(&state, database, &tx, &operator, Action { action: "budget.set", target: &name, detail }).await?;
        tx.commit().await?;
        view(database).await
    };
    commit.await.map(Json).map_err(|error| problems::away(database, &error))
}

async fn view(database: &Database) -> Result<BudgetView, DbErr> {
    let written = governor::budget(database).await?;
    let leases = governor::leases(database).await?;
    let part = |share: u32| f64::from(share) / f64::from(shares::WHOLE);
    Ok(BudgetView {
        database: database.name().to_owned(),
        budget: written.unwrap_or(database.budget()),
        written,
        configured: database.budget(),
        leases: leases.iter().map(|lease| LeaseView { rank: lease.rank.name(), share: part(lease.share) }).collect(),
    })
}

impl State {
    /// The database of this name in the configuration.
    pub(crate) fn database(&self, name: &str) -> Result<&Arc<Database>, Problem> {
        let all = self.databases.databases();
        all.iter().find(|database| database.name() == name).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|database| database.name()).collect();
            let detail = format!("there is no database {name:?}; there are {}", names.join(", "));
            Problem::new(problems::UNKNOWN_NAME, detail)
        })
    }
}
