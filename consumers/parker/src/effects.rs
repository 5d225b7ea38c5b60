//! Whether a parked message has had its effect: what each kind leaves behind, and where.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use broker::layout;
use events::{
    Contract as _, DecodeError, Envelope, OrderConfirmed, OrderOutcomes, OrderPlaced, OrderRefunded, OrderRejected,
    OrderReleased, PageBatch, Rejection,
};
use model::{Message, OrderId};
use sea_orm::{ConnectionTrait as _, DbErr, Value};
use store::entity::parked_message::Model;
use store::{Backend, Database, Rows, bind};
use uuid::Uuid;

use crate::homes::Homes;
use crate::row;

/// What a message's effect leaves in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trace {
    /// The order's row, for ever.
    Order(OrderId),
    /// A row for each outcome that was counted, for ever.
    Outcomes(BTreeSet<OrderId>),
    /// A row for what was taken back of the order, by its name, for ever.
    TakenBack(OrderId, String),
    /// A row for each event that was counted, for some days.
    Pages(BTreeSet<(String, String)>),
    /// Nothing, or nobody knows.
    None,
}

impl Trace {
    /// Whether the effect is certainly missing where its trace is.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self, Self::Order(_) | Self::Outcomes(_) | Self::TakenBack(..))
    }

    /// What `row` would leave if its home queue's consumer took it.
    pub(crate) fn of(homes: &Homes, row: &Model) -> Self {
        let read = || -> Result<Self, DecodeError> {
            let Ok(message) = row::message(row) else { return Ok(Self::None) };
            match homes.target(&row.queue, &message).map(|home| &home.queue) {
                Some(queue) if *queue == layout::analytics_pages_queue() => pages(&message),
                Some(queue) if *queue == layout::analytics_orders_queue() => outcomes(&message),
                Some(_) if message.kind == OrderPlaced::KIND => {
                    Ok(Self::Order(Envelope::<OrderPlaced>::from_message(&message)?.data.order_id))
                }
                _ => Ok(Self::None),
            }
        };
        match read() {
            Ok(Self::Outcomes(ids)) if ids.is_empty() => Self::None,
            Ok(Self::Pages(keys)) if keys.is_empty() => Self::None,
            Ok(trace) => trace,
            // What can't be read has left nothing behind.
            Err(_) => Self::None,
        }
    }
}

fn pages(message: &Message) -> Result<Trace, DecodeError> {
    let PageBatch { source, events, .. } = Envelope::from_message(message)?.data;
    let keys = events.into_iter().map(|event| (source.clone(), event.message_id.to_string()));
    Ok(Trace::Pages(keys.collect()))
}

fn outcomes(message: &Message) -> Result<Trace, DecodeError> {
    let of = |orders: Vec<OrderId>| Trace::Outcomes(orders.into_iter().collect());
    // A conflict is no outcome of the order whose key was used again, and is not counted.
    let counted = |order: &OrderRejected| order.reason != Rejection::IdempotencyConflict;
    Ok(match message.kind.as_str() {
        OrderConfirmed::KIND => of(vec![Envelope::<OrderConfirmed>::from_message(message)?.data.order_id]),
        OrderRejected::KIND => {
            let order = Envelope::<OrderRejected>::from_message(message)?.data;
            of(if counted(&order) { vec![order.order_id] } else { Vec::new() })
        }
        OrderReleased::KIND => {
            let order = Envelope::<OrderReleased>::from_message(message)?.data;
            // What was never a sale takes none back.
            if order.was_confirmed {
                Trace::TakenBack(order.order_id, OrderReleased::TAKES_BACK.to_owned())
            } else {
                Trace::None
            }
        }
        OrderRefunded::KIND => {
            let order = Envelope::<OrderRefunded>::from_message(message)?.data;
            Trace::TakenBack(order.order_id, order.takes_back())
        }
        _ => {
            let told: OrderOutcomes = Envelope::from_message(message)?.data;
            let rejected = told.rejected.into_iter().filter(counted).map(|order| order.order_id);
            of(told.confirmed.into_iter().map(|order| order.order_id).chain(rejected).collect())
        }
    })
}

