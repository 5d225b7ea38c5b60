//! Rows of stock and their movements, written together under the rows' locks.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use model::{OrderId, Sku};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::change::StockAnswer;
use super::level::Level;
use super::refusal::{Error, Refusal};
use crate::config::Backend;
use crate::database::Transaction;
use crate::outbox;
use crate::regions::Region;
use crate::rows::Rows;

/// Why units move, as the ledger names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Release,
    Cancel,
    Ship,
    Refund,
    Restock,
    Count,
    Allotment,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Cancel => "cancel",
            Self::Ship => "ship",
            Self::Refund => "refund",
            Self::Restock => "restock",
            Self::Count => "count",
            Self::Allotment => "allotment",
        }
    }
}

/// A line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    pub(super) sku: Sku,
    pub(super) kind: Kind,
    /// Unique for the SKU and kind.
    pub(super) reference: String,
    pub(super) order: Option<OrderId>,
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
}

/// The ledger of a region within a transaction.
#[derive(Clone, Copy)]
pub(super) struct Ledger<'a> {
    pub(super) region: &'a Region,
    pub(super) tx: &'a Transaction,
    /// The transaction's time, by the database's clock.
    pub(super) at: DateTime<Utc>,
}

impl Ledger<'_> {
    /// The rows of `skus` that there are, locked in the byte order of SKUs until the transaction ends, as checkout and imports
    /// lock. SQLite needs no row lock: the transaction has the whole file.
    pub(super) async fn lock(&self, skus: &BTreeSet<Sku>) -> Result<BTreeMap<Sku, Level>, DbErr> {
        let locked = match self.region.database.backend() {
            Backend::Postgres => "ORDER BY stock.sku COLLATE \"C\" FOR UPDATE OF stock",
            Backend::Sqlite => "",
        };
        let sql = format!(
            "SELECT stock.sku, on_hand, reserved, low_threshold, version FROM stock JOIN r ON r.sku = stock.sku \
             WHERE region = {} {locked}",
            self.region.number
        );
        let rows = Rows::default().column("sku", "text", skus.iter().map(Sku::to_string));
        rows.query(&**self.tx, &sql).await?.iter().map(level).collect()
    }

    /// Makes a row without units where there is none.
    pub(super) async fn create(&self, sku: &Sku) -> Result<(), DbErr> {
        let sql = "INSERT INTO stock (region, sku, on_hand, version) VALUES ($1, $2, 0, 0) ON CONFLICT DO NOTHING";
        let region = i32::from(self.region.number.0);
        let statement = self.region.database.statement(sql, [region.into(), sku.as_str().into()]);
        self.tx.execute_raw(statement).await.map(drop)
    }

    /// Whether the ledger has this line already.
    pub(super) async fn has(&self, movement: &Movement) -> Result<bool, DbErr> {
        let sql = "SELECT 1 FROM stock_movements WHERE region = $1 AND sku = $2 AND kind = $3 AND reference = $4";
        let region = i32::from(self.region.number.0);
        let key = [
            region.into(),
            movement.sku.as_str().into(),
            movement.kind.name().into(),
            movement.reference.as_str().into(),
        ];
        Ok(self.tx.query_one_raw(self.region.database.statement(sql, key)).await?.is_some())
    }

    /// Writes `movements` down and brings the rows, locked as `levels`, to their sums; tells of what shoppers see differently,
    /// and of promised units that are missing. Returns the rows as they are now.
    ///
    /// # Errors
    /// [`Refusal::UnknownSku`], [`Refusal::NotOnHand`], [`Refusal::TooMany`]; the database's.
    pub(super) async fn post(
        &self,
        levels: &BTreeMap<Sku, Level>,
        movements: &[Movement],
    ) -> Result<BTreeMap<Sku, Level>, Error> {
        let mut sums: BTreeMap<&Sku, (i64, i64)> = BTreeMap::new();
        for movement in movements {
            let (on_hand, reserved) = sums.entry(&movement.sku).or_default();
            *on_hand += movement.on_hand;
            *reserved += movement.reserved;
        }
        let mut next = BTreeMap::new();
        let mut events = Vec::new();
        for (sku, (on_hand, reserved)) in sums {
            let before = levels.get(sku).ok_or_else(|| Refusal::UnknownSku(sku.clone()))?;
            let after = before.moved(sku, on_hand, reserved)?;
            if after.reserved < 0 {
                return Err(broken(&format!("more units of {sku} would be given back than are reserved")).into());
            }
            events.extend(after.events(&self.region.name, sku, *before, self.at));
            next.insert(sku.clone(), after);
        }
        self.write_levels(&next).await?;
        self.write_movements(movements).await?;
        outbox::insert(&self.region.database, self.tx, &events).await?;
        Ok(next)
    }

    /// One update of each row, however many movements it had.
    async fn write_levels(&self, levels: &BTreeMap<Sku, Level>) -> Result<(), DbErr> {
        let rows = Rows::default()
            .column("sku", "text", levels.keys().map(Sku::to_string))
            .column("on_hand", "bigint", levels.values().map(|level| level.on_hand))
            .column("reserved", "bigint", levels.values().map(|level| level.reserved))
            .column("shortfall", "bigint", levels.values().map(|level| level.shortfall()))
            .column("version", "bigint", levels.values().map(|level| level.version))
            .column("at", "timestamptz", levels.values().map(|_| self.at));
        // The version before is asked for, too: a row that changed under its lock is a fault to hear of.
        let sql = format!(
            "UPDATE stock SET on_hand = r.on_hand, reserved = r.reserved, shortfall = r.shortfall, \
             version = r.version, updated_at = r.at FROM r \
             WHERE stock.region = {} AND stock.sku = r.sku AND stock.version = r.version - 1",
            self.region.number
        );
        let updated = rows.execute(&**self.tx, &sql).await?;
        if usize::try_from(updated).ok() == Some(levels.len()) {
            Ok(())
        } else {
            Err(broken("a stock row that was locked has changed"))
        }
    }

    async fn write_movements(&self, movements: &[Movement]) -> Result<(), DbErr> {
        let (of_orders, others): (Vec<&Movement>, Vec<&Movement>) =
            movements.iter().partition(|movement| movement.order.is_some());
        for (mut movements, order) in [(of_orders, "order_id"), (others, "NULL")] {
            movements.sort_by_key(|movement| (&movement.sku, movement.kind, &movement.reference));
            let mut rows = Rows::default()
                .column("sku", "text", movements.iter().map(|m| m.sku.to_string()))
                .column("kind", "text", movements.iter().map(|m| m.kind.name().to_owned()))
                .column("reference", "text", movements.iter().map(|m| m.reference.clone()))
                .column("on_hand", "bigint", movements.iter().map(|m| m.on_hand))
                .column("reserved", "bigint", movements.iter().map(|m| m.reserved))
                .column("at", "timestamptz", movements.iter().map(|_| self.at));
            if order == "order_id" {
                rows = rows.column("order_id", "uuid", movements.iter().filter_map(|m| m.order).map(OrderId::as_uuid));
            }
            let sql = format!(
                "INSERT INTO stock_movements (region, sku, kind, reference, order_id, on_hand_change, reserved_change, \
                 created_at) SELECT {}, sku, kind, reference, {order}, on_hand, reserved, at FROM r",
                self.region.number
            );
            rows.execute(&**self.tx, &sql).await?;
        }
        Ok(())
    }
}

