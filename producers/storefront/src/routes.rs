//! `GET /v1/orders/{id}` and its stream.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use model::{OrderId, StatusToken};
use serde::Deserialize;
use service::{Kind, Problem, kinds};

use crate::lookup::Away;
use crate::run::Shared;
use crate::stream::{self, Waiting};
use crate::view::{Known, View};

/// One answer for a missing, a forged and another order's token, and for an id that is none: whoever guesses learns
/// nothing, not even whether there is such an order.
const INVALID_TOKEN: Kind =
    Kind::new(StatusCode::FORBIDDEN, "invalid_status_token", "This is not the status URL of an order");
/// The order was accepted, and nobody can say now what became of it.
const STATUS_UNAVAILABLE: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "status_unavailable", "The order's status can't be read right now");

#[derive(Deserialize)]
struct StatusQuery {
    #[serde(default)]
    t: String,
}

pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/orders/{id}", get(status))
        .route("/v1/orders/{id}/events", get(events))
        .with_state(Arc::clone(shared))
}

async fn status(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<StatusQuery>,
    headers: HeaderMap,
) -> Response {
    if wants_stream(&headers) {
        return private(open_stream(&shared, &id, &query, &headers).await);
    }
    private(show(&shared, &id, &query).await.map(|view| Json(view).into_response()))
}

async fn events(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<StatusQuery>,
    headers: HeaderMap,
) -> Response {
    private(open_stream(&shared, &id, &query, &headers).await)
}

async fn show(shared: &Shared, id: &str, query: &StatusQuery) -> Result<View, Problem> {
    let token = authenticate(shared, id, &query.t)?;
    let known = shared.lookup.find(token.order_id).await.map_err(unavailable)?;
    Ok(View::of(&token, &known))
}

/// Opens the stream also while the database is away: a browser's `EventSource` gives up for good on any other answer than
/// 200, and the first look that succeeds is told.
async fn open_stream(shared: &Shared, id: &str, query: &StatusQuery, headers: &HeaderMap) -> Result<Response, Problem> {
    let token = authenticate(shared, id, &query.t)?;
    let full = |of: &str| {
        let detail =
            format!("as many status streams{of} are open as this server takes; ask for the status without a stream");
        Problem::new(kinds::REDUCED_CAPACITY, detail).retry_after(2)
    };
    let slot = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| full(""))?;
    // Followed before it is looked up, so that a change between the two is not missed.
    let order = shared.watched.follow(token.order_id, shared.config.max_streams_per_order);
    let order = order.ok_or_else(|| full(" of this order"))?;
    if let Ok(known) = shared.lookup.find(token.order_id).await {
        if has_seen_the_end(headers, &token, &known) {
            // The one answer that tells an `EventSource` to stop (HTML, section 9.2.3).
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        shared.watched.tell(token.order_id, known);
    }
    let waiting = Waiting { token, order, stop: shared.stop.clone(), _slot: slot };
    Ok(stream::answer(waiting, &shared.config).into_response())
}

/// A client that was told the terminal version and comes back for more.
fn has_seen_the_end(headers: &HeaderMap, token: &StatusToken, known: &Known) -> bool {
    let view = View::of(token, known);
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<i64>().ok());
    view.is_terminal() && seen == Some(view.version())
}

/// Who may see this order: whoever has its token.
pub(crate) fn authenticate(shared: &Shared, id: &str, token: &str) -> Result<StatusToken, Problem> {
    let refused = || {
        let detail = "the URL must be the one from the answer to the order's post, unchanged, with its parameter t";
        Problem::new(INVALID_TOKEN, detail)
    };
    let id: OrderId = id.parse().map_err(|_| refused())?;
    let token = StatusToken::verify(token, &shared.token_key).map_err(|_| refused())?;
    if token.order_id == id { Ok(token) } else { Err(refused()) }
}

fn unavailable(away: Away) -> Problem {
    let detail = format!("{away}; the order was accepted and is not lost, ask again later");
    Problem::new(STATUS_UNAVAILABLE, detail).retry_after(2)
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"))
}

/// The URL is a permission: nobody keeps the answer, no link tells the URL. Any page may ask, since what it needs is the
/// token and never a cookie.
fn private(answer: Result<Response, Problem>) -> Response {
    const HEADERS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::VARY, "accept"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
