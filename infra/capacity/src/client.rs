//! A storefront's side of `POST /v1/orders`, over keep-alive connections.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, Uri, header};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use model::OrderId;
use serde::Deserialize;

use crate::journal::Attempt;

/// An answer is a few hundred bytes; whatever is longer than this is not ours.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts orders to one ingress.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    orders: Uri,
    authorization: header::HeaderValue,
    timeout: Duration,
}

/// What the ingress said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status; `None` where no answer came in time.
    pub status: Option<u16>,
    /// The order's id, of a 202.
    pub order_id: Option<OrderId>,
}

#[derive(Deserialize)]
struct Accepted {
    order_id: OrderId,
}

impl Client {
    /// A client of the ingress at `base` (`http://127.0.0.1:8080`) with a server key.
    ///
    /// # Errors
    /// Why base or key can't be used, in words.
    pub fn new(base: &str, api_key: &str, timeout: Duration, max_idle: usize) -> Result<Self, String> {
        let orders = format!("{}/v1/orders", base.trim_end_matches('/'));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(max_idle)
            .build(connector);
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {api_key}"))
            .map_err(|_| "the API key holds characters that no header takes".to_owned())?;
        authorization.set_sensitive(true);
        let orders = orders.parse().map_err(|error| format!("{orders} is not a URL: {error}"))?;
        Ok(Self { pool, orders, authorization, timeout })
    }

    /// Posts an order of one line.
    pub async fn post_order(&self, attempt: &Attempt, unit_price_minor: i64, currency: &str) -> Answer {
        let nothing = Answer { status: None, order_id: None };
        tokio::time::timeout(self.timeout, self.exchange(attempt, unit_price_minor, currency))
            .await
            .ok()
            .flatten()
            .unwrap_or(nothing)
    }

    async fn exchange(&self, attempt: &Attempt, unit_price_minor: i64, currency: &str) -> Option<Answer> {
        let body = serde_json::json!({
            "currency": currency,
            "lines": [{"sku": attempt.sku, "quantity": attempt.quantity, "unit_price_minor": unit_price_minor}],
            "total_minor": unit_price_minor * i64::from(attempt.quantity),
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.orders.clone())
            .header(header::AUTHORIZATION, self.authorization.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", &attempt.key)
            .body(Full::from(body.to_string()))
            .ok()?;
        let response = self.pool.request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.ok()?.to_bytes();
        let order_id = serde_json::from_slice::<Accepted>(&body).ok().map(|accepted| accepted.order_id);
        Some(Answer { status: Some(status), order_id })
    }
}
