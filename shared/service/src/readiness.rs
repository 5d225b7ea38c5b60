//! Whether this process should get requests, and why not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::lifecycle::Shutdown;

type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Named conditions of the roles in this process, all of which must hold. Clones share them.
///
/// Names carry their role (`ingress.orders_broker`), because `run all` puts every role in one process. A process that was
/// asked to stop is not ready, so that a load balancer stops sending before the server closes.
#[derive(Clone)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<String, Probe>>>,
    shutdown: Shutdown,
}

/// A condition that somebody sets. It starts as not ready.
#[derive(Debug, Clone)]
pub struct Condition {
    state: Arc<Mutex<Result<(), String>>>,
}

impl Condition {
    /// It holds.
    pub fn ready(&self) {
        *lock(&self.state) = Ok(());
    }

    /// It does not, because of `why` (for people: what is missing, and what to do).
    pub fn not_ready(&self, why: impl Into<String>) {
        *lock(&self.state) = Err(why.into());
    }
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every condition holds.
    pub ready: bool,
    /// By name: `ok`, or why not.
    pub conditions: BTreeMap<String, String>,
}

impl Readiness {
    /// No conditions yet, for a process that `shutdown` stops.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { conditions: Arc::default(), shutdown }
    }

    /// A new condition, not ready until it is set. A second one of the same name replaces the first.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let state = Arc::new(Mutex::new(Err("starting".to_owned())));
        let shared = Arc::clone(&state);
        self.probe(name, move || lock(&shared).clone());
        Condition { state }
    }

    /// A condition that is looked at whenever somebody asks: for what is cheap to look at. `Err` says why not, for
    /// people.
    pub fn probe(&self, name: impl Into<String>, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        lock(&self.conditions).insert(name.into(), Arc::new(probe));
    }

    /// All conditions as they are now.
    pub fn report(&self) -> Report {
        // Copied out, so that a probe may use this registry.
        let probes = lock(&self.conditions).clone();
        let mut conditions: BTreeMap<String, String> = BTreeMap::new();
        let mut ready = true;
        for (name, probe) in probes {
            let state = probe();
            ready &= state.is_ok();
            conditions.insert(name, state.map_or_else(|why| why, |()| "ok".to_owned()));
        }
        if self.shutdown.soft().is_cancelled() {
            ready = false;
            conditions.insert("process".to_owned(), "stopping".to_owned());
        }
        Report { ready, conditions }
    }

    /// `GET /healthz` (the process answers: 200) and `GET /readyz` (200, or 503 with the conditions that do not hold).
    pub fn router(&self) -> Router {
        let this = self.clone();
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(move || async move { this.answer() }))
    }

    fn answer(&self) -> Response {
        let report = self.report();
        let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").finish_non_exhaustive()
    }
}

/// A panic elsewhere leaves these values whole: they are replaced, never edited.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn readyz(readiness: &Readiness) -> (StatusCode, serde_json::Value) {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = readiness.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn readyz_names_what_is_missing_and_follows_it_live() {
        let readiness = Readiness::new(Shutdown::new());
        let database = readiness.condition("checkout.database");
        readiness.probe("ingress.broker", || Ok(()));
        let (status, body) = readyz(&readiness).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["conditions"]["checkout.database"], "starting");
        assert_eq!(body["conditions"]["ingress.broker"], "ok");

        database.ready();
        assert_eq!(readyz(&readiness).await.0, StatusCode::OK);

        database.not_ready("migrations are missing: run `millpond migrate`");
        let (status, body) = readyz(&readiness).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["conditions"]["checkout.database"], "migrations are missing: run `millpond migrate`");
    }

    #[tokio::test]
    async fn a_process_that_was_asked_to_stop_is_not_ready_but_alive() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        assert_eq!(readyz(&readiness).await.0, StatusCode::OK);
        shutdown.request();
        assert_eq!(readyz(&readiness).await.1["conditions"]["process"], "stopping");
        let request = Request::get("/healthz").body(Body::empty()).unwrap();
        let alive = readiness.router().oneshot(request).await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK);
    }
}
