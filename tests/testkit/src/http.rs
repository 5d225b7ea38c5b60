//! A plain HTTP client for tests.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A client with keep-alive connections. Clones share them.
#[derive(Debug, Clone)]
pub struct Http {
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON; `Null` where it is not.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header as text, empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A client without connections yet.
    pub fn new() -> Self {
        Self { pool: Pool::builder(TokioExecutor::new()).build(HttpConnector::new()) }
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// Where no answer came within 30 s.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.into())).context("a valid request")?;
        let exchange = async {
            let response = self.pool.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Response { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(TIMEOUT, exchange).await.with_context(|| format!("no answer from {url}"))?
    }

    /// `GET`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn get(&self, url: &str) -> Result<Response> {
        self.send(Method::GET, url, &[], Bytes::new()).await
    }

    /// `POST` of JSON with a key and further headers.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn post(&self, url: &str, api_key: &str, headers: &[(&str, &str)], body: &Value) -> Result<Response> {
        let authorization = format!("Bearer {api_key}");
        let mut all = vec![("content-type", "application/json"), ("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.send(Method::POST, url, &all, body.to_string()).await
    }
}
