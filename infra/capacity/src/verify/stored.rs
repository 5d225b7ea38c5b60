//! What the databases hold, read in chunks.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use store::{Backend, Database, bind};
use uuid::Uuid;

use super::audit::{Audit, Line, Moved, Order, Stock};
use super::events::{ByPath, Counted, Seen};

/// Orders of one chunk: some megabytes with everything that belongs to them.
const CHUNK: usize = 4_000;
/// Ids of page events that are read at once: about a megabyte.
const EVENT_IDS: usize = 10_000;

async fn rows(
    database: &Database,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<QueryResult>, DbErr> {
    database.read().query_all_raw(database.statement(sql, values)).await
}

/// Every order of a database, in the order of their ids.
pub(super) async fn orders(database: &Database, audit: &mut Audit<'_>) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT id, region, state, reason ->> 'code' AS reason, idempotency_key FROM orders WHERE id > $1 ORDER BY id \
         LIMIT {CHUNK}"
    );
    let mut after = Uuid::nil();
    loop {
        let chunk: Vec<Order> =
            rows(database, &sql, [after.into()]).await?.iter().map(order).collect::<Result<_, _>>()?;
        let Some(last) = chunk.last().map(|order| order.id) else { return Ok(()) };
        let mut lines = lines(database, &chunk, after, last).await?;
        for order in &chunk {
            audit.order(order, &lines.remove(&order.id).unwrap_or_default());
        }
        after = last;
    }
}

fn order(row: &QueryResult) -> Result<Order, DbErr> {
    Ok(Order {
        id: row.try_get("", "id")?,
        region: row.try_get("", "region")?,
        state: row.try_get("", "state")?,
        reason: row.try_get("", "reason")?,
        key: row.try_get("", "idempotency_key")?,
    })
}

/// The lines of a chunk by order, one for each SKU, with what the ledger says they took.
async fn lines(
    database: &Database,
    chunk: &[Order],
    after: Uuid,
    last: Uuid,
) -> Result<HashMap<Uuid, Vec<Line>>, DbErr> {
    let sql = "SELECT order_id, sku, CAST(sum(quantity) AS bigint) AS ordered FROM order_lines \
               WHERE order_id > $1 AND order_id <= $2 GROUP BY order_id, sku";
    let mut lines: HashMap<Uuid, Vec<Line>> = HashMap::with_capacity(chunk.len());
    for row in rows(database, sql, [after.into(), last.into()]).await? {
        let line = Line { sku: row.try_get("", "sku")?, ordered: row.try_get("", "ordered")?, taken: 0 };
        lines.entry(row.try_get("", "order_id")?).or_default().push(line);
    }
    for (id, sku, taken) in taken(database, chunk, &lines).await? {
        let line = lines.get_mut(&id).and_then(|lines| lines.iter_mut().find(|line| line.sku == sku));
        if let Some(line) = line {
            line.taken += taken;
        }
    }
    Ok(lines)
}

/// What the ledger's movements took for these lines and gave back whole, found by the ledger's own key. What was refunded
/// or shipped since was taken all the same.
async fn taken(
    database: &Database,
    chunk: &[Order],
    lines: &HashMap<Uuid, Vec<Line>>,
) -> Result<Vec<(Uuid, String, i64)>, DbErr> {
    let places: Vec<(i32, &str, Uuid)> = chunk
        .iter()
        .flat_map(|order| {
            let lines = lines.get(&order.id).map_or(&[][..], Vec::as_slice);
            lines.iter().map(|line| (order.region, line.sku.as_str(), order.id))
        })
        .collect();
    let found = match database.backend() {
        Backend::Postgres => {
            let sql = "SELECT m.reference, m.sku, m.reserved_change FROM \
                       UNNEST($1::int[], $2::text[], $3::text[]) AS k (region, sku, reference) \
                       JOIN stock_movements m ON m.region = k.region AND m.sku = k.sku \
                       AND m.kind IN ('order', 'release', 'cancel') AND m.reference = k.reference";
            let binds = [
                bind::ints(places.iter().map(|place| place.0)),
                bind::texts(places.iter().map(|place| place.1.to_owned())),
                bind::texts(places.iter().map(|place| place.2.to_string())),
            ];
            rows(database, sql, binds).await?
        }
        Backend::Sqlite => {
            let mut found = Vec::with_capacity(places.len());
            for places in places.chunks(bind::sqlite_chunk(3)) {
                // CROSS JOIN keeps the order: for each place one look into the ledger's key.
                let sql = format!(
                    "WITH k (region, sku, reference) AS (VALUES {}) SELECT m.reference, m.sku, m.reserved_change \
                     FROM k CROSS JOIN stock_movements m ON m.region = k.region AND m.sku = k.sku \
                     AND m.kind IN ('order', 'release', 'cancel') AND m.reference = k.reference",
                    bind::values_sql(places.len(), 3)
                );
                let binds = places
                    .iter()
                    .flat_map(|(region, sku, id)| [(*region).into(), (*sku).into(), id.to_string().into()]);
                found.extend(rows(database, &sql, binds).await?);
            }
            found
        }
    };
    found.iter().map(movement).collect()
}

