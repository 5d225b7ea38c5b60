//! Fastly: `POST /service/{id}/purge` with a list of surrogate keys.
//!
//! Its documentation: at most 256 keys a request, soft where `Fastly-Soft-Purge: 1` says so.

use cache::Tag;
use hyper::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};

use super::schedule::Limits;
use super::{Body, Cdn, joined, secret};

/// Where its API is.
pub(super) const API: &str = "https://api.fastly.com";

#[derive(Debug)]
pub(super) struct Fastly {
    pub(super) url: String,
    pub(super) service: String,
    pub(super) token: SecretString,
    pub(super) soft: bool,
    pub(super) tags_at_once: Option<usize>,
}

impl Cdn for Fastly {
    fn limits(&self) -> Limits {
        Limits { tags: self.tags_at_once.unwrap_or(256).min(256), bytes: 16_000 }
    }

    fn request(&self, tags: &[Tag]) -> hyper::http::Result<Request<Body>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/service/{}/purge", self.url, self.service))
            .header("fastly-key", secret(self.token.expose_secret())?)
            .header("accept", "application/json")
            .header("surrogate-key", joined(tags, " "));
        if self.soft {
            request = request.header("fastly-soft-purge", "1");
        }
        request.body(Body::default())
    }
}
