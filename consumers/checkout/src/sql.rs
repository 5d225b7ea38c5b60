//! The statements of the batch transaction, one function each. Rows are always written in key order, so that two
//! workers that meet in the same rows wait for each other and never in a circle.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::{OrderLine, Rejection};
use model::{Fingerprint, OrderId, RegionNumber, Sku};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult};
use store::Rows;
use uuid::Uuid;

use crate::intake::Checked;
use crate::price::{Price, Prices};

/// A stock row, locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) on_hand: i64,
    pub(crate) reserved: i64,
    pub(crate) low_threshold: i64,
    pub(crate) version: i64,
}

impl Stock {
    /// Units for sale; below 0 where a count found fewer than are promised.
    pub(crate) fn available(&self) -> i64 {
        if failpoint::broken!(Oversell) {
            return i64::from(u32::MAX);
        }
        self.on_hand - self.reserved
    }
}

/// When the database stored an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Created {
    pub(crate) at: DateTime<Utc>,
    /// Until when its units are held for its payment; none: it needs none.
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// Units that a confirmed order takes of a SKU.
pub(crate) struct Movement<'a> {
    pub(crate) order: OrderId,
    pub(crate) sku: &'a Sku,
    pub(crate) units: i64,
    pub(crate) at: DateTime<Utc>,
}

