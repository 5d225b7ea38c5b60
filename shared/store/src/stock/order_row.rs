//! An order's row, locked, and its lines.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::{Attribution, OrderConfirmed, OrderLine, OrderState};
use model::{Currency, Fingerprint, MarketId, OrderId, Sku};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::change::OrderNow;
use super::ledger::{Kind, Ledger, Movement, broken, sku};
use crate::config::Backend;

pub(super) const COLUMNS: &str = "id, market, state, reason, expires_at, version, fingerprint, accepted_at, currency, \
                                  total_minor, attribution, shipped_at, updated_at";

/// An order's row.
#[derive(Debug, Clone)]
pub(super) struct OrderRow {
    pub(super) id: OrderId,
    pub(super) market: MarketId,
    pub(super) state: OrderState,
    pub(super) version: i64,
    pub(super) fingerprint: Fingerprint,
    pub(super) accepted_at: DateTime<Utc>,
    pub(super) currency: Currency,
    pub(super) total_minor: i64,
    pub(super) attribution: Attribution,
    pub(super) shipped_at: Option<DateTime<Utc>>,
    /// When its state was changed last.
    pub(super) updated_at: DateTime<Utc>,
}

impl OrderRow {
    /// Reads a row of [`COLUMNS`].
    pub(super) fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let id: Uuid = row.try_get("", "id")?;
        let bad = |what: &str| broken(&format!("the order {id}: its {what} can't be read"));
        let market: String = row.try_get("", "market")?;
        let currency: String = row.try_get("", "currency")?;
        let fingerprint: Vec<u8> = row.try_get("", "fingerprint")?;
        let fingerprint: [u8; 32] = fingerprint.try_into().map_err(|_| bad("fingerprint"))?;
        let attribution: serde_json::Value = row.try_get("", "attribution")?;
        let state: String = row.try_get("", "state")?;
        let reason: Option<serde_json::Value> = row.try_get("", "reason")?;
        let expires_at: Option<DateTime<Utc>> = row.try_get("", "expires_at")?;
        // The contract's own form of a state, so that its names are in one place.
        let state = serde_json::json!({ "state": state, "reason": reason, "expires_at": expires_at });
        Ok(Self {
            id: id.try_into().map_err(|_| bad("id"))?,
            market: market.parse().map_err(|_| bad("market"))?,
            state: serde_json::from_value(state).map_err(|_| bad("state"))?,
            version: row.try_get("", "version")?,
            fingerprint: fingerprint.into(),
            accepted_at: row.try_get("", "accepted_at")?,
            currency: Currency::from_code(&currency).map_err(|_| bad("currency"))?,
            total_minor: row.try_get("", "total_minor")?,
            attribution: serde_json::from_value(attribution).map_err(|_| bad("attribution"))?,
            shipped_at: row.try_get("", "shipped_at")?,
            updated_at: row.try_get("", "updated_at")?,
        })
    }

    pub(super) fn now(&self) -> OrderNow {
        OrderNow {
            order_id: self.id,
            version: self.version,
            fingerprint: self.fingerprint,
            accepted_at: self.accepted_at,
            state: self.state.clone(),
        }
    }

    /// That it stands, from `at` on.
    pub(super) fn confirmed(&self, ledger: &Ledger<'_>, lines: Vec<OrderLine>) -> OrderConfirmed {
        OrderConfirmed {
            order_id: self.id,
            market: self.market.clone(),
            region: ledger.region.number,
            accepted_at: self.accepted_at,
            confirmed_at: ledger.at,
            currency: self.currency,
            total_minor: self.total_minor,
            lines,
            attribution: self.attribution.clone(),
        }
    }
}

/// Units by SKU.
pub(super) fn units(lines: &[OrderLine]) -> BTreeMap<Sku, i64> {
    lines.iter().fold(BTreeMap::new(), |mut units, line| {
        *units.entry(line.sku.clone()).or_default() += i64::from(line.quantity.get());
        units
    })
}

/// The movements that give what is reserved of `units` back, or let it go (`on_hand` falls along).
pub(super) fn movements(order: OrderId, kind: Kind, units: &BTreeMap<Sku, i64>, leaves: bool) -> Vec<Movement> {
    let some = units.iter().filter(|(_, units)| **units > 0);
    some.map(|(sku, units)| Movement {
        sku: sku.clone(),
        kind,
        reference: order.to_string(),
        order: Some(order),
        on_hand: if leaves { -units } else { 0 },
        reserved: -units,
    })
    .collect()
}

impl Ledger<'_> {
    /// The order of `market`, locked until the transaction ends.
    pub(super) async fn order(&self, id: OrderId, market: &MarketId) -> Result<Option<OrderRow>, DbErr> {
        let lock = match self.region.database.backend() {
            Backend::Postgres => "FOR UPDATE",
            Backend::Sqlite => "",
        };
        let sql = format!("SELECT {COLUMNS} FROM orders WHERE id = $1 AND region = $2 AND market = $3 {lock}");
        let region = i32::from(self.region.number.0);
        let key = [id.as_uuid().into(), region.into(), market.as_str().into()];
        let row = self.tx.query_one_raw(self.region.database.statement(sql, key)).await?;
        row.as_ref().map(OrderRow::read).transpose()
    }

    /// The order's lines, as they were posted.
    pub(super) async fn lines(&self, id: OrderId) -> Result<Vec<OrderLine>, DbErr> {
        let sql = "SELECT sku, quantity, unit_price_minor FROM order_lines WHERE order_id = $1 ORDER BY line_no";
        let rows = self.tx.query_all_raw(self.region.database.statement(sql, [id.as_uuid().into()])).await?;
        rows.iter().map(line).collect()
    }

    /// Gives the order its next state, `steps` changes later, where it still has the one that was read.
    pub(super) async fn turn(&self, order: &OrderRow, next: OrderState, steps: i64) -> Result<OrderRow, DbErr> {
        let sql = "UPDATE orders SET state = $1, expires_at = NULL, version = version + $2, updated_at = $3 \
                   WHERE id = $4 AND state = $5 AND version = $6";
        let values: [Value; 6] = [
            next.name().into(),
            steps.into(),
            self.at.into(),
            order.id.as_uuid().into(),
            order.state.name().into(),
            order.version.into(),
        ];
        let changed = self.tx.execute_raw(self.region.database.statement(sql, values)).await?;
        if changed.rows_affected() != 1 {
            return Err(broken("an order that was locked has changed"));
        }
        Ok(OrderRow { state: next, version: order.version + steps, updated_at: self.at, ..order.clone() })
    }

    /// Gives the units of an order back, or lets them go.
    pub(super) async fn settle(
        &self,
        order: OrderId,
        kind: Kind,
        units: &BTreeMap<Sku, i64>,
        leaves: bool,
    ) -> Result<(), super::refusal::Error> {
        let skus: BTreeSet<Sku> = units.keys().cloned().collect();
        let levels = self.lock(&skus).await?;
        self.post(&levels, &movements(order, kind, units, leaves)).await.map(drop)
    }
}

pub(super) fn line(row: &QueryResult) -> Result<OrderLine, DbErr> {
    let quantity: i32 = row.try_get("", "quantity")?;
    let quantity = u32::try_from(quantity).ok().and_then(|units| units.try_into().ok());
    Ok(OrderLine {
        sku: sku(row)?,
        quantity: quantity.ok_or_else(|| broken("a line's quantity is out of range"))?,
        unit_price_minor: row.try_get("", "unit_price_minor")?,
    })
}
