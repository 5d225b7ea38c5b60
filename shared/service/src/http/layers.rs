//! What surrounds every handler.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, Entry, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span};
use uuid::{Builder, Uuid};

use super::Problems;
use crate::metrics::http::Requests;
use crate::problem::{Problem, kinds};
use crate::tasks::panic_text;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the requests of a server have in common.
pub(super) struct Around {
    pub(super) timeout: Duration,
    pub(super) requests: Option<Requests>,
    pub(super) problems: Option<Problems>,
}

impl Around {
    /// What an answer at hand has like any other: an id, and its place in the metrics.
    pub(super) fn at_hand(&self, request: &HeaderMap, route: &str, begin: Instant, response: &mut Response) {
        put_id(response, id_of(request));
        if let Some(requests) = &self.requests {
            requests.answered(route, "GET", response.status(), begin);
        }
    }
}

/// Puts around `router`, outermost first: measuring, request id (`x-request-id`, the caller's or a new one), trace span, timeout,
/// panic to problem; and answers for what the router does not know.
///
/// One layer instead of one for each: every layer of axum's is a service to clone and a future to box for each request, which for
/// a page from the cache was more than all that is done for the page itself.
pub(super) fn apply(router: Router, around: Arc<Around>) -> Router {
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(around, answer))
}

async fn answer(State(around): State<Arc<Around>>, request: Request, next: Next) -> Response {
    let measured = around.requests.as_ref().map(|requests| requests.begin(&request));
    let id = id_of(request.headers());
    let span = span(&request, &id);
    let reader = around.problems.as_ref().and_then(|problems| Reader::of(problems, &request));
    let in_time = async {
        // What a handler leaves behind when it panics is dropped with it: it shares nothing with others but what is made for it.
        match timeout(around.timeout, AssertUnwindSafe(next.run(request)).catch_unwind()).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => written(panicked(&*panic), reader),
            Err(_) => written(late(), reader),
        }
    };
    let mut response = in_time.instrument(span).await;
    put_id(&mut response, id);
    if let Some(measured) = measured {
        measured.end(response.status());
    }
    response
}

/// The id that the caller gave the request, or a new one where that is none: caches keep the answer, and whatever is in it, for
/// others.
fn id_of(request: &HeaderMap) -> HeaderValue {
    if let Some(given) = request.get(REQUEST_ID).filter(|given| is_id(given.as_bytes())) {
        return given.clone();
    }
    // This thread's generator: `Uuid::new_v4` would ask the kernel for each.
    let id = Builder::from_random_bytes(rand::random()).into_uuid();
    let mut text = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("none"))
}

/// 1 to 128 letters, digits, dots, hyphens and underscores.
fn is_id(given: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&given.len()) && given.iter().all(is_plain)
}

fn put_id(response: &mut Response, id: HeaderValue) {
    if let Entry::Vacant(missing) = response.headers_mut().entry(REQUEST_ID) {
        missing.insert(id);
    }
}

/// At INFO, so that whatever is logged on the way carries the request's id. Without the query: a status URL's token is
/// permission to read.
fn span(request: &Request, id: &HeaderValue) -> Span {
    tracing::info_span!("http", request.id = id.to_str().ok(), http.method = %request.method(), http.path = request.uri().path())
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

/// Whoever reads, and may want to be told of a problem in another form.
struct Reader<'a> {
    problems: &'a Problems,
    /// `Accept` alone: the request is the handler's, and to keep all of its headers would cost each of them.
    headers: HeaderMap,
}

impl<'a> Reader<'a> {
    fn of(problems: &'a Problems, request: &Request) -> Option<Self> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let mut headers = HeaderMap::new();
        for accept in request.headers().get_all(ACCEPT) {
            headers.append(ACCEPT, accept.clone());
        }
        Some(Self { problems, headers })
    }
}

fn written(problem: Problem, reader: Option<Reader<'_>>) -> Response {
    match reader {
        Some(Reader { problems, headers }) => problems(problem, &headers),
        None => problem.into_response(),
    }
}

fn late() -> Problem {
    let detail = "the request took too long and its outcome is not known; with the same Idempotency-Key it is safe to send it \
                  again";
    Problem::new(kinds::TIMEOUT, detail).retry_after(1)
}

/// A panic's text may hold what a client must not see: it goes to the log alone.
fn panicked(panic: &(dyn Any + Send)) -> Problem {
    tracing::error!(panic = panic_text(panic), "a request's handler panicked");
    Problem::new(kinds::INTERNAL, "this is a fault of the server; it was logged with the request's id")
}
