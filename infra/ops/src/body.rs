//! Bodies of requests, as JSON.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use serde::de::DeserializeOwned;
use service::{Problem, kinds};

use crate::config::Config;
use crate::problems::INVALID;

/// Reads a body as `T`, within the configured size and time; an empty one is `{}`.
pub(crate) async fn json<T: DeserializeOwned>(config: &Config, headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let time = Duration::from_millis(config.body_timeout_ms);
    let bytes = service::body::read(headers, body, config.body_bytes, time).await?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let kind = if error.is_data() { INVALID } else { kinds::NOT_JSON };
        Problem::new(kind, format!("the body can't be read: {error}"))
    })
}