/// Says of each trace whether it is there, whole.
///
/// # Errors
/// The first database's that does not answer.
pub(crate) async fn exist(homes: &Homes, traces: &[Trace]) -> Result<Vec<bool>, DbErr> {
    let mut orders: BTreeMap<u16, BTreeSet<Uuid>> = BTreeMap::new();
    let (mut outcomes, mut back, mut pages) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for trace in traces {
        match trace {
            Trace::Order(id) => drop(orders.entry(id.region().0).or_default().insert(id.as_uuid())),
            Trace::Outcomes(ids) => outcomes.extend(ids.iter().map(|id| id.as_uuid())),
            Trace::TakenBack(id, what) => drop(back.insert((id.as_uuid(), what.clone()))),
            Trace::Pages(keys) => pages.extend(keys.iter().cloned()),
            Trace::None => {}
        }
    }
    let mut stored = HashSet::new();
    for (region, ids) in orders {
        // An order of a region that nobody here knows is nowhere here.
        let Some(region) = homes.databases().region(model::RegionNumber(region)) else { continue };
        stored.extend(found(&region.database, "orders", "id", ids).await?);
    }
    let counted = found(homes.databases().analytics(), "revenue_seen", "order_id", outcomes).await?;
    let taken = found_taken_back(homes.databases().analytics(), &back).await?;
    let seen = found_pages(homes.databases().analytics(), pages).await?;
    let there = |trace: &Trace| match trace {
        Trace::Order(id) => stored.contains(&id.as_uuid()),
        Trace::Outcomes(ids) => ids.iter().all(|id| counted.contains(&id.as_uuid())),
        Trace::TakenBack(id, what) => taken.contains(&(id.as_uuid(), what.clone())),
        Trace::Pages(keys) => keys.iter().all(|key| seen.contains(key)),
        Trace::None => false,
    };
    Ok(traces.iter().map(there).collect())
}

async fn found(
    database: &Arc<Database>,
    table: &str,
    column: &str,
    ids: BTreeSet<Uuid>,
) -> Result<HashSet<Uuid>, DbErr> {
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let mut found = HashSet::new();
    for chunk in ids.chunks(bind::sqlite_chunk(1)) {
        let (set, binds): (String, Vec<Value>) = match database.backend() {
            Backend::Postgres => ("= ANY($1)".to_owned(), vec![bind::uuids(chunk.iter().copied())]),
            Backend::Sqlite => {
                (format!("IN {}", bind::values_sql(1, chunk.len())), chunk.iter().map(|id| (*id).into()).collect())
            }
        };
        let sql = format!("SELECT {column} AS id FROM {table} WHERE {column} {set}");
        for row in database.read().query_all_raw(database.statement(sql, binds)).await? {
            found.insert(row.try_get("", "id")?);
        }
    }
    Ok(found)
}

async fn found_taken_back(
    database: &Arc<Database>,
    taken: &BTreeSet<(Uuid, String)>,
) -> Result<HashSet<(Uuid, String)>, DbErr> {
    let sql = "SELECT b.order_id, b.reference FROM revenue_taken_back AS b
               JOIN r ON b.order_id = r.order_id AND b.reference = r.reference";
    let rows = Rows::default()
        .column("order_id", "uuid", taken.iter().map(|(id, _)| *id))
        .column("reference", "text", taken.iter().map(|(_, what)| what.clone()))
        .query(database.read(), sql)
        .await?;
    rows.iter().map(|row| Ok((row.try_get("", "order_id")?, row.try_get("", "reference")?))).collect()
}

async fn found_pages(
    database: &Arc<Database>,
    keys: BTreeSet<(String, String)>,
) -> Result<HashSet<(String, String)>, DbErr> {
    let keys: Vec<(String, String)> = keys.into_iter().collect();
    let mut found = HashSet::new();
    for chunk in keys.chunks(bind::sqlite_chunk(2)) {
        let (set, binds): (String, Vec<Value>) = match database.backend() {
            Backend::Postgres => {
                let column = |key: fn(&(String, String)) -> &String| bind::texts(chunk.iter().map(|k| key(k).clone()));
                let set = "(SELECT * FROM UNNEST($1::text[], $2::text[]))".to_owned();
                (set, vec![column(|key| &key.0), column(|key| &key.1)])
            }
            Backend::Sqlite => {
                let binds = chunk.iter().flat_map(|(source, id)| [source.clone().into(), id.clone().into()]);
                (format!("(VALUES {})", bind::values_sql(chunk.len(), 2)), binds.collect())
            }
        };
        let sql = format!("SELECT source, message_id FROM page_events_seen WHERE (source, message_id) IN {set}");
        for row in database.read().query_all_raw(database.statement(sql, binds)).await? {
            found.insert((row.try_get("", "source")?, row.try_get("", "message_id")?));
        }
    }
    Ok(found)
}
