//! Lines that are paid back, in whole or in part.

use std::collections::{BTreeMap, BTreeSet};

use events::{OrderRefunded, RefundedLine};
use model::{IdempotencyKey, OrderId, Sku};
use sea_orm::{ConnectionTrait as _, DbErr};

use super::change::{OrderAnswer, RefundLine};
use super::ledger::{Kind, Ledger, Movement, sku};
use super::level::fact;
use super::order_row::{OrderRow, units};
use super::refusal::{Error, Refusal};
use crate::outbox;
use crate::rows::Rows;

/// What was paid back of one SKU of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Refunded {
    pub(super) units: i64,
    pub(super) amount_minor: i64,
}

impl Ledger<'_> {
    /// What was paid back of an order so far.
    pub(super) async fn refunded(&self, id: OrderId) -> Result<BTreeMap<Sku, Refunded>, DbErr> {
        let sql = "SELECT sku, CAST(SUM(quantity) AS bigint) AS units, CAST(SUM(amount_minor) AS bigint) AS amount \
                   FROM order_refunds WHERE order_id = $1 GROUP BY sku";
        let rows = self.tx.query_all_raw(self.region.database.statement(sql, [id.as_uuid().into()])).await?;
        rows.iter()
            .map(|row| {
                let refunded = Refunded { units: row.try_get("", "units")?, amount_minor: row.try_get("", "amount")? };
                Ok((sku(row)?, refunded))
            })
            .collect()
    }

    /// Pays `lines` back.
    pub(super) async fn refund(
        &self,
        order: &OrderRow,
        lines: &[RefundLine],
        key: &IdempotencyKey,
    ) -> Result<OrderAnswer, Error> {
        order.stands()?;
        if !failpoint::broken!(ChangedTwice) && self.has_refund(order.id, key).await? {
            return Err(Refusal::KeyOfThePast.into());
        }
        let ordered = units(&self.lines(order.id).await?);
        check(order.total_minor, &ordered, &self.refunded(order.id).await?, lines)?;
        let skus: BTreeSet<Sku> = lines.iter().map(|line| line.sku.clone()).collect();
        let levels = self.lock(&skus).await?;
        let movements: Vec<Movement> =
            lines.iter().map(|line| movement(order.id, line, key, order.shipped_at.is_some())).collect();
        self.post(&levels, &movements).await?;
        self.write_refunds(order.id, lines, key).await?;
        let refunded = OrderRefunded {
            order_id: order.id,
            reference: key.clone(),
            market: order.market.clone(),
            region: self.region.number,
            accepted_at: order.accepted_at,
            refunded_at: self.at,
            currency: order.currency,
            lines: lines.iter().map(told).collect(),
            attribution: order.attribution.clone(),
        };
        outbox::insert(&self.region.database, self.tx, &[fact(self.at, refunded)]).await?;
        Ok(OrderAnswer { refunded: lines.to_vec(), ..order.answer() })
    }

    async fn has_refund(&self, id: OrderId, key: &IdempotencyKey) -> Result<bool, DbErr> {
        let sql = "SELECT 1 FROM order_refunds WHERE order_id = $1 AND reference = $2 LIMIT 1";
        let values = [id.as_uuid().into(), key.as_str().into()];
        Ok(self.tx.query_one_raw(self.region.database.statement(sql, values)).await?.is_some())
    }

    async fn write_refunds(&self, id: OrderId, lines: &[RefundLine], key: &IdempotencyKey) -> Result<(), DbErr> {
        let mut lines: Vec<&RefundLine> = lines.iter().collect();
        lines.sort_by(|one, other| one.sku.cmp(&other.sku));
        let quantity = |line: &&RefundLine| i32::try_from(line.quantity.get()).unwrap_or(i32::MAX);
        let rows = Rows::default()
            .column("order_id", "uuid", lines.iter().map(|_| id.as_uuid()))
            .column("sku", "text", lines.iter().map(|line| line.sku.to_string()))
            .column("reference", "text", lines.iter().map(|_| key.to_string()))
            .column("quantity", "integer", lines.iter().map(quantity))
            .column("restocked", "boolean", lines.iter().map(|line| line.restock))
            .column("amount_minor", "bigint", lines.iter().map(|line| line.amount_minor))
            .column("at", "timestamptz", lines.iter().map(|_| self.at));
        let sql = "INSERT INTO order_refunds (order_id, sku, reference, quantity, restocked, amount_minor, created_at) \
                   SELECT order_id, sku, reference, quantity, restocked, amount_minor, at FROM r";
        rows.execute(&**self.tx, sql).await.map(drop)
    }
}

/// Refuses more units than were ordered, and more money than was paid.
fn check(
    total_minor: i64,
    ordered: &BTreeMap<Sku, i64>,
    refunded: &BTreeMap<Sku, Refunded>,
    lines: &[RefundLine],
) -> Result<(), Refusal> {
    for line in lines {
        let back = refunded.get(&line.sku).map_or(0, |refunded| refunded.units);
        let left = ordered.get(&line.sku).copied().unwrap_or(0) - back;
        let wanted = i64::from(line.quantity.get());
        if wanted > left {
            return Err(Refusal::TooManyUnits { sku: line.sku.clone(), wanted, left });
        }
    }
    let left = total_minor - refunded.values().map(|refunded| refunded.amount_minor).sum::<i64>();
    let wanted = lines.iter().fold(0_i64, |sum, line| sum.saturating_add(line.amount_minor));
    if wanted > left { Err(Refusal::TooMuchMoney { wanted, left }) } else { Ok(()) }
}

/// What becomes of the units: the table in the module's essay.
fn movement(order: OrderId, line: &RefundLine, key: &IdempotencyKey, shipped: bool) -> Movement {
    let units = i64::from(line.quantity.get());
    let (on_hand, reserved) = match (shipped, line.restock) {
        (false, true) => (0, -units),
        (false, false) => (-units, -units),
        (true, true) => (units, 0),
        (true, false) => (0, 0),
    };
    let reference = format!("{order}/{key}");
    Movement { sku: line.sku.clone(), kind: Kind::Refund, reference, order: Some(order), on_hand, reserved }
}

fn told(line: &RefundLine) -> RefundedLine {
    RefundedLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        restocked: line.restock,
        amount_minor: line.amount_minor,
    }
}
