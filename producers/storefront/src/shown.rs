//! A product as JSON, the same for whoever reads it and whoever edits it.

use model::{CollectionName, Money, Sku};
use serde::Serialize;

/// What shoppers are shown of a product, but for what changes with its stock.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    pub(crate) sku: &'a Sku,
    /// For `If-Match`.
    pub(crate) version: i64,
    pub(crate) title: &'a str,
    pub(crate) description: &'a str,
    pub(crate) image: Option<&'a str>,
    pub(crate) collections: &'a [CollectionName],
    pub(crate) price: Money,
}
