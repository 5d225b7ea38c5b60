//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use service::{Kind, Problem};

use crate::run::State;

const UNAUTHENTICATED: Kind =
    Kind::new(StatusCode::UNAUTHORIZED, "operator_unauthenticated", "An operator's token is needed");

/// Who asks, by the name in the operators' file. An extractor: a handler that takes it answers nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    name: String,
}

impl Operator {
    /// The name, as the audit trail has it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromRequestParts<Arc<State>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<State>) -> Result<Self, Problem> {
        let refuse = |detail: &str| {
            let detail = format!(
                "{detail}: send `Authorization: Bearer TOKEN`; `millpond keys operator --name NAME` makes a token"
            );
            Problem::new(UNAUTHENTICATED, detail).authenticate("Bearer")
        };
        let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(|| refuse("no token came with the request"))?;
        let token = value.to_str().ok().and_then(|value| value.trim().split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token.ok_or_else(|| refuse("the Authorization header is not `Bearer TOKEN`"))?;
        let name = state.operators.find(token).ok_or_else(|| refuse("no operator has this token (any more)"))?;
        Ok(Self { name })
    }
}
