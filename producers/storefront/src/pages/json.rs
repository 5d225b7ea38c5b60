//! What programs are told. Availability is a band; no number from which sales could be counted is in it.

use chrono::{DateTime, Utc};
use events::Band;
use model::{Money, Sku};
use serde::Serialize;
use store::catalogue::{self, Availability};

use crate::shown::Shown;

/// The answer of `GET /v1/products/{sku}`.
#[derive(Debug, Serialize)]
pub(super) struct Product<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    availability: Band,
    updated_at: DateTime<Utc>,
}

impl<'a> Product<'a> {
    pub(super) fn new(product: &'a catalogue::Product, availability: Option<Availability>) -> Self {
        let shown = Shown {
            sku: &product.sku,
            version: product.version,
            title: &product.title,
            description: &product.description,
            image: product.image.as_deref(),
            collections: &product.collections,
            price: product.price,
        };
        Self { shown, availability: band(availability), updated_at: product.updated_at }
    }
}

/// What nobody ever counted is not there.
pub(super) fn band(availability: Option<Availability>) -> Band {
    availability.map_or(Band::Out, |availability| availability.band)
}

/// The answer of `GET /v1/products`.
#[derive(Debug, Serialize)]
pub(super) struct List<'a> {
    items: Vec<Item<'a>>,
    /// The parameter `page` of the next page; null at the end.
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    sku: &'a Sku,
    title: &'a str,
    image: Option<&'a str>,
    price: Money,
    availability: Band,
}

impl<'a> List<'a> {
    pub(super) fn new(page: &'a catalogue::Page) -> Self {
        let item = |listing: &'a catalogue::Listing| Item {
            sku: &listing.sku,
            title: &listing.title,
            image: listing.image.as_deref(),
            price: listing.price,
            availability: listing.band,
        };
        Self { items: page.items.iter().map(item).collect(), next: page.next.as_ref().map(ToString::to_string) }
    }
}

/// The answer of `GET /v1/stock/{sku}` for whoever comes without a key. Not the stock row's version, which counts sales.
#[derive(Debug, Serialize)]
pub(super) struct Stock<'a> {
    pub(super) sku: &'a Sku,
    pub(super) availability: Band,
}
