//! Cloudflare: `POST /zones/{id}/purge_cache` with a list of cache tags.
//!
//! Its documentation: at most 100 tags a request, 5 requests a minute on the free plan up to 50 a second.

use cache::Tag;
use hyper::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::schedule::Limits;
use super::{Body, Cdn, secret};

/// Where its API is.
pub(super) const API: &str = "https://api.cloudflare.com/client/v4";

#[derive(Debug)]
pub(super) struct Cloudflare {
    pub(super) url: String,
    pub(super) zone: String,
    pub(super) token: SecretString,
    pub(super) tags_at_once: Option<usize>,
}

/// It answers 200 also to what it did not do.
#[derive(Deserialize)]
struct Outcome {
    success: bool,
    #[serde(default)]
    errors: Vec<serde_json::Value>,
}

impl Cdn for Cloudflare {
    fn limits(&self) -> Limits {
        Limits { tags: self.tags_at_once.unwrap_or(100).min(100), bytes: 100_000 }
    }

    fn request(&self, tags: &[Tag]) -> hyper::http::Result<Request<Body>> {
        let tags: Vec<_> = tags.iter().map(Tag::in_header).collect();
        Request::builder()
            .method(Method::POST)
            .uri(format!("{}/zones/{}/purge_cache", self.url, self.zone))
            .header("authorization", secret(&format!("Bearer {}", self.token.expose_secret()))?)
            .header("content-type", "application/json")
            .body(Body::from(json!({ "tags": tags }).to_string()))
    }

    fn refusal(&self, body: &[u8]) -> Option<String> {
        match serde_json::from_slice::<Outcome>(body) {
            Ok(Outcome { success: true, .. }) => None,
            Ok(Outcome { errors, .. }) => Some(format!("it says that it failed: {}", json!(errors))),
            Err(error) => Some(format!("its answer can't be read: {error}")),
        }
    }
}
