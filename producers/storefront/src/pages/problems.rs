//! What can be wrong with a public read, as a problem or as a page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use cache::PageError;
use service::{Kind, Problem, kinds};

use super::accept::{self, Form};
use super::html::page_headers;
use super::room::ReadError;
use crate::run::Shared;
use crate::shop::view::ErrorView;
use crate::shop::{Site, render as template};

/// The URL's parameters.
pub(crate) const INVALID_QUERY: Kind =
    Kind::new(StatusCode::BAD_REQUEST, "invalid_query", "The parameters of the URL are not valid");
/// No page, and none from before that may still be shown.
const UNAVAILABLE: Kind =
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, "page_unavailable", "This can't be shown right now");

/// There is no such thing, and so nothing to be rendered either.
pub(super) fn missing(what: &str) -> Problem {
    Problem::new(kinds::NOT_FOUND, format!("there is no such {what} in this market"))
}

/// Nothing could be rendered. Said in the log where it is found out: by the database's room, or here.
pub(super) fn unrendered(error: &PageError) -> Problem {
    match error {
        PageError::Overloaded => {
            let detail = "as many pages are being made as this server makes at once; ask again";
            Problem::new(kinds::REDUCED_CAPACITY, detail).retry_after(1)
        }
        PageError::TimedOut => Problem::new(UNAVAILABLE, "it was not ready in time; ask again").retry_after(1),
        PageError::Failed(error) => {
            tracing::debug!(%error, "a page can't be rendered");
            Problem::new(UNAVAILABLE, "what it shows can't be read now; ask again").retry_after(2)
        }
        PageError::Panicked => {
            tracing::error!("rendering a page panicked");
            Problem::new(kinds::INTERNAL, "this is a fault of the server; it was logged")
        }
    }
}

/// Nothing could be read for a page that is not kept. Said in the log by the database's room.
pub(super) fn unread(error: &ReadError) -> Problem {
    tracing::debug!(%error, "what a page shows can't be read");
    Problem::new(UNAVAILABLE, "what it shows can't be read now; ask again").retry_after(2)
}

/// A problem in the form that the client asks for: `native` where it has no preference. No cache keeps it.
pub(super) fn answer(problem: Problem, headers: &HeaderMap, native: Form, site: &Arc<Site>) -> Response {
    let mut response = in_form(problem, headers, native, site);
    if native == Form::Json {
        super::answer::open(response.headers_mut());
    }
    response
}

/// As [`answer`], of a path that may be anything: it is opened to no other site's scripts.
pub(super) fn in_form(problem: Problem, headers: &HeaderMap, native: Form, site: &Arc<Site>) -> Response {
    let mut response = match accept::form(headers, native) {
        Form::Json => problem.into_response(),
        Form::Html => page(problem, site),
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The problem as a page for people; everything but its body is the problem's own.
fn page(problem: Problem, site: &Arc<Site>) -> Response {
    let view = ErrorView {
        site: Arc::clone(site),
        status: problem.kind().status.as_u16(),
        title: problem.kind().title.to_owned(),
        detail: problem.detail().to_owned(),
    };
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    for (name, value) in page_headers(site) {
        headers.insert(name, value);
    }
    response.map(|_| template::error(&view).into())
}

/// 405 for a path that takes other methods; the router adds which (`Allow`).
pub(super) async fn method_not_allowed(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let native = Form::of_path(path);
    let detail = format!("{path} does not take {method}; the Allow header names what it takes");
    shared.public.problem(Problem::new(kinds::METHOD_NOT_ALLOWED, detail), request.headers(), native)
}
