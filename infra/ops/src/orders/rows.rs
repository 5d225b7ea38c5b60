//! What a region's database holds of an order.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use model::OrderId;
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use sea_orm::{QuerySelect as _, Value};
use store::entity::{order, order_line, order_refund};
use store::{Backend, Database, Reader, Reads, Region};

use super::Wish;
use super::parked::Parked;
use super::view::{Line, Moment, OrderView, Outbox};

/// Orders of one answer and region, at most: a shop's number is not unique.
const MOST_ORDERS: u64 = 20;
/// Rows of the outbox that are looked through.
const MOST_ROWS: u64 = 2_000;
/// Movements of an order; their references begin with its id.
const KINDS: &str = "'order', 'release', 'cancel', 'refund', 'ship', 'restock'";

/// What one region holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) orders: Vec<OrderView>,
    /// Parked messages of ids that are not stored.
    pub(super) parked: BTreeMap<OrderId, Parked>,
}

pub(super) async fn find(region: &Region, wish: &Wish, find: &str, unrouted: &[Arc<Database>]) -> Result<Found, DbErr> {
    let db = &region.reader(Reads::History);
    let ids = wish.ids.iter().map(|id| id.as_uuid());
    let mut stored = order::Entity::find().filter(order::Column::Id.is_in(ids)).all(db).await?;
    if !wish.markets.is_empty() {
        let named = order::Entity::find()
            .filter(order::Column::Market.is_in(wish.markets.iter().cloned()))
            .filter(order::Column::Reference.eq(find))
            .filter(order::Column::Region.eq(i32::from(region.number.0)))
            .order_by_desc(order::Column::AcceptedAt)
            .limit(MOST_ORDERS);
        for row in named.all(db).await? {
            if stored.iter().all(|known| known.id != row.id) {
                stored.push(row);
            }
        }
    }
    let mut found = Found::default();
    for row in stored {
        found.orders.push(view(region, db, row, unrouted).await?);
    }
    for id in &wish.ids {
        if found.orders.iter().all(|order| order.order_id != *id) {
            found.parked.insert(*id, Parked::of(region, db, unrouted, *id).await?);
        }
    }
    Ok(found)
}

async fn view(region: &Region, db: &Reader, row: order::Model, unrouted: &[Arc<Database>]) -> Result<OrderView, DbErr> {
    let id = OrderId::try_from(row.id).map_err(|error| DbErr::Type(error.to_string()))?;
    let lines = order_line::Entity::find()
        .filter(order_line::Column::OrderId.eq(row.id))
        .order_by_asc(order_line::Column::LineNo)
        .all(db)
        .await?;
    let lines: Vec<Line> = lines
        .into_iter()
        .map(|line| Line {
            no: line.line_no,
            sku: line.sku,
            quantity: line.quantity,
            unit_price_minor: line.unit_price_minor,
        })
        .collect();
    let mut timeline = vec![moment(row.accepted_at, "accepted by the ingress"), stored_moment(&row)];
    if row.version > 1 {
        timeline.push(moment(row.updated_at, format!("{} (version {})", row.state, row.version)));
    }
    timeline.extend(movements(region, db, id, &lines).await?);
    timeline.extend(refunds(db, id, &row.currency).await?);
    timeline.extend(Parked::of(region, db, unrouted, id).await?.moments);
    timeline.sort_by_key(|moment| moment.at);
    Ok(OrderView {
        order_id: id,
        region: region.name.to_string(),
        database: region.database.name().to_owned(),
        market: row.market,
        key: row.idempotency_key,
        reference: row.reference,
        customer: row.customer,
        state: row.state,
        reason: row.reason,
        expires_at: row.expires_at,
        version: row.version,
        currency: row.currency,
        shipping_minor: row.shipping_minor,
        tax_minor: row.tax_minor,
        discount_minor: row.discount_minor,
        total_minor: row.total_minor,
        lines,
        outbox: outbox(db, id).await?,
        timeline,
    })
}

