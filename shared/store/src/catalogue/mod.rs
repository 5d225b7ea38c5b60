//! Products, prices and counts as a shop hands them in: a whole file in one transaction, or nothing of it.
//!
//! A product's version counts up with every change of what shoppers see, its price included, and each change is one
//! `product.changed`. An old price is kept with the time that it ended, for orders that were shown it. A count changes
//! `on_hand` alone; units that are reserved and were not found become the shortfall, which is reported and not hidden.

mod change;
mod cursor;
mod list;
mod read;
mod sql;
mod words;

use std::collections::HashMap;

use model::{Clock, Money, Sku};
use sea_orm::DbErr;

use crate::database::Transaction;
use crate::outbox;
use crate::regions::Region;
use change::Change;

pub use cursor::{Cursor, CursorError};
pub use list::{Listing, Page, Search, list};
pub use read::{Availability, Product, availability, collections, product};

/// Products of one round trip: far below the binds that either database takes.
const CHUNK: usize = 500;

/// A product as the shop wants it to be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductEdit {
    /// Which.
    pub sku: Sku,
    /// Shown to shoppers.
    pub title: String,
    /// Shown to shoppers.
    pub description: String,
    /// Collections that list it.
    pub collections: Vec<String>,
    /// Price of one unit.
    pub price: Money,
    /// Units in the warehouse, an absolute count, 0 or more.
    pub on_hand: i64,
    /// At or below this many for sale, stock is shown as low; 0 or more.
    pub low_threshold: i64,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Products that were not there before.
    pub created: u64,
    /// Products that shoppers see differently now.
    pub changed: u64,
    /// Products that are as they were.
    pub unchanged: u64,
    /// SKUs with fewer units than are promised to orders, and how many are missing.
    pub shortfalls: Vec<(Sku, i64)>,
}

/// Brings the region's catalogue and stock to `edits` (each SKU at most once): all of them, or none. `reference` names
/// the import in the stock movements and must be a new one for each. `progress` is told how many are done.
///
/// # Errors
/// The database's; then nothing was changed.
pub async fn import(
    region: &Region,
    edits: &[ProductEdit],
    reference: &str,
    clock: &dyn Clock,
    mut progress: impl FnMut(usize) + Send,
) -> Result<Imported, DbErr> {
    // Rows are locked in byte order of SKUs, chunk after chunk, and kept until the commit. Whoever locks in another order
    // can meet this in a deadlock: the database ends one of the two (40P01), and checkout tries its batch again.
    let mut sorted: Vec<&ProductEdit> = edits.iter().collect();
    sorted.sort_by(|one, other| one.sku.cmp(&other.sku));
    let transaction = region.database.begin().await?;
    let mut imported = Imported::default();
    let mut done = 0;
    for chunk in sorted.chunks(CHUNK) {
        import_chunk(region, &transaction, chunk, reference, clock, &mut imported).await?;
        done += chunk.len();
        progress(done);
    }
    transaction.commit().await?;
    Ok(imported)
}

async fn import_chunk(
    region: &Region,
    transaction: &Transaction,
    chunk: &[&ProductEdit],
    reference: &str,
    clock: &dyn Clock,
    imported: &mut Imported,
) -> Result<(), DbErr> {
    let statements = sql::Statements { database: &region.database, transaction, region: region.number };
    let products: HashMap<_, _> = statements.products(chunk).await?;
    let stock: HashMap<_, _> = statements.stock(chunk).await?;
    let changes: Vec<Change<'_>> = chunk
        .iter()
        .map(|edit| Change::between(products.get(edit.sku.as_str()), stock.get(edit.sku.as_str()), edit))
        .collect();
    statements.write_products(&changes).await?;
    statements.write_prices(&changes).await?;
    statements.write_stock(&changes, reference).await?;
    let messages: Vec<_> = changes.iter().flat_map(|change| change.messages(&region.name, clock)).collect();
    outbox::insert(&region.database, transaction, &messages).await?;
    for change in &changes {
        change.count_into(imported);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
