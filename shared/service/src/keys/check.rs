//! Who calls, and whether they may.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Clock;
use serde::{Deserialize, Serialize};

use super::{ApiKeys, Entry, KeyKind};
use crate::problem::{Problem, kinds};

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// To post orders.
    Orders,
    /// To post page events.
    Events,
    /// To edit the catalogue.
    Catalogue,
    /// To see and move stock, and to pay, ship, cancel and refund orders.
    Stock,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Events => "events",
            Self::Catalogue => "catalogue",
            Self::Stock => "stock",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Orders, Self::Events, Self::Catalogue, Self::Stock];
        let known = || all.map(Self::name).join(", ");
        all.into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("{text:?} is no scope; known are {}", known()))
    }
}

/// The key that a request carries in its `Authorization` header: Bearer, or Basic with the key as the user (the password
/// is ignored; Segment's clients send it empty).
///
/// # Errors
/// 401 for a header that is neither.
pub fn from_header(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let key = value.to_str().ok().and_then(|value| {
        let (scheme, rest) = value.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            Some(rest.to_owned())
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
            Some(pair.split_once(':').map_or(&*pair, |(user, _)| user).to_owned())
        } else {
            None
        }
    });
    key.filter(|key| !key.is_empty()).map(Some).ok_or_else(|| {
        unauthenticated("the Authorization header is neither `Bearer KEY` nor Basic with the key as user")
    })
}

/// Checks a key: known, not expired, allowed to do this, and used from where it may be.
///
/// # Errors
/// 401 for no key, an unknown one and one that expired; 403 for one that does not allow this.
pub fn check(
    keys: &ApiKeys,
    clock: &dyn Clock,
    plain: Option<&str>,
    scope: Scope,
    headers: &HeaderMap,
) -> Result<Arc<Entry>, Problem> {
    let Some(plain) = plain else {
        return Err(unauthenticated("no API key came with the request: send `Authorization: Bearer KEY`"));
    };
    let key = keys.find(plain).ok_or_else(|| unauthenticated("this API key is not known, or was revoked"))?;
    if let Some(expired) = key.expires_at.filter(|end| *end <= clock.now()) {
        return Err(unauthenticated(format!("this API key expired at {expired}")));
    }
    if !key.scopes.contains(&scope) {
        return Err(forbidden(format!("the API key {:?} does not have the scope `{}`", key.name, scope.name())));
    }
    if key.kind == KeyKind::Browser && !key.origins.is_empty() {
        let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
        if !origin.is_some_and(|origin| key.origins.iter().any(|known| known == origin)) {
            return Err(forbidden(format!(
                "the API key {:?} may not be used from {}",
                key.name,
                origin.unwrap_or("a request without an Origin header")
            )));
        }
    }
    Ok(key)
}

fn unauthenticated(detail: impl Into<String>) -> Problem {
    // Not Basic, though it is read: browsers would ask the visitor for a password.
    Problem::new(kinds::UNAUTHENTICATED, detail).authenticate("Bearer")
}

/// A key that is good for other things: 403.
pub fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(kinds::FORBIDDEN, detail)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key_of(value: &'static str) -> Result<Option<String>, Problem> {
        from_header(&HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]))
    }

    #[test]
    fn bearer_and_basic_carry_the_same_key() {
        for value in ["Bearer mp_live_a", "bearer  mp_live_a", "Basic bXBfbGl2ZV9hOg==", "basic bXBfbGl2ZV9h"] {
            assert_eq!(key_of(value).unwrap().as_deref(), Some("mp_live_a"), "{value}");
        }
        for value in ["mp_live_a", "Digest x", "Basic !", "Basic Og==", "Bearer "] {
            assert!(key_of(value).is_err(), "{value}");
        }
        assert_eq!(from_header(&HeaderMap::new()).unwrap(), None);
    }
}
