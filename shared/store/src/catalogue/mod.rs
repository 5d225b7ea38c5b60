//! Products and prices: as shoppers read them, and as a shop changes them.
//!
//! # Nouns
//! A *product* is what a region sells under a SKU. Its *version* counts up with every change of what shoppers see, its price
//! included, and never begins again, also when the product is withdrawn and comes back. Its *standing price* is the one that has
//! not ended; ended ones are kept for orders that were shown them, until [`forget_prices`]. A *list* is a collection, or
//! everything, in the order of titles.
//!
//! # Guarantees
//! - **A change and what is told of it are one transaction**: each is one `product.changed` with its version, and what changes
//!   nothing is told to nobody.
//! - **No update is lost**: [`put`], [`patch`] and [`withdraw`] hold the product's lock when they look whether it is what was
//!   [`Expected`].
//! - **An import is whole or nothing.** A count changes `on_hand` alone; units that are reserved and were not found become the
//!   shortfall, which is reported and not hidden.
//! - **No page of a list looks at the whole catalogue** ([`fn@list`]).
//! - A product that is withdrawn has no standing price, so no order of a browser key that was shown it after the grace of
//!   `checkout` is accepted.
//!
//! # Order of locks
//! Products in byte order of SKUs, then stock rows in the same order, chunk by chunk.

mod change;
mod cursor;
mod edit;
mod import;
mod list;
mod read;
mod sql;
mod sweep;
mod words;

use model::{CollectionName, Money, Sku};

pub use cursor::{Cursor, CursorError};
pub use edit::{EditError, Edited, Expected, Patch, patch, put, withdraw};
pub use import::{ImportError, Imported, Shortfall, import, import_once};
pub use list::{Listing, Page, Search, list};
pub use read::{Availability, Product, availability, collections, product};
pub use sweep::forget_prices;

/// A product as the shop wants it to be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductEdit {
    /// Which.
    pub sku: Sku,
    /// Shown to shoppers.
    pub title: String,
    /// Shown to shoppers.
    pub description: String,
    /// URL of its picture, or a path on the shop's own host.
    pub image: Option<String>,
    /// Collections that list it, each once.
    pub collections: Vec<CollectionName>,
    /// Price of one unit.
    pub price: Money,
    /// Units in the warehouse, an absolute count, 0 or more; none: what is known of its stock stays. Only an import looks at it.
    pub on_hand: Option<i64>,
    /// At or below this many for sale, stock is shown as low; 0 or more. None: as it is, or 5 where nothing was known. Only an
    /// import looks at it.
    pub low_threshold: Option<i64>,
}

#[cfg(test)]
mod tests;
