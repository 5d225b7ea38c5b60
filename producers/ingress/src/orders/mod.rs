//! `POST /v1/orders`.

mod accept;
mod answer;
mod form;
mod read;
mod recent;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use model::{IdempotencyKey, OrderId, StatusToken, TokenKey};
use service::keys::{self, Entry, Scope};
use service::{FieldError, Kind, Problem, idempotency};

pub(crate) use recent::Recent;
use recent::{Accepted, Known};

use crate::gate::Place;
use crate::intake::{self, Limits, Media};
use crate::run::{MarketEntry, Shared};

/// Wrong fields in an order.
const INVALID_ORDER: Kind = Kind::new(StatusCode::BAD_REQUEST, "invalid_order", "The order is not valid");
/// The key was used for another order.
const IDEMPOTENCY_CONFLICT: Kind = Kind::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "idempotency_conflict",
    "This Idempotency-Key was used for another order",
);
/// What this route takes, in its 503s.
pub(crate) const WHAT: &str = "orders";
/// What every 503 of this route says.
pub(crate) const AGAIN: &str = "send the order again with the same Idempotency-Key: it is taken once at most";

/// Takes an order: see the crate's guarantees.
pub(crate) async fn post(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Problem> {
    if form::is_form(request.headers()) {
        return form::post(&shared, request).await;
    }
    let answer = take(&shared, request).await;
    shared.orders_gate.count(answer)
}

async fn take(shared: &Arc<Shared>, request: Request) -> Result<Response, Problem> {
    let gate = &shared.orders_gate;
    let (head, body) = request.into_parts();
    let plain = keys::from_header(&head.headers)?;
    let clock = &*shared.clock;
    let key = keys::check(&shared.keys, clock, plain.as_deref(), Scope::Orders, &head.headers)?;
    let market = shared.market(&key)?;
    let idempotency_key = idempotency::key(&head.headers, "order")?;
    gate.admit(&market.valve)?;
    let limits = Limits { media: Media::Json, bytes: shared.config.order_bytes, time: shared.body_time() };
    let arrived = gate.read(&head.headers, body, &limits).await?;
    let body = arrived.body.clone();
    let place = gate.place(arrived)?;
    let value = serde_json::from_slice(&body).map_err(|error| intake::not_json(&error))?;
    let placed = accept_order(shared, Asked { headers: &head.headers, key, idempotency_key, value, place }).await?;
    Ok(answer::accepted(shared, &placed))
}

/// An order that was read, and for whom there is room.
struct Asked<'a> {
    headers: &'a HeaderMap,
    key: Arc<Entry>,
    idempotency_key: IdempotencyKey,
    value: serde_json::Value,
    place: Place,
}

/// An order that is durable.
struct Placed {
    order_id: OrderId,
    accepted: Accepted,
    /// How long its outcome is likely to take, seconds; `None` where that is not known, or was long ago.
    wait_s: Option<u32>,
}

impl Placed {
    /// The token of its status URL.
    fn token(&self, key: &TokenKey) -> String {
        let Known { fingerprint, accepted_at } = &self.accepted.order;
        StatusToken { order_id: self.order_id, fingerprint: *fingerprint, accepted_at: *accepted_at }.sign(key)
    }
}

/// Reads the order in full, and publishes it.
async fn accept_order(shared: &Arc<Shared>, asked: Asked<'_>) -> Result<Placed, Problem> {
    let Asked { headers, key, idempotency_key, value, place } = asked;
    let gate = &shared.orders_gate;
    let market = shared.market(&key)?;
    let terms = read::Terms { currency: market.currency, kind: key.kind, max_lines: shared.config.order_lines };
    let order = read::order(value, &terms).map_err(invalid)?;
    let order_id = OrderId::derive(market.number, &key.market, &idempotency_key);
    let placed = order.placed(order_id, market.number, &key, idempotency_key, shared.clock.now());
    let fingerprint = placed.fingerprint;
    let traceparent = intake::traceparent(headers);

    // In a task of its own: a client that goes away drops this handler, not the publish. Its place goes with it.
    // Boxed, since it holds the order, and is moved many times on its way into the task.
    let accepting = Box::pin(accept::accept(Arc::clone(shared), Arc::clone(market), placed, traceparent));
    let accepted = shared
        .tasks
        .spawn("order publish", async move {
            let accepted = accepting.await;
            drop(place);
            accepted
        })
        .await
        .map_err(|_| gate.failed(&broker::PublishError::Unknown))?
        .map_err(|error| gate.failed(&error))?;
    if accepted.order.fingerprint != fingerprint {
        return Err(conflict(&key, order_id));
    }
    let wait_s = if accepted.replayed { None } else { market.valve.wait_s() };
    Ok(Placed { order_id, accepted, wait_s })
}

fn invalid((detail, errors): (String, Vec<FieldError>)) -> Problem {
    Problem::new(INVALID_ORDER, detail).with_errors(errors)
}

fn conflict(key: &Entry, order_id: OrderId) -> Problem {
    Problem::new(
        IDEMPOTENCY_CONFLICT,
        format!(
            "the market {} has the order {order_id} under this key, with other contents; that one stands. \
             A new order needs a new key.",
            key.market
        ),
    )
}

impl Shared {
    /// The market that a key names.
    pub(crate) fn market(&self, key: &Entry) -> Result<&Arc<MarketEntry>, Problem> {
        self.markets.get(&key.market).ok_or_else(|| {
            keys::forbidden(format!(
                "the API key {:?} is for the market {}, which is not configured here",
                key.name, key.market
            ))
        })
    }
}
