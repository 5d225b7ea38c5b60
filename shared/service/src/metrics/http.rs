//! Requests, by route template, method and status.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use tokio::time::Instant;

use super::{Family, Histogram, Metrics};

static DURATION: Family = Family::histogram(
    "millpond_http_server_request_duration_seconds",
    "How long requests took, from their head to the start of the answer; the count is the number of requests",
    &["http_route", "http_request_method", "http_response_status_code"],
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
);
static ACTIVE: Family = Family::gauge("millpond_http_server_active_requests", "Requests that are being answered", &[]);

/// What the OpenTelemetry conventions call a method that is none of the usual: the set stays closed, whatever is sent.
const OTHER: &str = "_OTHER";
/// The route of a path that none matches.
const NO_ROUTE: &str = "none";
/// How a route begins that takes every path which no other does: an answer with a page of its own, and no route.
const CATCH_ALL: &str = "/{*";

/// The requests of one server. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    metrics: Metrics,
    active: Arc<AtomicU64>,
    /// Looked up by each request without an allocation; filled by the first of its kind.
    known: Arc<RwLock<Known>>,
}

type Known = HashMap<Box<str>, HashMap<(&'static str, u16), Histogram>>;

impl Requests {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let active = Arc::new(AtomicU64::new(0));
        let shown = Arc::clone(&active);
        metrics
            .sample(&[&ACTIVE, &DURATION], move |samples| samples.number(&ACTIVE, &[], shown.load(Ordering::Relaxed)));
        Self { metrics: metrics.clone(), active, known: Arc::default() }
    }

    fn histogram(&self, route: &str, method: &'static str, status: StatusCode) -> Histogram {
        let status = status.as_u16();
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(route).and_then(|of_route| of_route.get(&(method, status))) {
            return found.clone();
        }
        drop(known);
        let made = self.metrics.histogram(&DURATION, &[route, method, &status.to_string()]);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.into()).or_default().insert((method, status), made.clone());
        made
    }
}

/// A request that is being answered. Counted down also where the client leaves, which drops it.
pub(crate) struct Measured<'a> {
    requests: &'a Requests,
    begin: Instant,
    route: Option<MatchedPath>,
    method: &'static str,
}

impl Requests {
    /// Around everything else, so that a panic and a timeout are counted as what they were answered with.
    pub(crate) fn begin(&self, request: &Request) -> Measured<'_> {
        self.active.fetch_add(1, Ordering::Relaxed);
        let route = request.extensions().get::<MatchedPath>().cloned();
        Measured { requests: self, begin: Instant::now(), route, method: method(request.method()) }
    }

    /// Counts a request of a known method that began then and was answered with `status`.
    pub(crate) fn answered(&self, route: &str, method: &'static str, status: StatusCode, begin: Instant) {
        self.histogram(route, method, status).observe(begin.elapsed().as_secs_f64());
    }
}

impl Measured<'_> {
    /// It was answered with `status`.
    pub(crate) fn end(self, status: StatusCode) {
        let route = self.route.as_ref().map(MatchedPath::as_str).filter(|route| !route.starts_with(CATCH_ALL));
        let route = route.unwrap_or(NO_ROUTE);
        self.requests.answered(route, self.method, status, self.begin);
    }
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        self.requests.active.fetch_sub(1, Ordering::Relaxed);
    }
}

fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or(OTHER)
}
