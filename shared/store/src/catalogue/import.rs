//! A file of products in one transaction.

use std::collections::HashMap;

use model::{Clock, EventId, Fingerprint, IdempotencyKey, MarketId, Sku};
use sea_orm::DbErr;
use serde::Serialize;

use super::ProductEdit;
use super::change::{Change, KnownStock};
use super::read::broken;
use super::sql::Statements;
use crate::answers::Answers;
use crate::database::Transaction;
use crate::outbox;
use crate::regions::Region;

/// Products of one round trip.
const CHUNK: usize = 500;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Imported {
    /// Products that were not for sale before.
    pub created: u64,
    /// Products that shoppers see differently now.
    pub changed: u64,
    /// Products that are as they were.
    pub unchanged: u64,
    /// What was promised to orders and was not counted.
    pub shortfalls: Vec<Shortfall>,
}

/// Promised units that are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shortfall {
    /// Of what.
    pub sku: Sku,
    /// How many, 1 or more.
    pub missing: i64,
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
    progress: impl FnMut(usize) + Send,
) -> Result<Imported, DbErr> {
    let transaction = region.database.begin().await?;
    let imported = write_all(region, &transaction, edits, reference, clock, progress).await?;
    transaction.commit().await?;
    Ok(imported)
}

/// Why an import under a key was not made; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The key was used for something else, which stands.
    #[error("this Idempotency-Key was used for another request; that one stands. A new one needs a new key")]
    KeyReused,
    /// The database's. Where the connection was lost at the commit the import may have been made: the same key tells.
    #[error(transparent)]
    Database(#[from] DbErr),
}

/// As [`import`], once for each `key` of `market`: the answer (an [`Imported`] as JSON) commits with the import, and a repeat
/// with the same `fingerprint` is given it again. Whether it was a repeat comes with it. Answers are forgotten as those to
/// changes of stock are ([`crate::stock::forget_requests`]); a repeat after that is another import.
///
/// # Errors
/// [`ImportError`].
pub async fn import_once(
    region: &Region,
    market: &MarketId,
    key: &IdempotencyKey,
    fingerprint: Fingerprint,
    edits: &[ProductEdit],
    clock: &dyn Clock,
) -> Result<(serde_json::Value, bool), ImportError> {
    let tx = region.database.begin().await?;
    let answers = Answers { region, tx: &tx, market, key };
    if answers.begin(fingerprint).await?.is_none() {
        let answer = answers.stored(fingerprint).await?.ok_or(ImportError::KeyReused)?;
        return Ok((answer, true));
    }
    let reference = EventId::new(clock).to_string();
    let imported = write_all(region, &tx, edits, &reference, clock, |_| ()).await?;
    let answer = serde_json::to_value(&imported).map_err(|error| DbErr::Json(error.to_string()))?;
    answers.keep(&answer).await?;
    tx.commit().await?;
    Ok((answer, false))
}

pub(super) async fn write_all(
    region: &Region,
    tx: &Transaction,
    edits: &[ProductEdit],
    reference: &str,
    clock: &dyn Clock,
    mut progress: impl FnMut(usize) + Send,
) -> Result<Imported, DbErr> {
    // Rows are locked in byte order of SKUs, chunk after chunk, and kept until the commit. Whoever locks in another order
    // can meet this in a deadlock: the database ends one of the two (40P01), and checkout tries its batch again.
    let mut sorted: Vec<&ProductEdit> = edits.iter().collect();
    sorted.sort_by(|one, other| one.sku.cmp(&other.sku));
    let mut imported = Imported::default();
    let mut done = 0;
    for chunk in sorted.chunks(CHUNK) {
        write_chunk(region, tx, chunk, reference, clock, &mut imported).await?;
        done += chunk.len();
        progress(done);
    }
    Ok(imported)
}

async fn write_chunk(
    region: &Region,
    tx: &Transaction,
    chunk: &[&ProductEdit],
    reference: &str,
    clock: &dyn Clock,
    imported: &mut Imported,
) -> Result<(), DbErr> {
    let statements = Statements { region, tx };
    let skus: Vec<&Sku> = chunk.iter().map(|edit| &edit.sku).collect();
    statements.make_and_lock_products(&skus).await?;
    let products = statements.products(&skus).await?;
    let counted: Vec<&Sku> = chunk
        .iter()
        .filter(|edit| edit.on_hand.is_some() || edit.low_threshold.is_some())
        .map(|edit| &edit.sku)
        .collect();
    let stock: HashMap<String, KnownStock> = statements.make_and_lock_stock(&counted).await?;
    let changes: Vec<Change<'_>> = chunk
        .iter()
        .map(|edit| {
            let known = products.get(edit.sku.as_str()).ok_or_else(|| broken("a product row that was made is gone"))?;
            Ok(Change::between(known, stock.get(edit.sku.as_str()), edit))
        })
        .collect::<Result<_, DbErr>>()?;
    write(&statements, &changes, reference, clock).await?;
    for change in &changes {
        change.count_into(imported);
    }
    Ok(())
}

/// Writes `changes` of locked rows, and what is told of them.
pub(super) async fn write(
    statements: &Statements<'_>,
    changes: &[Change<'_>],
    reference: &str,
    clock: &dyn Clock,
) -> Result<(), DbErr> {
    statements.write_products(changes).await?;
    statements.write_lists(changes).await?;
    statements.write_prices(changes).await?;
    statements.write_stock(changes, reference).await?;
    let region = statements.region;
    let messages: Vec<_> = changes.iter().flat_map(|change| change.messages(&region.name, clock)).collect();
    outbox::insert(&region.database, statements.tx, &messages).await
}
