//! `GET /v1/orders?find=`: an order by its id, its idempotency key or the shop's own number, with what became of it.
//!
//! An id names its region. A key makes an id in each market, so it is looked up by that and needs no index; a shop's number
//! is looked for in every region. Each database has a time limit, and one that keeps silent is named.

mod parked;
mod rows;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::routing::get;
use axum::{Json, Router};
use broker::{QueueName, layout};
use futures::future::join_all;
use model::{IdempotencyKey, OrderId, RegionNumber};
use serde::{Deserialize, Serialize};
use serde_json::json;
use service::Problem;
use store::Region;
use tokio::time::timeout;

use crate::audit::{self, Action, Silent};
use crate::auth::Operator;
use crate::problems::{self, INVALID};
use crate::run::State;

use view::{Missing, OrderView};

/// What is looked for at most, bytes: as long as an idempotency key.
const FIND_BYTES: usize = 255;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    find: String,
    /// Whether what customers wrote is shown; it is written into the audit trail.
    #[serde(default)]
    show_customer: bool,
}

/// The answer of `GET /v1/orders`.
#[derive(Debug, Default, Serialize)]
struct Answer {
    orders: Vec<OrderView>,
    /// Ids that this could be, and that no database holds.
    missing: Vec<Missing>,
    /// Databases that did not answer: what they hold is unknown.
    silent: Vec<Silent>,
    /// Whether some parked messages were not looked through.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    parked_unknown: bool,
    /// What to make of it, where nothing was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What is looked for in one region.
#[derive(Debug, Default)]
struct Wish {
    ids: BTreeSet<OrderId>,
    /// The shop's own number, in these markets.
    markets: BTreeSet<String>,
}

pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new().route("/v1/orders", get(find))
}

async fn find(
    Shared(state): Shared<Arc<State>>,
    operator: Operator,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Answer>, Problem> {
    let Query(Wanted { find, show_customer }) = wanted.map_err(|error| {
        let detail = format!("{error}; it takes find=ID, KEY or REFERENCE, and show_customer=true");
        Problem::new(INVALID, detail)
    })?;
    let find = find.trim();
    if find.is_empty() || find.len() > FIND_BYTES {
        return Err(Problem::new(
            INVALID,
            format!("find must be an id, a key or a reference of 1 to {FIND_BYTES} bytes"),
        ));
    }
    let wishes = wishes(&state, find)?;
    let limit = state.config.database_timeout();
    let unrouted = state.desk.holding(&QueueName::unrouted());
    let looks = wishes.iter().filter_map(|(number, wish)| {
        let region = state.databases.region(*number)?;
        let found = timeout(limit, rows::find(region, wish, find, &unrouted));
        Some(async move { (region, wish, found.await) })
    });
    let mut answer = Answer::default();
    for (region, wish, looked) in join_all(looks).await {
        match looked {
            Ok(Ok(found)) => take(&state, &operator, region, wish, found, show_customer, &mut answer).await?,
            Ok(Err(error)) => silent(&mut answer, region, error.to_string()),
            Err(_) => silent(&mut answer, region, "no answer in time".to_owned()),
        }
    }
    answer.advice = advice(&answer);
    Ok(Json(answer))
}

/// What to look for, by region.
fn wishes(state: &State, find: &str) -> Result<BTreeMap<RegionNumber, Wish>, Problem> {
    let mut wishes: BTreeMap<RegionNumber, Wish> = BTreeMap::new();
    if let Ok(id) = find.parse::<OrderId>() {
        if state.databases.region(id.region()).is_none() {
            let detail = format!("this id is of region {}, which this configuration does not have", id.region().0);
            return Err(Problem::new(problems::UNKNOWN_NAME, detail));
        }
        wishes.entry(id.region()).or_default().ids.insert(id);
        return Ok(wishes);
    }
    let key = find.parse::<IdempotencyKey>().ok();
    for (market, region) in &state.markets {
        let wish = wishes.entry(*region).or_default();
        wish.ids.extend(key.as_ref().map(|key| OrderId::derive(*region, market, key)));
        wish.markets.insert(market.to_string());
    }
    Ok(wishes)
}

async fn take(
    state: &State,
    operator: &Operator,
    region: &Region,
    wish: &Wish,
    mut found: rows::Found,
    show_customer: bool,
    answer: &mut Answer,
) -> Result<(), Problem> {
    for mut order in found.orders {
        if order.customer.is_some() && show_customer {
            // Before it is shown: there is no look without its row.
            let id = order.order_id.to_string();
            let action = Action { action: "order.show_customer", target: &id, detail: json!({}) };
            let written = audit::write_alone(state, &region.database, operator, action).await;
            written.map_err(|error| problems::away(&region.database, &error))?;
        } else {
            order.redact();
        }
        answer.orders.push(order);
    }
    let stored: BTreeSet<OrderId> = answer.orders.iter().map(|order| order.order_id).collect();
    for id in wish.ids.difference(&stored) {
        let parked = found.parked.remove(id).unwrap_or_default();
        answer.parked_unknown |= parked.unknown;
        let queue = layout::checkout_queue(&region.name);
        let ready = state.looks.of(&queue).ready;
        answer.missing.push(Missing {
            order_id: *id,
            region: region.name.to_string(),
            queue: queue.to_string(),
            ready,
            parked: parked.moments,
        });
    }
    Ok(())
}

fn silent(answer: &mut Answer, region: &Region, why: String) {
    answer.silent.push(Silent { database: region.database.name().to_owned(), why });
}

fn advice(answer: &Answer) -> Option<String> {
    if !answer.orders.is_empty() {
        return None;
    }
    if answer.missing.iter().any(|missing| !missing.parked.is_empty()) {
        return Some(
            "It is parked, and not stored: look at why with `millpond parked show QUEUE MESSAGE`, then replay or discard it by \
             the same two names."
                .to_owned(),
        );
    }
    if !answer.silent.is_empty() {
        return Some("Not found in the databases that answered; ask again once the silent ones do.".to_owned());
    }
    if answer.parked_unknown {
        return Some(
            "Nothing is stored, and not every parked message could be looked through: `millpond parked list` has them."
                .to_owned(),
        );
    }
    Some(
        "Nothing is stored. If a client was answered 202 for it, it is known to the queue only and waits there, on its ladder \
         of retries, or in the parked queue: `millpond queues` shows them. If no client was, there is no such order."
            .to_owned(),
    )
}
