//! Answers of the routes that change products.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use model::Sku;
use service::{Kind, Problem, kinds};
use store::catalogue::{Edited, ProductEdit};

use crate::caller::private;
use crate::condition::put_version;
use crate::shown::Shown;

/// What every 503 says.
pub(super) const AGAIN: &str = "send it again: the same edit twice is one";

const UNKNOWN_PRODUCT: Kind =
    Kind::new(StatusCode::NOT_FOUND, "unknown_product", "There is no such product in this market");
const PRECONDITION_FAILED: Kind =
    Kind::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", "The product is not what this edit was made for");

/// The edit is committed, or was before.
pub(super) fn edited(edited: &Edited) -> Response {
    let ProductEdit { sku, title, description, image, collections, price, .. } = &edited.product;
    let body =
        Shown { sku, version: edited.version, title, description, image: image.as_deref(), collections, price: *price };
    let status = if edited.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = private((status, Json(body)).into_response());
    put_version(response.headers_mut(), edited.version);
    response
}

pub(super) fn withdrawn() -> Response {
    private(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn unknown(sku: &Sku) -> Problem {
    Problem::new(UNKNOWN_PRODUCT, format!("there is no product {sku} in this market, or it was withdrawn"))
}

pub(super) fn precondition_failed(current: Option<i64>) -> Response {
    let detail = match current {
        Some(version) => format!(
            "the product is in version {version} now: look at what changed, and send the edit with If-Match: \
             \"{version}\""
        ),
        None => "there is no such product for sale: If-None-Match: * creates it".to_owned(),
    };
    let mut response = Problem::new(PRECONDITION_FAILED, detail).into_response();
    if let Some(version) = current {
        put_version(response.headers_mut(), version);
    }
    response
}

pub(super) fn no_place(what: &str, again: &str) -> Problem {
    let detail = format!("as many {what} are being made as this server takes; {again}");
    Problem::new(kinds::REDUCED_CAPACITY, detail).retry_after(1)
}