/// Stores `orders`, sorted by id, as confirmed (or as reserved for so many seconds), and says which are new and when the database says that is. Most orders
/// end so, and nobody sees the row before the commit; [`reject`] corrects the rest. This statement is what makes an
/// order's effect happen once: of several deliveries only one finds its id new.
pub(crate) async fn insert_orders(
    db: &impl ConnectionTrait,
    region: RegionNumber,
    orders: &[&Checked<'_>],
    reserve_s: u32,
) -> Result<BTreeMap<OrderId, Created>, DbErr> {
    let placed: Vec<_> = orders.iter().map(|order| order.placed()).collect();
    let rows = Rows::default()
        .column("id", "uuid", placed.iter().map(|o| o.order_id.as_uuid()))
        .column("market", "text", placed.iter().map(|o| o.market.to_string()))
        .column("idempotency_key", "text", placed.iter().map(|o| o.idempotency_key.to_string()))
        .column("reference", "text", placed.iter().map(|o| o.reference.clone().unwrap_or_default()))
        .column("customer", "text", placed.iter().map(|o| o.customer.clone().map(String::from).unwrap_or_default()))
        .column("fingerprint", "bytea", placed.iter().map(|o| o.fingerprint.as_bytes().to_vec()))
        .column("currency", "text", placed.iter().map(|o| o.currency.code().to_owned()))
        .column("shipping_minor", "bigint", placed.iter().map(|o| o.shipping_minor))
        .column("tax_minor", "bigint", placed.iter().map(|o| o.tax_minor))
        .column("discount_minor", "bigint", placed.iter().map(|o| o.discount_minor))
        .column("total_minor", "bigint", placed.iter().map(|o| o.total_minor))
        .column("pricing", "jsonb", json(placed.iter().map(|o| &o.pricing))?)
        .column("attribution", "jsonb", json(placed.iter().map(|o| &o.attribution))?)
        .column("accepted_at", "timestamptz", placed.iter().map(|o| o.accepted_at));
    let (state, expires_at) = match (reserve_s, db.get_database_backend()) {
        (0, _) => ("confirmed", "NULL".to_owned()),
        (s, DbBackend::Postgres) => ("reserved", format!("now() + make_interval(secs => {s})")),
        (s, _) => ("reserved", format!("strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '+{s} seconds')")),
    };
    // An empty text stands for "none" on its way, because arrays carry no nulls here.
    let repeat =
        if failpoint::broken!(RepeatIsNew) { "UPDATE SET updated_at = excluded.updated_at" } else { "NOTHING" };
    let sql = format!(
        "INSERT INTO orders (id, region, market, idempotency_key, reference, customer, fingerprint, state, \
         expires_at, version, currency, shipping_minor, tax_minor, discount_minor, total_minor, pricing, attribution, accepted_at) \
         SELECT id, {region}, market, idempotency_key, NULLIF(reference, ''), NULLIF(customer, ''), fingerprint, \
         '{state}', {expires_at}, 1, currency, shipping_minor, tax_minor, discount_minor, total_minor, pricing, attribution, \
         accepted_at FROM r WHERE true ON CONFLICT (id) DO {repeat} RETURNING id, created_at, expires_at"
    );
    let new = rows.query(db, &sql).await?;
    new.iter()
        .map(|row| {
            let created = Created { at: row.try_get("", "created_at")?, expires_at: row.try_get("", "expires_at")? };
            Ok((order_id(row)?, created))
        })
        .collect()
}

/// The fingerprints of stored orders.
pub(crate) async fn fingerprints(
    db: &impl ConnectionTrait,
    ids: impl IntoIterator<Item = OrderId>,
) -> Result<BTreeMap<OrderId, Fingerprint>, DbErr> {
    let rows = Rows::default().column("id", "uuid", ids.into_iter().map(OrderId::as_uuid));
    let sql = "SELECT orders.id, orders.fingerprint FROM orders JOIN r ON r.id = orders.id";
    let found = rows.query(db, sql).await?;
    found
        .iter()
        .map(|row| {
            let bytes: Vec<u8> = row.try_get("", "fingerprint")?;
            let bytes: [u8; 32] = bytes.try_into().map_err(|_| broken("a fingerprint has 32 bytes"))?;
            Ok((order_id(row)?, bytes.into()))
        })
        .collect()
}

/// Stores the lines of `orders`, sorted by id.
pub(crate) async fn insert_lines(db: &impl ConnectionTrait, orders: &[(OrderId, &[OrderLine])]) -> Result<(), DbErr> {
    let lines: Vec<(OrderId, i32, &OrderLine)> =
        orders.iter().flat_map(|(id, lines)| (1..).zip(*lines).map(|(line_no, line)| (*id, line_no, line))).collect();
    let quantity = |line: &OrderLine| i32::try_from(line.quantity.get()).unwrap_or(i32::MAX);
    let rows = Rows::default()
        .column("order_id", "uuid", lines.iter().map(|(id, ..)| id.as_uuid()))
        .column("line_no", "integer", lines.iter().map(|(_, line_no, _)| *line_no))
        .column("sku", "text", lines.iter().map(|(.., line)| line.sku.to_string()))
        .column("quantity", "integer", lines.iter().map(|(.., line)| quantity(line)))
        .column("unit_price_minor", "bigint", lines.iter().map(|(.., line)| line.unit_price_minor));
    let repeat = if failpoint::broken!(RepeatIsNew) { "WHERE true ON CONFLICT DO NOTHING" } else { "" };
    let sql = format!(
        "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price_minor) \
         SELECT order_id, line_no, sku, quantity, unit_price_minor FROM r {repeat}"
    );
    rows.execute(db, &sql).await.map(drop)
}

/// The stock of `skus`, locked in SKU order until the transaction ends: by bytes, as every statement's rows are sorted here
/// and as other writers lock, whatever the database's collation. SQLite needs no row lock: the transaction that writes has
/// the whole database.
pub(crate) async fn lock_stock(
    db: &impl ConnectionTrait,
    region: RegionNumber,
    skus: impl IntoIterator<Item = &Sku>,
) -> Result<BTreeMap<Sku, Stock>, DbErr> {
    let rows = Rows::default().column("sku", "text", skus.into_iter().map(Sku::to_string));
    let postgres = db.get_database_backend() == DbBackend::Postgres;
    let order = if postgres { "ORDER BY stock.sku COLLATE \"C\" FOR UPDATE OF stock" } else { "ORDER BY stock.sku" };
    let sql = format!(
        "SELECT stock.sku, on_hand, reserved, low_threshold, version FROM stock JOIN r ON r.sku = stock.sku \
         WHERE region = {region} {order}"
    );
    let found = rows.query(db, &sql).await?;
    found
        .iter()
        .map(|row| {
            let stock = Stock {
                on_hand: row.try_get("", "on_hand")?,
                reserved: row.try_get("", "reserved")?,
                low_threshold: row.try_get("", "low_threshold")?,
                version: row.try_get("", "version")?,
            };
            Ok((sku(row)?, stock))
        })
        .collect()
}

/// The standing prices of `skus`, and those that were replaced at `since` or later: a SKU's older versions, of which there
/// may be any number, can be honoured by no order of the batch.
pub(crate) async fn prices(
    db: &impl ConnectionTrait,
    region: RegionNumber,
    skus: &BTreeSet<&Sku>,
    since: DateTime<Utc>,
) -> Result<Prices, DbErr> {
    let rows = Rows::default().column("sku", "text", skus.iter().map(ToString::to_string)).column(
        "since",
        "timestamptz",
        skus.iter().map(|_| since),
    );
    let sql = format!(
        "SELECT p.sku, p.currency, p.amount_minor, p.superseded_at FROM product_prices p JOIN r ON r.sku = p.sku \
         WHERE p.region = {region} AND (p.superseded_at IS NULL OR p.superseded_at >= r.since)"
    );
    let mut prices = Prices::new();
    for row in rows.query(db, &sql).await? {
        let price = Price {
            currency: row.try_get("", "currency")?,
            unit_price_minor: row.try_get("", "amount_minor")?,
            superseded_at: row.try_get("", "superseded_at")?,
        };
        prices.entry(sku(&row)?).or_default().push(price);
    }
    Ok(prices)
}

/// Promises `taken` units by SKU to orders: one update per SKU, however many orders share it.
pub(crate) async fn reserve(
    db: &impl ConnectionTrait,
    region: RegionNumber,
    taken: &BTreeMap<Sku, i64>,
    at: DateTime<Utc>,
) -> Result<(), DbErr> {
    let rows = Rows::default()
        .column("sku", "text", taken.keys().map(Sku::to_string))
        .column("units", "bigint", taken.values().copied())
        .column("at", "timestamptz", taken.iter().map(|_| at));
    let sql = format!(
        "UPDATE stock SET reserved = stock.reserved + r.units, version = stock.version + 1, updated_at = r.at \
         FROM r WHERE stock.region = {region} AND stock.sku = r.sku"
    );
    let updated = rows.execute(db, &sql).await?;
    if usize::try_from(updated).ok() == Some(taken.len()) {
        Ok(())
    } else {
        Err(broken("a stock row that was locked is gone"))
    }
}

/// Writes down who took what. The key (region, SKU, kind, order) makes each happen once, whatever else fails.
pub(crate) async fn insert_movements(
    db: &impl ConnectionTrait,
    region: RegionNumber,
    movements: &[Movement<'_>],
) -> Result<(), DbErr> {
    if failpoint::broken!(NoMovement) {
        return Ok(());
    }
    let rows = Rows::default()
        .column("sku", "text", movements.iter().map(|m| m.sku.to_string()))
        .column("reference", "text", movements.iter().map(|m| m.order.to_string()))
        .column("order_id", "uuid", movements.iter().map(|m| m.order.as_uuid()))
        .column("units", "bigint", movements.iter().map(|m| m.units))
        .column("at", "timestamptz", movements.iter().map(|m| m.at));
    let reference = if failpoint::broken!(RepeatIsNew) { "reference || random()" } else { "reference" };
    let sql = format!(
        "INSERT INTO stock_movements (region, sku, kind, reference, order_id, on_hand_change, reserved_change, \
         created_at) SELECT {region}, sku, 'order', {reference}, order_id, 0, units, at FROM r"
    );
    rows.execute(db, &sql).await.map(drop)
}

/// Turns orders of this transaction into rejected ones.
pub(crate) async fn reject(db: &impl ConnectionTrait, rejected: &[(OrderId, &Rejection)]) -> Result<(), DbErr> {
    let rows = Rows::default().column("id", "uuid", rejected.iter().map(|(id, _)| id.as_uuid())).column(
        "reason",
        "jsonb",
        json(rejected.iter().map(|(_, reason)| *reason))?,
    );
    let sql =
        "UPDATE orders SET state = 'rejected', expires_at = NULL, reason = r.reason FROM r WHERE orders.id = r.id";
    rows.execute(db, sql).await.map(drop)
}

fn json<T: serde::Serialize>(values: impl Iterator<Item = T>) -> Result<Vec<String>, DbErr> {
    values.map(|value| serde_json::to_string(&value).map_err(|error| DbErr::Json(error.to_string()))).collect()
}

fn order_id(row: &QueryResult) -> Result<OrderId, DbErr> {
    let id: Uuid = row.try_get("", "id")?;
    id.try_into().map_err(|error| broken(&format!("{id}: {error}")))
}

fn sku(row: &QueryResult) -> Result<Sku, DbErr> {
    let text: String = row.try_get("", "sku")?;
    text.parse().map_err(|error| broken(&format!("{text:?}: {error}")))
}

/// What the database holds is not what was put in: an operator has to look.
fn broken(what: &str) -> DbErr {
    DbErr::Custom(what.to_owned())
}
