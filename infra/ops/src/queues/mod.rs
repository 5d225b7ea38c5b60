//! Queues: what waits, why, until when; pause and resume.

mod pause;
mod view;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::routing::{get, post};
use axum::{Json, Router};
use broker::{Broker, QueueName, QueueSpec, Topology, layout};
use futures::future::join_all;
use serde::Serialize;
use service::Problem;
use store::Databases;
use store::pause::Pause;
use tokio::time::timeout;

use crate::audit::Silent;
use crate::auth::Operator;
use crate::problems::UNKNOWN_NAME;
use crate::run::{State, home_of};

use view::{PauseState, QueueView};
pub(crate) use watch::{Looks, follow};

/// A queue that Millpond's consumers take from.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) spec: QueueSpec,
    /// On the orders broker, else on that of page events.
    pub(crate) on_orders: bool,
    /// What waits in it, in the plural.
    pub(crate) what: &'static str,
}

impl Known {
    pub(crate) fn name(&self) -> &QueueName {
        &self.spec.name
    }

    /// As people write it: `checkout.main` for `millpond.checkout.main.v1`.
    fn is_called(&self, name: &str) -> bool {
        let full = self.name().as_str();
        full == name || full.strip_prefix("millpond.").and_then(|rest| rest.strip_suffix(".v1")) == Some(name)
    }
}

/// Every queue of the shop.
pub(crate) fn known(databases: &Databases) -> Vec<Known> {
    let orders = topology(databases).queues.into_iter().map(|spec| (spec, true));
    let all = orders.chain(layout::pages().queues.into_iter().map(|spec| (spec, false)));
    all.map(|(spec, on_orders)| {
        let what = match &spec.name {
            name if *name == layout::analytics_orders_queue() => "batches of outcomes",
            name if *name == layout::analytics_pages_queue() => "batches of page events",
            name if *name == layout::invalidation_queue() => "changes",
            _ => "orders",
        };
        Known { spec, on_orders, what }
    })
    .collect()
}

/// Everything on the orders broker.
pub(crate) fn topology(databases: &Databases) -> Topology {
    layout::orders(databases.regions().map(|region| &region.name))
}

impl State {
    /// The queue that somebody calls `name`.
    pub(crate) fn queue(&self, name: &str) -> Result<Known, Problem> {
        let mut all = known(&self.databases);
        if let Some(position) = all.iter().position(|known| known.is_called(name)) {
            return Ok(all.swap_remove(position));
        }
        let names: Vec<&str> = all.iter().map(|known| known.name().as_str()).collect();
        Err(Problem::new(UNKNOWN_NAME, format!("there is no queue {name:?}; there are {}", names.join(", "))))
    }

    /// The broker that has it.
    pub(crate) fn broker_of(&self, known: &Known) -> &Arc<dyn Broker> {
        if known.on_orders { &self.orders } else { &self.events }
    }
}

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/queues", get(list))
        .route("/v1/queues/{queue}", get(one))
        .route("/v1/queues/{queue}/pause", post(pause::pause))
        .route("/v1/queues/{queue}/resume", post(pause::resume))
}

/// The answer of `GET /v1/queues`.
#[derive(Debug, Serialize)]
struct Answer {
    queues: Vec<QueueView>,
    /// What is in none of them.
    unrouted: Unrouted,
    /// Databases that did not say what is paused and parked, and why: there it is unknown.
    silent: Vec<Silent>,
}

/// Messages that no queue wanted: one is an alarm.
#[derive(Debug, Serialize)]
struct Unrouted {
    queue: String,
    /// Messages that wait for a parker; `null` where a broker does not say.
    ready: Option<u64>,
    /// As in a queue.
    parked_rows: Option<u64>,
}

async fn list(Shared(state): Shared<Arc<State>>, _operator: Operator) -> Json<Answer> {
    let told = told_by_databases(&state).await;
    let queues = known(&state.databases).iter().map(|known| view(&state, known, &told)).collect();
    let name = QueueName::unrouted();
    let (ready, parked_rows) = (state.looks.of(&name).ready, parked_rows(&state, &name, &told));
    let unrouted = Unrouted { queue: name.to_string(), ready, parked_rows };
    Json(Answer { queues, unrouted, silent: told.silent })
}

async fn one(
    Shared(state): Shared<Arc<State>>,
    _operator: Operator,
    axum::extract::Path(name): axum::extract::Path<String>,
) -> Result<Json<QueueView>, Problem> {
    let known = state.queue(&name)?;
    let told = told_by_databases(&state).await;
    Ok(Json(view(&state, &known, &told)))
}

/// What the databases say of queues, by the database's name.
struct Told {
    databases: BTreeMap<String, OfDatabase>,
    silent: Vec<Silent>,
}

struct OfDatabase {
    pauses: Vec<Pause>,
    /// Open parked messages, by queue.
    parked: BTreeMap<String, u64>,
}

async fn told_by_databases(state: &State) -> Told {
    let looks = state.databases.databases().iter().map(|database| async {
        let look = async {
            let pauses = store::pause::all(database).await?;
            let parked = watch::parked_rows(database).await?;
            Ok::<_, sea_orm::DbErr>(OfDatabase { pauses, parked })
        };
        (database.name().to_owned(), timeout(state.config.database_timeout(), look).await)
    });
    let mut told = Told { databases: BTreeMap::new(), silent: Vec::new() };
    for (database, looked) in join_all(looks).await {
        match looked {
            Ok(Ok(of_it)) => drop(told.databases.insert(database, of_it)),
            Ok(Err(error)) => told.silent.push(Silent { database, why: error.to_string() }),
            Err(_) => told.silent.push(Silent { database, why: "no answer in time".to_owned() }),
        }
    }
    told
}

fn view(state: &State, known: &Known, told: &Told) -> QueueView {
    let home = home_of(&state.databases, known.name());
    let of_home = told.databases.get(home.name());
    let pause = match of_home {
        None => PauseState::Unknown,
        Some(told) => told
            .pauses
            .iter()
            .find(|pause| pause.queue == known.name().as_str())
            .map_or(PauseState::Open, PauseState::Paused),
    };
    let look = state.looks.of(known.name());
    view::of(known, &look, pause, parked_rows(state, known.name(), told), state.clock.now())
}

/// The rows of `queue` that wait for a person. They lie where the parker keeps them (`parker.database`), which is not where
/// pauses are; unknown as a whole where one of those databases is silent.
fn parked_rows(state: &State, queue: &QueueName, told: &Told) -> Option<u64> {
    let holding = state.desk.holding(queue);
    let rows = holding.iter().map(|database| {
        let told = told.databases.get(database.name())?;
        Some(told.parked.get(queue.as_str()).copied().unwrap_or(0))
    });
    rows.sum()
}
