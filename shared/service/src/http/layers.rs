//! What surrounds every handler.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::{Level, Span};

use crate::metrics::http::{Requests, measure};
use crate::problem::{Problem, kinds};
use crate::tasks::panic_text;

/// Puts the layers around `router`, outermost first: measuring, request id (`x-request-id`, the caller's or a new one), trace span,
/// panic to problem, timeout; and answers for what the router does not know.
pub(super) fn apply(router: Router, timeout: Duration, requests: Option<Requests>) -> Router {
    let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed).layer(
        ServiceBuilder::new()
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(span)
                    // Under overload most answers are 503: counting is for metrics, the log stays readable.
                    .on_failure(DefaultOnFailure::new().level(Level::DEBUG)),
            )
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn_with_state(timeout, answer_in_time)),
    );
    match requests {
        Some(requests) => router.layer(middleware::from_fn_with_state(requests, measure)),
        None => router,
    }
}

/// At INFO, so that whatever is logged on the way carries the request's id. Without the query: a status URL's token is
/// permission to read.
fn span(request: &Request) -> Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    tracing::info_span!("http", request.id = id, http.method = %request.method(), http.path = request.uri().path())
}

async fn not_found(uri: Uri) -> Problem {
    let path = uri.path();
    Problem::new(kinds::NOT_FOUND, format!("nothing is served at {path}"))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path = uri.path();
    Problem::new(
        kinds::METHOD_NOT_ALLOWED,
        format!("{path} does not take {method}; the Allow header names what it takes"),
    )
}

async fn answer_in_time(State(time): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(time, next.run(request)).await.unwrap_or_else(|_| {
        Problem::new(
            kinds::TIMEOUT,
            "the request took too long and its outcome is not known; with the same \
                 Idempotency-Key it is safe to send it again",
        )
        .retry_after(1)
        .into_response()
    })
}

/// A panic's text may hold what a client must not see: it goes to the log alone.
#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!(panic = panic_text(&*panic), "a request's handler panicked");
    Problem::new(kinds::INTERNAL, "this is a fault of the server; it was logged with the request's id").into_response()
}
