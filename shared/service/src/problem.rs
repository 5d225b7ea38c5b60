//! Errors over HTTP: problem+json (RFC 9457).

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::RngExt as _;
use serde::Serialize;

/// A kind of problem, declared once as a constant by the crate that answers with it. Its `type` is
/// `urn:millpond:problem:<code with hyphens>`: a name that never changes and never leads to a dead link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The status code.
    pub status: StatusCode,
    /// Permanent, `lower_snake_case`; clients branch on it. Also the member `code` that Segment's clients expect.
    pub code: &'static str,
    /// One line for people, the same for every occurrence.
    pub title: &'static str,
    /// Another `type` than the one made of the code: for kinds that IANA registers.
    pub uri: Option<&'static str>,
}

impl Kind {
    /// A kind of Millpond's own.
    pub const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title, uri: None }
    }

    /// The problem's `type`.
    pub fn uri(&self) -> Cow<'static, str> {
        self.uri.map_or_else(
            || {
                let name = self.code.replace('_', "-");
                Cow::Owned(format!("urn:millpond:problem:{name}"))
            },
            Cow::Borrowed,
        )
    }
}

/// Kinds that any HTTP role answers with.
pub mod kinds {
    use axum::http::StatusCode;

    use super::Kind;

    /// No such path.
    pub const NOT_FOUND: Kind = Kind::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path");
    /// The path knows other methods.
    pub const METHOD_NOT_ALLOWED: Kind =
        Kind::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take this method");
    /// A body over its limit.
    pub const TOO_LARGE: Kind = Kind::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large");
    /// A body of a media type or encoding that is not read here.
    pub const UNSUPPORTED_MEDIA_TYPE: Kind = Kind::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "The body is not in a form that this path reads",
    );
    /// A body that came too slowly.
    pub const BODY_TIMEOUT: Kind =
        Kind::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "The request's body did not arrive in time");
    /// A body that broke off or can't be decompressed.
    pub const BROKEN_BODY: Kind = Kind::new(StatusCode::BAD_REQUEST, "broken_body", "The request's body can't be read");
    /// A body that is not JSON.
    pub const NOT_JSON: Kind = Kind::new(StatusCode::BAD_REQUEST, "not_json", "The request's body is not JSON");
    /// No credentials, or unknown or expired ones.
    pub const UNAUTHENTICATED: Kind =
        Kind::new(StatusCode::UNAUTHORIZED, "unauthenticated", "A valid API key is needed");
    /// Known credentials that don't allow this.
    pub const FORBIDDEN: Kind = Kind::new(StatusCode::FORBIDDEN, "forbidden", "This API key does not allow this");
    /// A handler that took too long: its outcome is not known to the client.
    pub const TIMEOUT: Kind =
        Kind::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "The request was not answered in time");
    /// A bug.
    pub const INTERNAL: Kind = Kind::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here");
    /// As much work is in flight as is allowed (draft-ietf-httpapi-ratelimit-headers registers the type).
    pub const REDUCED_CAPACITY: Kind = Kind {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "temporary_reduced_capacity",
        title: "There is more to do than can be taken right now",
        uri: Some("https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"),
    };
}

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON pointer into the body (RFC 6901): `/lines/0/quantity`; empty for the whole body.
    pub pointer: String,
    /// What is wrong with it and what is expected.
    pub detail: String,
}

/// An occurrence of a [`Kind`], ready to be the answer. Boxed inside, so that a `Result` with it stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<u32>,
    authenticate: Option<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: Cow<'static, str>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
}

impl Problem {
    /// A problem of this kind; `detail` says what happened here, and what to do, in words for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, authenticate: None }))
    }

    /// Names the wrong fields: all of them, so that a client is mended once.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Asks the client to come back after about `seconds` (see [`retry_after`]).
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(retry_after(seconds));
        self
    }

    /// Says how to authenticate (`WWW-Authenticate`, which RFC 9110 wants with every 401).
    #[must_use]
    pub fn authenticate(mut self, challenge: &'static str) -> Self {
        self.0.authenticate = Some(challenge);
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its detail.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The seconds after which the client is asked to come back, where it is.
    pub fn seconds(&self) -> Option<u32> {
        self.0.retry_after
    }

    /// The wrong fields that it names.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }
}

/// A value for `Retry-After`: whole seconds, at least 1 (clients read 0 as at once), evenly spread over `seconds` to
/// twice that, so that those who were refused together do not come back together.
pub fn retry_after(seconds: u32) -> u32 {
    let least = seconds.max(1);
    rand::rng().random_range(least..=least.saturating_mul(2))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let body = Body {
            r#type: parts.kind.uri(),
            title: parts.kind.title,
            status: parts.kind.status.as_u16(),
            detail: &parts.detail,
            code: parts.kind.code,
            message: &parts.detail,
            errors: &parts.errors,
        };
        let mut response = (parts.kind.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = parts.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = parts.authenticate {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_the_members_of_the_rfc_and_those_that_segment_clients_read() {
        const KIND: Kind = Kind::new(StatusCode::BAD_REQUEST, "invalid_order", "Not valid");
        let response = Problem::new(KIND, "one field is wrong")
            .with_errors(vec![FieldError {
                pointer: "/lines/0/quantity".to_owned(),
                detail: "a quantity is a whole number".to_owned(),
            }])
            .retry_after(0)
            .into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let seconds: u32 = response.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!((1..=2).contains(&seconds));
        let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:millpond:problem:invalid-order",
                "title": "Not valid",
                "status": 400,
                "detail": "one field is wrong",
                "code": "invalid_order",
                "message": "one field is wrong",
                "errors": [{
                    "pointer": "/lines/0/quantity",
                    "detail": "a quantity is a whole number",
                }],
            })
        );
    }
}
