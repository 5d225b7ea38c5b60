//! Reservations whose time is up.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use events::{OrderState, ReleaseCause};
use model::{OrderId, Sku};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use uuid::Uuid;

use super::change::OrderNow;
use super::ledger::{Kind, Ledger, broken};
use super::level::fact;
use super::order_row::{COLUMNS, OrderRow, line, movements, units};
use super::refusal::Error;
use crate::config::Backend;
use crate::database::Transaction;
use crate::fault::Fault;
use crate::outbox;
use crate::regions::Region;
use crate::rows::Rows;

/// What one sweep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// The orders that it released, as they are now.
    pub released: Vec<OrderNow>,
    /// Orders that can't be released, and why: an operator has to look.
    pub stuck: Vec<(OrderId, String)>,
    /// Rows that it wrote: what counts for a database's budget.
    pub rows: usize,
}

/// Releases at most `batch` orders whose reservation ran out by the database's clock, the longest overdue first, in one
/// transaction: their units are for sale again. Any number of processes may sweep at once; each takes orders that no other
/// has, and an order that is just being paid is passed by.
///
/// An order that can't be released (somebody took its stock row away by hand) would hold up all the others: where there is
/// one, the batch is released one by one, and the order is [`Expired::stuck`]. Fewer of those than a batch hold up nobody.
///
/// # Errors
/// The database's; what was not released is found by the next sweep.
pub async fn expire(region: &Region, batch: u32) -> Result<Expired, DbErr> {
    if failpoint::broken!(NeverReleased) || overdue_ids(region, 1).await?.is_empty() {
        return Ok(Expired::default());
    }
    match transaction(region, batch, None).await {
        Ok(expired) => Ok(expired),
        Err(error) if is_of_the_data(&error) => one_by_one(region, batch).await,
        Err(error) => Err(database_error(error)),
    }
}

async fn one_by_one(region: &Region, batch: u32) -> Result<Expired, DbErr> {
    let mut all = Expired::default();
    for id in overdue_ids(region, batch).await? {
        match transaction(region, 1, Some(id)).await {
            Ok(expired) => {
                all.rows += expired.rows;
                all.released.extend(expired.released);
            }
            Err(error) if is_of_the_data(&error) => all.stuck.push((id, error.to_string())),
            Err(error) => return Err(database_error(error)),
        }
    }
    Ok(all)
}

async fn transaction(region: &Region, batch: u32, only: Option<OrderId>) -> Result<Expired, Error> {
    let tx = region.database.begin().await?;
    let swept = sweep(region, &tx, batch, only).await;
    // Nothing was released where another sweeper was faster. The end is waited for in any case: what comes next would pass
    // by the rows that this one still locks.
    if swept.as_ref().is_ok_and(|expired| !expired.released.is_empty()) {
        tx.commit().await?;
    } else if let (Err(error), Ok(_)) = (tx.rollback().await, &swept) {
        return Err(error.into());
    }
    swept
}

/// Whether the orders themselves are what is wrong, and not the moment.
fn is_of_the_data(error: &Error) -> bool {
    match error {
        Error::Refused(_)
        | Error::KeyReused
        | Error::Precondition { .. }
        | Error::Database(DbErr::Custom(_) | DbErr::Type(_) | DbErr::Json(_)) => true,
        Error::Database(error) => matches!(Fault::classify(error), Fault::Poison(_)),
    }
}

fn database_error(error: Error) -> DbErr {
    match error {
        Error::Database(error) => error,
        other => broken(&other.to_string()),
    }
}

/// Those of at most `most` orders that are overdue. A look that takes no turn from anybody who writes.
async fn overdue_ids(region: &Region, most: u32) -> Result<Vec<OrderId>, DbErr> {
    let sql = format!("SELECT id FROM orders WHERE {} ORDER BY expires_at LIMIT $2", overdue_sql(region));
    let values = [number(region), i64::from(most.max(1)).into()];
    let rows = region.database.read().query_all_raw(region.database.statement(sql, values)).await?;
    rows.iter().map(|row| order_id(row, "id")).collect()
}

/// What holds of a reservation of the region `$1` whose time is up.
fn overdue_sql(region: &Region) -> String {
    format!("state = 'reserved' AND expires_at <= {} AND region = $1", region.database.backend().now_sql())
}

fn number(region: &Region) -> Value {
    i32::from(region.number.0).into()
}