fn movement(row: &QueryResult) -> Result<(Uuid, String, i64), DbErr> {
    let reference: String = row.try_get("", "reference")?;
    let id = reference.parse().map_err(|_| DbErr::Type(format!("{reference} is not an order's id")))?;
    Ok((id, row.try_get("", "sku")?, row.try_get("", "reserved_change")?))
}

/// Every row of stock, with the sums of its ledger.
pub(super) async fn stock(database: &Database, audit: &mut Audit<'_>) -> Result<(), DbErr> {
    // Rows that one side lacks count too: movements of a SKU without stock, stock without movements.
    let sql = "SELECT region, sku, CAST(sum(on_hand) AS bigint) AS on_hand, CAST(sum(reserved) AS bigint) AS reserved, \
               CAST(sum(shortfall) AS bigint) AS shortfall, CAST(sum(taken) AS bigint) AS taken, \
               CAST(sum(moved_on_hand) AS bigint) AS moved_on_hand, \
               CAST(sum(moved_reserved) AS bigint) AS moved_reserved FROM (\
               SELECT region, sku, on_hand, reserved, shortfall, 0 AS taken, 0 AS moved_on_hand, 0 AS moved_reserved \
               FROM stock UNION ALL \
               SELECT region, sku, 0, 0, 0, CASE WHEN kind IN ('order', 'release', 'cancel') THEN reserved_change \
               ELSE 0 END, on_hand_change, reserved_change FROM stock_movements) AS sides \
               GROUP BY region, sku";
    for row in rows(database, sql, []).await? {
        let stock = Stock {
            on_hand: row.try_get("", "on_hand")?,
            reserved: row.try_get("", "reserved")?,
            shortfall: row.try_get("", "shortfall")?,
            taken: row.try_get("", "taken")?,
            moved: Moved { on_hand: row.try_get("", "moved_on_hand")?, reserved: row.try_get("", "moved_reserved")? },
        };
        audit.stock(row.try_get("", "region")?, row.try_get("", "sku")?, stock);
    }
    Ok(())
}

/// How many page events of a run analytics took.
pub(super) async fn events_seen(database: &Database, run: &str) -> Result<u64, DbErr> {
    let sql = "SELECT count(*) FROM page_events_seen WHERE message_id LIKE $1 ESCAPE '!'";
    number(database, sql, format!("{}-%", literal(run))).await
}

/// What the rollups hold of each path of a run, all minutes together.
pub(super) async fn events_counted(database: &Database, run: &str) -> Result<ByPath, DbErr> {
    let sql = "SELECT path, CAST(sum(events) AS bigint) AS events, CAST(sum(views) AS bigint) AS views \
               FROM page_rollups_minute WHERE path LIKE $1 ESCAPE '!' GROUP BY path";
    let like = format!("/load/{}/%", literal(run));
    let mut counted = ByPath::new();
    for row in rows(database, sql, [like.into()]).await? {
        let number = |column: &str| row.try_get("", column).map(|number: i64| u64::try_from(number).unwrap_or(0));
        counted.insert(row.try_get("", "path")?, Counted { events: number("events")?, views: number("views")? });
    }
    Ok(counted)
}

/// The id of every page event of the run that analytics took, in the order of the table's key.
pub(super) async fn event_ids(database: &Database, seen: &mut Seen<'_>) -> Result<(), DbErr> {
    let sql = format!(
        "SELECT source, message_id FROM page_events_seen WHERE message_id LIKE $1 ESCAPE '!' \
         AND (source, message_id) > ($2, $3) ORDER BY source, message_id LIMIT {EVENT_IDS}"
    );
    let like = format!("{}-%", literal(seen.run()));
    let mut after = (String::new(), String::new());
    loop {
        let (source, id) = after;
        let chunk = rows(database, &sql, [like.as_str().into(), source.into(), id.into()]).await?;
        for row in &chunk {
            seen.id(&row.try_get::<String>("", "message_id")?);
        }
        let Some(last) = chunk.last() else { return Ok(()) };
        after = (last.try_get("", "source")?, last.try_get("", "message_id")?);
    }
}

/// A run's name for LIKE, where `_` would stand for anything.
fn literal(run: &str) -> String {
    run.replace('_', "!_")
}

async fn number(database: &Database, sql: &str, like: String) -> Result<u64, DbErr> {
    let rows = rows(database, sql, [like.into()]).await?;
    let number: i64 = rows.first().map_or(Ok(0), |row| row.try_get_by_index(0))?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// How many of these orders a database holds.
pub(super) async fn held(database: &Database, ids: &[Uuid]) -> Result<usize, DbErr> {
    let found = match database.backend() {
        Backend::Postgres => {
            rows(database, "SELECT id FROM orders WHERE id = ANY($1)", [bind::uuids(ids.iter().copied())]).await?
        }
        Backend::Sqlite => {
            let sql = format!("SELECT id FROM orders WHERE id IN (VALUES {})", bind::values_sql(ids.len(), 1));
            rows(database, &sql, ids.iter().map(|id| (*id).into())).await?
        }
    };
    Ok(found.len())
}

/// Whether the relay has nothing left to publish.
pub(super) async fn outbox_is_empty(database: &Database) -> Result<bool, DbErr> {
    Ok(rows(database, "SELECT 1 FROM outbox LIMIT 1", []).await?.is_empty())
}
