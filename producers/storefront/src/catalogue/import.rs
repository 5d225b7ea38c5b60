//! `POST /v1/products:import`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use model::{Currency, Fingerprint, IdempotencyKey};
use serde::Deserialize;
use service::fields::Faults;
use service::idempotency::REPLAYED;
use service::keys::{self, Scope};
use service::{Kind, Problem, body, idempotency, kinds};
use store::Fault;
use store::catalogue::{self, ImportError, ProductEdit};
use tokio::sync::OwnedSemaphorePermit;

use super::file::{self, Bounds, Format};
use super::{answer, json, media_type};
use crate::caller::{self, Caller};
use crate::run::Shared;

const INVALID_IMPORT: Kind =
    Kind::new(StatusCode::BAD_REQUEST, "invalid_import", "Nothing was imported: some lines are not valid");

/// What every 503 says.
const AGAIN: &str = "send it again with the same Idempotency-Key: it is made once at most";

#[derive(Deserialize)]
pub(super) struct ImportQuery {
    /// Of CSV lines that name none.
    currency: Option<String>,
}

/// A file that came whole.
struct Upload {
    key: IdempotencyKey,
    format: Format,
    currency: Option<Currency>,
    /// Whether its lines may say how much there is.
    may_count: bool,
    bytes: Bytes,
}

/// Why it was not imported.
enum Refused {
    Lines(Faults),
    /// It counts stock, and its key may not.
    Counts,
    Import(ImportError),
    Panicked,
}

pub(super) async fn import(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let caller = Caller::of(&shared, &head.headers, Scope::Catalogue)?;
    let may_count = Caller::of(&shared, &head.headers, Scope::Stock).is_ok();
    let key = idempotency::key(&head.headers, "import")?;
    let format = media_type(&head.headers).as_deref().and_then(Format::of_media_type).ok_or_else(|| {
        Problem::new(kinds::UNSUPPORTED_MEDIA_TYPE, "an import is text/csv or application/x-ndjson (Content-Type)")
    })?;
    let currency = query.currency.as_deref().map(Currency::from_code).transpose();
    let currency = currency.map_err(|error| Problem::new(json::INVALID, format!("currency: {error}")))?;
    let slot = Arc::clone(&shared.imports).try_acquire_owned().map_err(|_| answer::no_place("imports", AGAIN))?;
    let (limit, time) = (shared.config.catalogue.import_body_bytes, shared.config.changes.body_timeout());
    let bytes = body::read(&head.headers, body, limit, time).await?;
    let upload = Upload { key, format, currency, may_count, bytes };
    let timeout = shared.config.catalogue.import_timeout();
    // In a task of its own: a client that goes away, or does not wait, cuts nothing in half.
    let made = shared.tasks.spawn("catalogue import", Box::pin(make(Arc::clone(&shared), caller, upload, slot)));
    match tokio::time::timeout(timeout, made).await {
        Ok(Ok(Ok((answer, replayed)))) => Ok(imported(answer, replayed)),
        Ok(Ok(Err(Refused::Lines(faults)))) => {
            let (detail, errors) = faults.finish();
            Err(Problem::new(INVALID_IMPORT, detail).with_errors(errors))
        }
        Ok(Ok(Err(Refused::Counts))) => Err(keys::forbidden(
            "on_hand and low_threshold are stock: leave them out, or use a key that has the scope stock beside catalogue",
        )),
        Ok(Ok(Err(Refused::Import(ImportError::KeyReused)))) => Err(caller::key_reused()),
        Ok(Ok(Err(Refused::Import(ImportError::Database(error))))) => {
            Err(caller::failed(&Fault::classify(&error), AGAIN))
        }
        Ok(Ok(Err(Refused::Panicked)) | Err(_)) => Err(caller::broken()),
        Err(_) => Err(caller::too_slow(AGAIN)),
    }
}

async fn make(
    shared: Arc<Shared>,
    caller: Caller,
    upload: Upload,
    _slot: OwnedSemaphorePermit,
) -> Result<(serde_json::Value, bool), Refused> {
    let Upload { key, format, currency, may_count, bytes } = upload;
    let limits = &shared.config.catalogue;
    let bounds = Bounds { products: limits.import_products, line_bytes: limits.body_bytes };
    // Some tenths of a second of pure work: not on a thread that serves others.
    let reading = tokio::task::spawn_blocking(move || {
        let code = currency.map_or("", Currency::code);
        let fingerprint = Fingerprint::of([b"import", format.name().as_bytes(), code.as_bytes(), &bytes[..]]);
        file::parse(format, &bytes, currency, bounds).map(|products| (fingerprint, products))
    });
    let read = reading.await.map_err(|panic| {
        tracing::error!(%panic, "reading an import panicked");
        Refused::Panicked
    })?;
    let (fingerprint, products): (Fingerprint, Vec<ProductEdit>) = read.map_err(Refused::Lines)?;
    if !may_count && products.iter().any(|product| product.on_hand.is_some() || product.low_threshold.is_some()) {
        return Err(Refused::Counts);
    }
    let mut tries_left = shared.config.changes.contention_retries;
    loop {
        let made =
            catalogue::import_once(&caller.region, &caller.market, &key, fingerprint, &products, &*shared.clock).await;
        match made {
            Err(ImportError::Database(error)) if tries_left > 0 && caller::is_contention(&error) => {
                tries_left -= 1;
                shared.config.changes.contention_pause().await;
            }
            made => return made.map_err(Refused::Import),
        }
    }
}

fn imported(answer: serde_json::Value, replayed: bool) -> Response {
    let mut response = caller::private(Json(answer).into_response());
    if replayed {
        response.headers_mut().insert(&REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