async fn sweep(region: &Region, tx: &Transaction, batch: u32, only: Option<OrderId>) -> Result<Expired, Error> {
    let Some((at, overdue)) = overdue(region, tx, batch, only).await? else { return Ok(Expired::default()) };
    let ledger = Ledger { region, tx, at };
    let mut released: Vec<(OrderRow, BTreeMap<Sku, i64>)> = Vec::with_capacity(overdue.len());
    let turned = ledger.release(&overdue).await?;
    let mut lines = ledger.units_of(&turned).await?;
    for order in overdue.into_iter().filter(|order| turned.contains(&order.id)) {
        let units = lines.remove(&order.id).unwrap_or_default();
        released.push((order, units));
    }
    let skus: BTreeSet<Sku> = released.iter().flat_map(|(_, units)| units.keys().cloned()).collect();
    let levels = ledger.lock(&skus).await?;
    let moved: Vec<_> =
        released.iter().flat_map(|(order, units)| movements(order.id, Kind::Release, units, false)).collect();
    ledger.post(&levels, &moved).await?;
    let events: Vec<_> = released
        .iter()
        .map(|(order, units)| fact(at, order.released(&ledger, ReleaseCause::Expired, units.values().sum())))
        .collect();
    outbox::insert(&region.database, tx, &events).await?;
    let rows = released.len() + skus.len() + moved.len() + events.len();
    let now = |(order, _): &(OrderRow, _)| OrderNow {
        version: order.version + 1,
        state: OrderState::Released,
        ..order.now()
    };
    Ok(Expired { released: released.iter().map(now).collect(), stuck: Vec::new(), rows })
}

/// The orders that are overdue and that nobody else has in hand, by id, and the time; none where there are none.
async fn overdue(
    region: &Region,
    tx: &Transaction,
    batch: u32,
    only: Option<OrderId>,
) -> Result<Option<(DateTime<Utc>, Vec<OrderRow>)>, DbErr> {
    let now = region.database.backend().now_sql();
    let locked = match region.database.backend() {
        Backend::Postgres => "FOR UPDATE SKIP LOCKED",
        Backend::Sqlite => "",
    };
    let sql = format!(
        "SELECT {COLUMNS}, {now} AS now FROM orders WHERE {} {} ORDER BY expires_at LIMIT $2 {locked}",
        overdue_sql(region),
        if only.is_some() { "AND id = $3" } else { "" },
    );
    let values = [number(region), i64::from(batch.max(1)).into()];
    let values = values.into_iter().chain(only.map(|id| id.as_uuid().into()));
    let rows = tx.query_all_raw(region.database.statement(sql, values)).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let at = first.try_get("", "now")?;
    let mut orders: Vec<OrderRow> = rows.iter().map(OrderRow::read).collect::<Result<_, _>>()?;
    orders.sort_by_key(|order| order.id);
    Ok(Some((at, orders)))
}

impl Ledger<'_> {
    /// Turns those of `orders` that still are as they were read; says which.
    async fn release(&self, orders: &[OrderRow]) -> Result<BTreeSet<OrderId>, DbErr> {
        let rows = Rows::default()
            .column("id", "uuid", orders.iter().map(|order| order.id.as_uuid()))
            .column("version", "bigint", orders.iter().map(|order| order.version))
            .column("at", "timestamptz", orders.iter().map(|_| self.at));
        let sql = "UPDATE orders SET state = 'released', expires_at = NULL, version = orders.version + 1, \
                   updated_at = r.at FROM r WHERE orders.id = r.id AND orders.version = r.version \
                   AND orders.state = 'reserved' RETURNING orders.id AS id";
        rows.query(&**self.tx, sql).await?.iter().map(|row| order_id(row, "id")).collect()
    }

    /// Units by order and SKU.
    async fn units_of(&self, orders: &BTreeSet<OrderId>) -> Result<BTreeMap<OrderId, BTreeMap<Sku, i64>>, DbErr> {
        let rows = Rows::default().column("order_id", "uuid", orders.iter().map(|id| id.as_uuid()));
        let sql = "SELECT order_lines.order_id AS order_id, sku, quantity, unit_price_minor FROM order_lines \
                   JOIN r ON r.order_id = order_lines.order_id";
        let mut lines: BTreeMap<OrderId, Vec<_>> = BTreeMap::new();
        for row in rows.query(&**self.tx, sql).await? {
            lines.entry(order_id(&row, "order_id")?).or_default().push(line(&row)?);
        }
        Ok(lines.into_iter().map(|(id, lines)| (id, units(&lines))).collect())
    }
}

fn order_id(row: &QueryResult, column: &str) -> Result<OrderId, DbErr> {
    let id: Uuid = row.try_get("", column)?;
    id.try_into().map_err(|error| broken(&format!("{id}: {error}")))
}
