//! What a process counts, and `/metrics`, where Prometheus reads it.
//!
//! A [`Family`] is declared once, as a constant of the crate that measures it; [`Metrics`] is the registry that roles are
//! handed, as they are [`crate::Readiness`]. Two ways lead into it. A *live* series ([`Metrics::counter`],
//! [`Metrics::histogram`]) is looked up once, kept, and then costs an atomic addition each time. A *source*
//! ([`Metrics::sample`]) is asked at every scrape: for what something else counts already.
//!
//! Names follow OpenTelemetry's semantic conventions where those have one, behind the prefix `millpond_`; units are base
//! units, and stand at the end of the name. Label values come from a small closed set: a queue, a region, a database, a
//! class, an outcome; never an id.

mod board;
mod family;
pub(crate) mod http;
mod process;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};

use board::Board;
pub use board::Samples;
pub use family::{Family, Kind};
pub use process::Build;

/// A count that only grows. Clones share it.
pub type Counter = prometheus_client::metrics::counter::Counter;
/// Observations in buckets. Clones share them.
pub type Histogram = prometheus_client::metrics::histogram::Histogram;

/// How metrics are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether `/metrics` is served at all.
    pub enabled: bool,
    /// Address and port of a server for `/metrics` alone; empty: it is served with `/healthz`, on `http.bind`.
    pub bind: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, bind: String::new() }
    }
}

/// Everything that one process measures. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    board: Arc<Board>,
}

impl Metrics {
    /// Nothing is measured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of `family` with these label values, in the order of [`Family::labels`]. The same one for the same
    /// values, so that several parts of a process may count together.
    pub fn counter(&self, family: &'static Family, labels: &[&str]) -> Counter {
        self.board.counter(family, labels)
    }

    /// The histogram of `family` with these label values, as [`Metrics::counter`] gives a counter.
    pub fn histogram(&self, family: &'static Family, labels: &[&str]) -> Histogram {
        self.board.histogram(family, labels)
    }

    /// Asks `source` for `families` at every scrape. It must neither block nor panic. What it does not tell is not shown:
    /// a value that is not known has no series, which is not the same as zero.
    pub fn sample(&self, families: &[&'static Family], source: impl Fn(&mut Samples<'_>) + Send + Sync + 'static) {
        self.board.sample(families, Box::new(source));
    }

    /// Measures the process itself: start, build, memory, processor time, open files, tasks. `started` is the time of
    /// its start since 1970.
    pub fn measure_process(&self, started: Duration, build: Build) {
        process::measure(self, started, build);
    }

    /// Every family that this process measures, by name.
    pub fn families(&self) -> Vec<&'static Family> {
        self.board.families()
    }

    /// What a scrape gets: the `OpenMetrics` text format, version 1.0.0.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&self.board)));
        let mut text = String::new();
        // Writing to a String does not fail.
        if text::encode(&mut text, &registry).is_err() {
            tracing::error!("the metrics could not be written");
        }
        text
    }

    /// `GET /metrics`, without a key: it belongs behind the operator's network, as `/healthz` does.
    pub fn router(&self) -> Router {
        const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        let this = self.clone();
        let answer = move || async move {
            ([(header::CONTENT_TYPE, TYPE), (header::CACHE_CONTROL, "no-store")], this.text()).into_response()
        };
        Router::new().route("/metrics", get(answer))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    static TAKEN: Family = Family::counter("millpond_taken_total", "Messages taken from the broker", &["queue"]);
    static WAIT: Family = Family::histogram("millpond_wait_seconds", "How long it took", &[], &[0.1, 1.0]);
    static AGE: Family = Family::gauge("millpond_age_seconds", "Age of the oldest message", &["queue"]);

    #[test]
    fn one_family_is_written_once_whoever_measures_it() {
        let metrics = Metrics::new();
        metrics.counter(&TAKEN, &["a"]).inc();
        // The same series, asked for by another part.
        metrics.clone().counter(&TAKEN, &["a"]).inc_by(2);
        metrics.sample(&[&TAKEN], |samples| samples.count(&TAKEN, &["b"], 7));
        metrics.histogram(&WAIT, &[]).observe(0.5);
        let text = metrics.text();
        assert_eq!(text.matches("# TYPE millpond_taken counter").count(), 1, "{text}");
        assert!(text.contains("millpond_taken_total{queue=\"a\"} 3\n"), "{text}");
        assert!(text.contains("millpond_taken_total{queue=\"b\"} 7\n"), "{text}");
        assert!(text.contains("millpond_wait_seconds_bucket{le=\"1.0\"} 1\n"), "{text}");
        assert!(text.contains("millpond_wait_seconds_count 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_has_no_series_but_its_family_is_announced() {
        let metrics = Metrics::new();
        metrics.sample(&[&AGE], |_| {});
        let text = metrics.text();
        assert!(text.contains("# HELP millpond_age_seconds Age of the oldest message\n"), "{text}");
        assert!(!text.contains("millpond_age_seconds{"), "{text}");
    }

    #[test]
    fn two_sources_of_one_series_are_shown_as_one() {
        let metrics = Metrics::new();
        for value in [1.0, 2.0] {
            metrics.sample(&[&AGE], move |samples| samples.level(&AGE, &["a"], value));
        }
        let text = metrics.text();
        assert_eq!(text.matches("millpond_age_seconds{queue=\"a\"}").count(), 1, "{text}");
    }

    #[test]
    fn label_values_can_not_break_out_of_their_quotes() {
        let metrics = Metrics::new();
        metrics.counter(&TAKEN, &["a\"} 1\nevil"]).inc();
        let text = metrics.text();
        assert!(text.contains("queue=\"a\\\"} 1\\nevil\""), "{text}");
    }

    #[tokio::test]
    async fn a_process_says_what_it_is_and_how_much_it_holds() {
        let metrics = Metrics::new();
        metrics.measure_process(Duration::from_secs(1_700_000_000), Build { version: "1.2.3" });
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let response = metrics.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
        let text = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.contains("millpond_build_info{version=\"1.2.3\"} 1"), "{text}");
        assert!(text.contains("millpond_process_start_time_seconds 1700000000"), "{text}");
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
            line.rsplit_once(' ').unwrap().1.parse().unwrap()
        };
        assert!(value("millpond_process_resident_memory_bytes ") > 1_000_000.0);
        assert!(value("millpond_process_open_fds ") > 1.0);
        assert!(value("millpond_runtime_alive_tasks ") >= 0.0);
    }
}
