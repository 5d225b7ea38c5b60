//! A shop's own server, as the README asks for: what it asks for goes under one key, again and again, until it is answered.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use testkit::http::{Http, Response};
use tokio::time::{sleep, timeout};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries, and as much again by chance.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const TRIES: u32 = 120;

/// Where it asks, and as whom.
#[derive(Debug)]
pub struct Server {
    http: Http,
    storefront: String,
    api_key: String,
}

impl Server {
    /// Asks at `storefront` with a key of the market.
    pub fn new(storefront: String, api_key: &str) -> Self {
        Self { http: Http::new(), storefront, api_key: api_key.to_owned() }
    }

    /// Asks until there is an answer that stays; none where there was none in all its tries.
    pub async fn ask(&self, method: &Method, path: &str, key: &str, body: &Value) -> Option<Response> {
        let (url, authorization) = (format!("{}{path}", self.storefront), format!("Bearer {}", self.api_key));
        let headers =
            [("authorization", authorization.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        for _ in 0..TRIES {
            let sent = self.http.send(method.clone(), &url, &headers, body.to_string());
            if let Ok(Ok(answer)) = timeout(ANSWER_WITHIN, sent).await
                && stays(answer.status)
            {
                return Some(answer);
            }
            sleep(AGAIN_AFTER + AGAIN_AFTER.mul_f64(rand::random())).await;
        }
        None
    }
}

/// Done, or refused for what there is. Not found is none: an order may wait in its queue yet.
fn stays(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::CONFLICT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_done_or_does_not_fit_is_not_asked_again() {
        assert!(stays(StatusCode::OK) && stays(StatusCode::CONFLICT));
        for again in [StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS] {
            assert!(!stays(again), "{again}");
        }
    }
}
