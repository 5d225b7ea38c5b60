//! What a shop's own servers ask of stock and orders: `store::stock` over HTTP.
//!
//! | route | body | what |
//! |---|---|---|
//! | `GET /v1/stock/{sku}` | – | exact numbers; without a key a band, which [`crate::pages`] tells |
//! | `PUT /v1/stock/{sku}` | `{"on_hand": 40}` | an absolute count, promised units included |
//! | `POST /v1/stock/{sku}/restock` | `{"units": 10}` | goods came in |
//! | `POST /v1/stock/{sku}/allotments` | `{"give": 500}`, `{"take": 200}`, `{"take": "rest"}` | units lent, or taken back |
//! | `POST /v1/orders/{id}/pay`, `/ship`, `/cancel` | – | of a whole order |
//! | `POST /v1/orders/{id}/refunds` | `{"lines": [{"sku", "quantity", "restock", "amount_minor"}]}` | lines paid back |
//!
//! Each needs a server key with the scope `stock`; its market names the region and is the only one whose orders it reaches.
//! Each but the first needs an `Idempotency-Key`: a repeat is answered as the first was, with `Idempotency-Replayed: true`; the
//! key with another change is 422. A refusal (404, 409) changes nothing and is not remembered, so that the same key may try
//! again. A 503 leaves the outcome open, and is safe to send again with the same key.
//!
//! # Versions
//! What answers with a row of stock names its version as `ETag: "4"`. A change of it with `If-Match: "4"` is made to that version or
//! refused with 412, which names the current one: no count overwrites a delivery, or another count, that it has not seen.
//! `If-None-Match: *` begins a row only. The version counts sales too, for `reserved` and `available` in the answer are the
//! version's: while an article sells, look again and send it once more. A repeat under the same key needs no version: it is
//! answered as the first was. Of an order there is no such condition, for its state is one; a header that asks for it is 400.

mod answer;
mod read;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use cache::OrderStatus;
use model::{IdempotencyKey, OrderId, Sku};
use service::keys::Scope;
use service::{Problem, body, idempotency, kinds};
use store::Fault;
use store::catalogue::Expected;
use store::stock::{self, Change, Done, Error, OrderNow, Refusal};
use tokio::sync::OwnedSemaphorePermit;

use crate::caller::{self, Caller};
use crate::run::Shared;
use crate::{condition, pages};
use answer::AGAIN;

/// Routes of stock, and of what changes an order.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(pages::route::STOCK, get(look).put(count))
        .route("/v1/stock/{sku}/restock", post(restock))
        .route("/v1/stock/{sku}/allotments", post(allotment))
        .route("/v1/orders/{id}/pay", post(pay))
        .route("/v1/orders/{id}/ship", post(ship))
        .route("/v1/orders/{id}/cancel", post(cancel))
        .route("/v1/orders/{id}/refunds", post(refund))
        .with_state(Arc::clone(shared))
}

type Answer = Result<Response, Problem>;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Stock,
    Order,
}

impl Of {
    /// What has to be there for the change to be made.
    fn expected(self, headers: &HeaderMap) -> Result<Expected, Problem> {
        match self {
            Self::Stock => condition::expected(headers),
            Self::Order => {
                condition::none(headers, "an order is changed by what its state allows, and not by its version")?;
                Ok(Expected::Anything)
            }
        }
    }
}

async fn look(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, uri: Uri, headers: HeaderMap) -> Answer {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(pages::stock(&shared, &sku, &uri, &headers).await);
    }
    let caller = Caller::of(&shared, &headers, Scope::Stock)?;
    let sku = read::sku(&sku)?;
    let _slot = slot(&shared)?;
    let looking = stock::look(&caller.region, &sku);
    match tokio::time::timeout(shared.config.changes.timeout(), looking).await {
        Ok(Ok(Some(stock))) => Ok(answer::stock(&stock)),
        Ok(Ok(None)) => Err(answer::refused(&Refusal::UnknownSku(sku))),
        Ok(Err(error)) => Err(caller::failed(&Fault::classify(&error), AGAIN)),
        Err(_) => Err(caller::too_slow(AGAIN)),
    }
}

