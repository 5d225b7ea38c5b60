//! One request to a CDN, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use cache::Tag;
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Limited};
use hyper::header::RETRY_AFTER;
use hyper::{HeaderMap, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use model::Clock;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use super::{Body, Cdn, CdnError};

/// An answer beyond this is not read: what is of interest is short.
const ANSWER_BYTES: usize = 64 * 1_024;

/// How long a connection that nobody uses stays open.
const IDLE: Duration = Duration::from_secs(30);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The tags are purged.
    Done,
    /// Not now, or not known: again later, and not before this long.
    Later(String, Option<Duration>),
    /// It does not let us, whatever the tags: somebody has to see to it.
    Refused(String),
    /// It does not take this request because of what it says.
    Unnamed(String),
}

/// A client with connections that are kept. Clones share them.
#[derive(Clone)]
pub(super) struct Sender {
    pool: Client<HttpsConnector<HttpConnector>, Body>,
    clock: Arc<dyn Clock>,
}

impl Sender {
    /// `tls`: whether there is an `https` URL; then this machine's certificates are read.
    pub(super) fn new(tls: bool, clock: Arc<dyn Clock>) -> Result<Self, CdnError> {
        let builder = HttpsConnectorBuilder::new();
        let unusable = |what: &str| CdnError(format!("invalidation.cdn: {what}"));
        let builder = if tls {
            let roots = builder.with_provider_and_native_roots(ring::default_provider());
            roots.map_err(|error| unusable(&format!("this machine's root certificates can't be read: {error}")))?
        } else {
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| unusable(&error.to_string()))?;
            builder.with_tls_config(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        };
        let connector = builder.https_or_http().enable_http1().build();
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { pool, clock })
    }

    /// Asks `cdn` to purge `tags`, once.
    pub(super) async fn send(&self, cdn: &dyn Cdn, tags: &[Tag], within: Duration) -> Answer {
        let request = match cdn.request(tags) {
            Ok(request) => request,
            Err(error) => return Answer::Unnamed(format!("they can't be written into a request: {error}")),
        };
        let exchange = async {
            let response = self.pool.request(request).await.map_err(|error| chain(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
            Ok((head.status, head.headers, body.to_bytes()))
        };
        match timeout(within, exchange).await {
            Err(_) => Answer::Later(format!("no answer within {} ms", within.as_millis()), None),
            Ok(Err(error)) => Answer::Later(error, None),
            Ok(Ok((status, headers, body))) if status.is_success() => match cdn.refusal(&body) {
                None => Answer::Done,
                Some(why) => Answer::Later(why, retry_after(&headers, self.clock.now())),
            },
            Ok(Ok((status, headers, body))) => judge(status, &headers, &body, self.clock.now()),
        }
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Answer {
    let said: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    match status {
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Answer::Unnamed(why),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Answer::Later(why, retry_after(headers, now))
        }
        status if status.is_client_error() || status.is_redirection() => Answer::Refused(why),
        _ => Answer::Later(why, retry_after(headers, now)),
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    (date.to_utc() - now).to_std().ok()
}

/// What went wrong and why: "client error (Connect)" alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-11-28T08:49:37Z".parse().unwrap();
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|span| span.as_secs())
        };
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sat, 28 Nov 2026 08:50:37 GMT"), Some(60));
        assert_eq!(after("Sat, 28 Nov 2026 08:48:37 GMT"), None, "it is past");
        assert_eq!(after("soon"), None);
    }
}
