//! What a shop's own servers change of the catalogue: `store::catalogue` over HTTP.
//!
//! | route | body | what |
//! |---|---|---|
//! | `PUT /v1/products/{sku}` | `{"title", "price": {"minor", "currency"}, "description", "image", "collections"}`, the last three as wanted | the whole product; 201 where it was not for sale |
//! | `PATCH /v1/products/{sku}` | some of these, as a merge patch (RFC 7396) | the rest stays |
//! | `DELETE /v1/products/{sku}` | – | out of sale: 204, also when it was before |
//! | `POST /v1/products:import` | `text/csv` or `application/x-ndjson` ([`mod@file`]) | all of it, or nothing and every bad line |
//!
//! Each needs a server key with the scope `catalogue`; its market names the region.
//!
//! # Versions
//! An edit answers with the product and its version as `ETag: "4"`. With `If-Match: "4"` the next edit is made to that version
//! alone; else it is refused with 412, and the problem and its `ETag` name the current one. `If-None-Match: *` creates only. The
//! same edit again for the same version is no conflict, so that each is safe to send again; an import needs an
//! `Idempotency-Key` for that.
//!
//! A page that is rendered has an `ETag` of its own; the version stands in its JSON.

mod answer;
mod check;
mod csv_lines;
pub mod file;
mod import;
mod json;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{post, put};
use model::Sku;
use service::keys::Scope;
use service::{Problem, body, kinds};
use store::Fault;
use store::catalogue::{self, EditError, Edited, Expected, Patch, ProductEdit};
use tokio::sync::OwnedSemaphorePermit;

use crate::caller::{self, Caller};
use crate::run::Shared;
use crate::{condition, pages};
use answer::AGAIN;

/// Routes that change products.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(pages::route::PRODUCT, put(replace).patch(change).delete(withdraw))
        .route("/v1/products:import", post(import::import))
        .with_state(Arc::clone(shared))
}

/// What is asked for.
enum Edit {
    Put(ProductEdit),
    Patch(Patch),
    Withdraw,
}

/// What came of it.
enum Made {
    Edited(Edited),
    Withdrawn,
}

async fn replace(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Response {
    let read = |sku: &Sku, _: &HeaderMap, body: &[u8]| json::product(sku.clone(), body).map(Edit::Put);
    edit(shared, &sku, request, read).await.unwrap_or_else(Problem::into_response)
}

async fn change(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Response {
    let read = |sku: &Sku, headers: &HeaderMap, body: &[u8]| {
        merge_patch(headers)?;
        json::patch(sku, body).map(Edit::Patch)
    };
    edit(shared, &sku, request, read).await.unwrap_or_else(Problem::into_response)
}

async fn withdraw(State(shared): State<Arc<Shared>>, Path(sku): Path<String>, request: Request) -> Response {
    edit(shared, &sku, request, |_, _, _| Ok(Edit::Withdraw)).await.unwrap_or_else(Problem::into_response)
}

/// A patch in another form is not to be taken for this one.
fn merge_patch(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_deref() {
        None | Some("application/json" | "application/merge-patch+json") => Ok(()),
        Some(other) => {
            let detail = format!("a patch is application/merge-patch+json (RFC 7396), not {other}");
            Err(Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// The body's media type, in lower case and without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

async fn edit(
    shared: Arc<Shared>,
    sku: &str,
    request: Request,
    read: impl FnOnce(&Sku, &HeaderMap, &[u8]) -> Result<Edit, Problem>,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = Caller::of(&shared, &head.headers, Scope::Catalogue)?;
    let sku: Sku = sku.parse().map_err(|error| Problem::new(json::INVALID, format!("the SKU in the path: {error}")))?;
    let expected = condition::expected(&head.headers)?;
    let slot =
        Arc::clone(&shared.edits).try_acquire_owned().map_err(|_| answer::no_place("edits of products", AGAIN))?;
    let (limit, time) = (shared.config.catalogue.body_bytes, shared.config.changes.body_timeout());
    let body = body::read(&head.headers, body, limit, time).await?;
    let edit = read(&sku, &head.headers, &body)?;
    let timeout = shared.config.changes.timeout();
    // In a task of its own: a client that goes away, or does not wait, cuts nothing in half.
    let making = Box::pin(make(Arc::clone(&shared), caller, sku, edit, expected, slot));
    let made = shared.tasks.spawn("catalogue edit", making);
    match tokio::time::timeout(timeout, made).await {
        Ok(Ok(Ok(Made::Edited(edited)))) => Ok(answer::edited(&edited)),
        Ok(Ok(Ok(Made::Withdrawn))) => Ok(answer::withdrawn()),
        Ok(Ok(Err(EditError::Unknown(sku)))) => Err(answer::unknown(&sku)),
        Ok(Ok(Err(EditError::Precondition { current }))) => Ok(answer::precondition_failed(current)),
        Ok(Ok(Err(EditError::Database(error)))) => Err(caller::failed(&Fault::classify(&error), AGAIN)),
        Ok(Err(_panicked)) => Err(caller::broken()),
        Err(_) => Err(caller::too_slow(AGAIN)),
    }
}

/// Makes the edit, again where another transaction was in the way.
async fn make(
    shared: Arc<Shared>,
    caller: Caller,
    sku: Sku,
    edit: Edit,
    expected: Expected,
    _slot: OwnedSemaphorePermit,
) -> Result<Made, EditError> {
    let config = &shared.config.changes;
    let (region, clock) = (&caller.region, &*shared.clock);
    let mut tries_left = config.contention_retries;
    loop {
        let made = match &edit {
            Edit::Put(edit) => catalogue::put(region, edit, &expected, clock).await.map(Made::Edited),
            Edit::Patch(patch) => catalogue::patch(region, &sku, patch, &expected, clock).await.map(Made::Edited),
            Edit::Withdraw => catalogue::withdraw(region, &sku, &expected, clock).await.map(|()| Made::Withdrawn),
        };
        match made {
            Err(EditError::Database(error)) if tries_left > 0 && caller::is_contention(&error) => {
                tries_left -= 1;
                config.contention_pause().await;
            }
            made => return made,
        }
    }
}
