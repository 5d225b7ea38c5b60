//! Changes of what is in the warehouse: counts, restocking, allotments. They move `on_hand` alone.

use std::collections::BTreeSet;

use model::Sku;

use super::change::StockAnswer;
use super::ledger::{Kind, Ledger, Movement};
use super::level::Level;
use super::refusal::{Error, Refusal};
use crate::catalogue::Expected;

/// How a change is asked for.
pub(super) struct Asked<'a> {
    /// Unique for the SKU and kind of movement.
    pub(super) reference: String,
    pub(super) expected: &'a Expected,
}

/// By how much `on_hand` is to change, once the row is known.
type Units<'a> = &'a (dyn Fn(Level) -> Result<i64, Refusal> + Send + Sync);

impl Ledger<'_> {
    /// The warehouse has so many units, whatever was known.
    pub(super) async fn count(&self, sku: &Sku, on_hand: i64, asked: Asked<'_>) -> Result<StockAnswer, Error> {
        self.create(sku).await?;
        self.change(sku, Kind::Count, asked, &|level| Ok(on_hand - level.on_hand)).await
    }

    /// So many units came in.
    pub(super) async fn restock(&self, sku: &Sku, units: i64, asked: Asked<'_>) -> Result<StockAnswer, Error> {
        self.change(sku, Kind::Restock, asked, &|_| Ok(units)).await
    }

    /// The shop lets so many units of its own be sold here.
    pub(super) async fn give(&self, sku: &Sku, units: i64, asked: Asked<'_>) -> Result<StockAnswer, Error> {
        self.create(sku).await?;
        self.change(sku, Kind::Allotment, asked, &|_| Ok(units)).await
    }

    /// The shop takes so many units back, or all that are not promised.
    pub(super) async fn take(&self, sku: &Sku, units: Option<i64>, asked: Asked<'_>) -> Result<StockAnswer, Error> {
        let taken = |level: Level| {
            let available = level.available().max(0);
            match units {
                None => Ok(-available),
                Some(units) if units <= available => Ok(-units),
                Some(wanted) => Err(Refusal::Promised { sku: sku.clone(), wanted, available }),
            }
        };
        self.change(sku, Kind::Allotment, asked, &taken).await
    }

    async fn change(&self, sku: &Sku, kind: Kind, asked: Asked<'_>, units: Units<'_>) -> Result<StockAnswer, Error> {
        let levels = self.lock(&BTreeSet::from([sku.clone()])).await?;
        let level = *levels.get(sku).ok_or_else(|| Refusal::UnknownSku(sku.clone()))?;
        let Asked { reference, expected } = asked;
        let mut movement = Movement { sku: sku.clone(), kind, reference, order: None, on_hand: 0, reserved: 0 };
        // Before the version and the units: those of a repeat are none of its business.
        if !failpoint::broken!(ChangedTwice) && self.has(&movement).await? {
            return Err(Refusal::KeyOfThePast.into());
        }
        let current = (level.version > 0).then_some(level.version);
        if !expected.holds(current) {
            return Err(Error::Precondition { current });
        }
        movement.on_hand = units(level)?;
        let next = self.post(&levels, std::slice::from_ref(&movement)).await?;
        let level = next.get(sku).copied().unwrap_or(level);
        Ok(level.answer(sku, Some(movement.on_hand)))
    }
}