/// The stock of `sku` as it is committed on the primary; none where the region has none.
///
/// # Errors
/// The database's.
pub async fn look(region: &Region, sku: &Sku) -> Result<Option<StockAnswer>, DbErr> {
    let sql = "SELECT sku, on_hand, reserved, low_threshold, version FROM stock WHERE region = $1 AND sku = $2";
    let key = [i32::from(region.number.0).into(), sku.as_str().into()];
    let row = region.database.read().query_one_raw(region.database.statement(sql, key)).await?;
    row.as_ref().map(|row| level(row).map(|(sku, level)| level.answer(&sku, None))).transpose()
}

fn level(row: &QueryResult) -> Result<(Sku, Level), DbErr> {
    let level = Level {
        on_hand: row.try_get("", "on_hand")?,
        reserved: row.try_get("", "reserved")?,
        low_threshold: row.try_get("", "low_threshold")?,
        version: row.try_get("", "version")?,
    };
    Ok((sku(row)?, level))
}

pub(super) fn sku(row: &QueryResult) -> Result<Sku, DbErr> {
    let text: String = row.try_get("", "sku")?;
    text.parse().map_err(|error| broken(&format!("{text:?}: {error}")))
}

/// What the database holds is not what was put in: an operator has to look.
pub(super) fn broken(what: &str) -> DbErr {
    DbErr::Custom(what.to_owned())
}