/// The state that it was stored with is known while nothing has changed since.
fn stored_moment(row: &order::Model) -> Moment {
    if row.version > 1 {
        return moment(row.created_at, "stored");
    }
    moment(row.created_at, format!("stored as {}", row.state))
}

async fn movements(region: &Region, db: &Reader, id: OrderId, lines: &[Line]) -> Result<Vec<Moment>, DbErr> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let text = id.to_string();
    let mut skus: Vec<&str> = lines.iter().map(|line| line.sku.as_str()).collect();
    skus.dedup();
    let places: Vec<String> = (0..skus.len()).map(|n| format!("${}", n + 5)).collect();
    // By the primary key: there is no index on the order, which every sale would pay for. The upper bound lies behind every
    // reference that begins with the id, in any collation.
    let sql = format!(
        "SELECT sku, kind, on_hand_change, reserved_change, created_at FROM stock_movements WHERE region = $1 AND \
         sku IN ({}) AND kind IN ({KINDS}) AND reference >= $2 AND reference <= $3 AND order_id = $4",
        places.join(", ")
    );
    let mut binds: Vec<Value> =
        vec![i32::from(region.number.0).into(), text.clone().into(), format!("{text}zzzz").into(), id.as_uuid().into()];
    binds.extend(skus.into_iter().map(Value::from));
    let rows = db.query_all_raw(db.statement(sql, binds)).await?;
    rows.iter()
        .map(|row| {
            let (sku, kind): (String, String) = (row.try_get("", "sku")?, row.try_get("", "kind")?);
            let (on_hand, reserved): (i64, i64) =
                (row.try_get("", "on_hand_change")?, row.try_get("", "reserved_change")?);
            let what = format!("stock of {sku}: {kind} (on hand {on_hand:+}, reserved {reserved:+})");
            Ok(moment(row.try_get("", "created_at")?, what))
        })
        .collect()
}

/// What was paid back; the movements beside them say what became of the units.
async fn refunds(db: &Reader, id: OrderId, currency: &str) -> Result<Vec<Moment>, DbErr> {
    let rows = order_refund::Entity::find()
        .filter(order_refund::Column::OrderId.eq(id.as_uuid()))
        .order_by_asc(order_refund::Column::Sku)
        .order_by_asc(order_refund::Column::Reference);
    let told = rows.all(db).await?.into_iter().map(|row| {
        let restocked = if row.restocked { "for sale again" } else { "not for sale again" };
        let what = format!(
            "paid back {} (minor units of {currency}) for {} x {}, {restocked} (refund {})",
            row.amount_minor, row.quantity, row.sku, row.reference
        );
        moment(row.created_at, what)
    });
    Ok(told.collect())
}

async fn outbox(db: &Reader, id: OrderId) -> Result<Outbox, DbErr> {
    let holds = holds(db.backend());
    let sql = format!(
        "SELECT count(*) AS looked, CAST(coalesce(max(CASE WHEN {holds} THEN 1 ELSE 0 END), 0) AS bigint) AS waiting FROM \
         (SELECT body FROM outbox ORDER BY id LIMIT {MOST_ROWS}) rows"
    );
    let row = db.query_one_raw(db.statement(sql, [bytes(id)])).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("an empty answer".to_owned()))?;
    let (looked, waiting): (i64, i64) = (row.try_get("", "looked")?, row.try_get("", "waiting")?);
    Ok(match (waiting, u64::try_from(looked).unwrap_or(0)) {
        (1.., _) => Outbox::Waiting,
        (_, looked) if looked >= MOST_ROWS => Outbox::Unknown,
        _ => Outbox::Told,
    })
}

/// SQL for whether `body` holds the bytes of `$1`.
pub(super) fn holds(backend: Backend) -> &'static str {
    match backend {
        Backend::Postgres => "position($1::bytea in body) > 0",
        Backend::Sqlite => "instr(body, $1) > 0",
    }
}

/// An id as bodies have it.
pub(super) fn bytes(id: OrderId) -> Value {
    id.to_string().into_bytes().into()
}

pub(super) fn moment(at: DateTime<Utc>, what: impl Into<String>) -> Moment {
    Moment { at, what: what.into(), message: None }
}