async fn count(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Answer {
    of_stock(shared, &sku, request, read::count).await
}

async fn restock(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Answer {
    of_stock(shared, &sku, request, read::restock).await
}

async fn allotment(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Answer {
    of_stock(shared, &sku, request, read::allotment).await
}

async fn pay(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Answer {
    of_order(shared, &id, request, |order, body| read::nothing(body).map(|()| Change::Pay { order })).await
}

async fn ship(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Answer {
    of_order(shared, &id, request, |order, body| read::nothing(body).map(|()| Change::Ship { order })).await
}

async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Answer {
    of_order(shared, &id, request, |order, body| read::nothing(body).map(|()| Change::Cancel { order })).await
}

async fn refund(State(shared): State<Arc<Shared>>, Path(id): Path<String>, request: Request) -> Answer {
    of_order(shared, &id, request, read::refund).await
}

async fn of_stock(
    shared: Arc<Shared>,
    sku: &str,
    request: Request,
    read: impl FnOnce(Sku, &[u8]) -> Result<Change, Problem>,
) -> Answer {
    let (head, body) = request.into_parts();
    let caller = Caller::of(&shared, &head.headers, Scope::Stock)?;
    let sku = read::sku(sku)?;
    take(shared, caller, Of::Stock, &head.headers, body, |body| read(sku, body)).await
}

async fn of_order(
    shared: Arc<Shared>,
    id: &str,
    request: Request,
    read: impl FnOnce(OrderId, &[u8]) -> Result<Change, Problem>,
) -> Answer {
    let (head, body) = request.into_parts();
    let caller = Caller::of(&shared, &head.headers, Scope::Stock)?;
    let unknown = || answer::refused(&Refusal::UnknownOrder);
    // An id of another region is an order of another market.
    let order: OrderId = id.parse().map_err(|_| unknown())?;
    if order.region() != caller.region.number {
        return Err(unknown());
    }
    take(shared, caller, Of::Order, &head.headers, body, |body| read(order, body)).await
}

/// A place among the changes in flight, or 503 at once.
fn slot(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&shared.changes).try_acquire_owned().map_err(|_| {
        let detail = "as many changes of stock and orders are being made as this server takes: send it again with the same \
                      Idempotency-Key";
        Problem::new(kinds::REDUCED_CAPACITY, detail).retry_after(1)
    })
}

async fn take(
    shared: Arc<Shared>,
    caller: Caller,
    of: Of,
    headers: &HeaderMap,
    body: Body,
    read: impl FnOnce(&[u8]) -> Result<Change, Problem>,
) -> Answer {
    let key = idempotency::key(headers, "change")?;
    let expected = of.expected(headers)?;
    let slot = slot(&shared)?;
    let config = &shared.config.changes;
    let body = body::read(headers, body, config.body_bytes, config.body_timeout()).await?;
    let change = read(&body)?;
    let timeout = config.timeout();
    // In a task of its own: a client that goes away, or does not wait, cuts nothing in half.
    let making = Box::pin(make(Arc::clone(&shared), caller, key, change, expected, slot));
    let made = shared.tasks.spawn("stock change", making);
    match tokio::time::timeout(timeout, made).await {
        Ok(Ok(Ok(done))) => Ok(answer::done(done, of)),
        Ok(Ok(Err(Error::Refused(refusal)))) => Err(answer::refused(&refusal)),
        Ok(Ok(Err(Error::Precondition { current }))) => Ok(answer::precondition_failed(current)),
        Ok(Ok(Err(Error::KeyReused))) => Err(caller::key_reused()),
        Ok(Ok(Err(Error::Database(error)))) => Err(caller::failed(&Fault::classify(&error), AGAIN)),
        Ok(Err(_panicked)) => Err(caller::broken()),
        Err(_) => Err(caller::too_slow(AGAIN)),
    }
}

/// Makes the change, again where another transaction was in the way, and leaves the order's new state in the cache.
async fn make(
    shared: Arc<Shared>,
    caller: Caller,
    key: IdempotencyKey,
    change: Change,
    expected: Expected,
    _slot: OwnedSemaphorePermit,
) -> Result<Done, Error> {
    let config = &shared.config.changes;
    let mut tries_left = config.contention_retries;
    let mut done = loop {
        match stock::apply(&caller.region, &caller.market, &key, &change, &expected).await {
            Err(Error::Database(error)) if tries_left > 0 && caller::is_contention(&error) => {
                tries_left -= 1;
                config.contention_pause().await;
            }
            made => break made?,
        }
    };
    if let Some(OrderNow { order_id, version, fingerprint, accepted_at, state }) = done.order.take() {
        let status = OrderStatus { order_id, version, fingerprint, accepted_at, state };
        shared.lookup.committed(status).await;
    }
    Ok(done)
}
