//! Paths, and what surrounds them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, Method, header};
use axum::routing::post;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::decompression::RequestDecompressionLayer;

use crate::run::Shared;
use crate::{orders, pages};

/// A preflight's answer is kept this long by browsers (Chromium keeps none longer than two hours).
const PREFLIGHT_AGE: Duration = Duration::from_mins(10);

/// Every route of the ingress.
pub(crate) fn routes(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/orders", post(orders::post))
        .route("/v1/track", post(pages::track))
        .route("/v1/page", post(pages::page))
        .route("/v1/identify", post(pages::identify))
        .route("/v1/screen", post(pages::screen))
        .route("/v1/group", post(pages::group))
        .route("/v1/alias", post(pages::alias))
        .route("/v1/batch", post(pages::batch))
        // Other encodings pass, and are refused with a problem where the body is read.
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(cors(shared))
        .with_state(Arc::clone(shared))
}

/// A preflight carries no key, so it is allowed to every origin that some key allows; the request itself is held against
/// its own key.
fn cors(shared: &Arc<Shared>) -> CorsLayer {
    let keys = shared.keys.clone();
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            origin.to_str().is_ok_and(|origin| keys.some_key_allows(origin))
        }))
        .allow_methods([Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("traceparent"),
        ])
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            HeaderName::from_static("idempotency-replayed"),
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(PREFLIGHT_AGE)
}
