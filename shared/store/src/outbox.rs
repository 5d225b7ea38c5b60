//! Messages that commit with the state they tell of, until the broker has confirmed them.
//!
//! A row is claimed, published and deleted. There is no cursor over ids: ids are given out before the commit, so a cursor
//! runs past a transaction that commits late, and its message is lost. A claim looks at what is there now.
//!
//! - **`PostgreSQL`**: a claim is a transaction that has locked its rows (`FOR UPDATE SKIP LOCKED`) and stays open over
//!   the publish. It writes nothing twice, and a relay that dies gives its rows back the moment its connection closes.
//!   The lease bounds how long the server lets it sit idle.
//! - **SQLite**: an open transaction would stop every other writer, so a claim is a lease written into the rows. Those of
//!   a relay that dies come back when it runs out.
//!
//! Either way a message may be published twice, and never not at all: consumers know its id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use events::{Contract, Envelope};
use model::{EventId, Message};
use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult as _, QueryResult, Value};

use crate::bind;
use crate::config::Backend;
use crate::database::{Database, Transaction};
use crate::entity;

const COLUMNS: &str = "id, exchange, routing_key, kind, content_type, headers, body, occurred_at";
const COLUMN_COUNT: usize = 8;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The event's id, which is also the message's.
    pub id: EventId,
    /// Where to.
    pub exchange: String,
    /// Matched by the exchange.
    pub routing_key: String,
    /// The message; persistent.
    pub message: Message,
}

impl Outgoing {
    /// An event, routed by its type.
    pub fn event<P: Contract>(exchange: impl Into<String>, event: &Envelope<P>) -> Self {
        Self { id: event.id, exchange: exchange.into(), routing_key: P::KIND.to_owned(), message: event.to_message() }
    }

    fn headers(&self) -> serde_json::Value {
        self.message.headers.iter().map(|(name, text)| (name.clone(), text.clone())).collect()
    }

    fn binds(&self) -> [Value; COLUMN_COUNT] {
        let Self { id, exchange, routing_key, message } = self;
        [
            id.as_uuid().into(),
            exchange.clone().into(),
            routing_key.clone().into(),
            message.kind.clone().into(),
            message.content_type.clone().into(),
            self.headers().into(),
            message.body.to_vec().into(),
            message.timestamp.into(),
        ]
    }

    fn read(row: &QueryResult) -> Result<Self, DbErr> {
        let row = entity::outbox::Model::from_query_result(row, "")?;
        let headers: BTreeMap<String, String> =
            serde_json::from_value(row.headers).map_err(|error| DbErr::Json(error.to_string()))?;
        let id = EventId::from(row.id);
        let message = Message {
            id: id.to_message_id(),
            kind: row.kind,
            timestamp: row.occurred_at,
            content_type: row.content_type,
            headers,
            transient: false,
            body: row.body.into(),
        };
        Ok(Self { id, exchange: row.exchange, routing_key: row.routing_key, message })
    }
}

/// Adds `rows` within `tx`.
///
/// # Errors
/// The database's.
pub async fn insert(database: &Database, tx: &Transaction, rows: &[Outgoing]) -> Result<(), DbErr> {
    if rows.is_empty() {
        return Ok(());
    }
    match database.backend() {
        Backend::Postgres => {
            let sql = format!(
                "INSERT INTO outbox ({COLUMNS}) SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], \
                 $5::text[], $6::jsonb[], $7::bytea[], $8::timestamptz[])"
            );
            tx.execute_raw(database.statement(sql, arrays(rows))).await?;
        }
        Backend::Sqlite => {
            for cut in bind::sqlite_cuts(rows.len(), COLUMN_COUNT) {
                let values = bind::values_sql(cut.len(), COLUMN_COUNT);
                let sql = format!("INSERT INTO outbox ({COLUMNS}) VALUES {values}");
                tx.execute_raw(database.statement(sql, rows[cut].iter().flat_map(Outgoing::binds))).await?;
            }
        }
    }
    Ok(())
}

fn arrays(rows: &[Outgoing]) -> [Value; COLUMN_COUNT] {
    [
        bind::uuids(rows.iter().map(|row| row.id.as_uuid())),
        bind::texts(rows.iter().map(|row| row.exchange.clone())),
        bind::texts(rows.iter().map(|row| row.routing_key.clone())),
        bind::texts(rows.iter().map(|row| row.message.kind.clone())),
        bind::texts(rows.iter().map(|row| row.message.content_type.clone())),
        bind::jsons(rows.iter().map(Outgoing::headers)),
        bind::bytes(rows.iter().map(|row| row.message.body.to_vec())),
        bind::times(rows.iter().map(|row| row.message.timestamp)),
    ]
}

/// Rows that this claim alone may publish. Dropped, they go back: at once on `PostgreSQL`, when the lease runs out on
/// SQLite.
#[derive(Debug)]
pub struct Claim<'a> {
    database: &'a Database,
    rows: Vec<Outgoing>,
    /// `PostgreSQL`'s row locks.
    locks: Option<Transaction>,
}

/// Claims up to `limit` rows that nobody else has claimed, about the oldest first. `lease` is how long the claim may take
/// to be settled; on `PostgreSQL` it holds one of the database's turns for so long. A row that can't be read is logged and
/// left out.
///
/// # Errors
/// The database's.
pub async fn claim(database: &Database, limit: u32, lease: Duration) -> Result<Claim<'_>, DbErr> {
    let tx = database.begin().await?;
    let found = match database.backend() {
        Backend::Postgres => lock(database, &tx, limit, lease).await?,
        Backend::Sqlite => take_lease(database, &tx, limit, lease).await?,
    };
    let mut rows: Vec<Outgoing> = found.iter().filter_map(|row| readable(database, row)).collect();
    rows.sort_unstable_by_key(|row| row.id);
    let locks = match database.backend() {
        Backend::Postgres if !rows.is_empty() => Some(tx),
        Backend::Postgres | Backend::Sqlite => {
            tx.commit().await?;
            None
        }
    };
    Ok(Claim { database, rows, locks })
}

/// A row that can't be read stays where it is, with its age on the gauge, and keeps no other from being published.
fn readable(database: &Database, row: &QueryResult) -> Option<Outgoing> {
    Outgoing::read(row)
        .inspect_err(|error| {
            let id =
                row.try_get::<Uuid>("", "id").map_or_else(|_| "that can't be read".to_owned(), |id| id.to_string());
            tracing::error!(
                store.database = database.name(), %error,
                "the outbox row with id {id} can't be published and is left there: mend it or delete it"
            );
        })
        .ok()
}

async fn lock(database: &Database, tx: &Transaction, limit: u32, lease: Duration) -> Result<Vec<QueryResult>, DbErr> {
    // Nobody waits for the disk: a delete that a crash undoes is a publish again, under the same message id.
    let settings = "SELECT set_config('idle_in_transaction_session_timeout', $1, true), \
                    set_config('synchronous_commit', 'off', true)";
    tx.execute_raw(database.statement(settings, [lease.as_millis().to_string().into()])).await?;
    let sql = "SELECT * FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED";
    tx.query_all_raw(database.statement(sql, [i64::from(limit).into()])).await
}

async fn take_lease(
    database: &Database,
    tx: &Transaction,
    limit: u32,
    lease: Duration,
) -> Result<Vec<QueryResult>, DbErr> {
    let now = database.backend().now_sql();
    let sql = format!(
        "UPDATE outbox SET claimed_until = strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', $1) WHERE id IN (
             SELECT id FROM outbox WHERE claimed_until IS NULL OR claimed_until <= {now} ORDER BY id LIMIT $2
         ) RETURNING *"
    );
    let until = format!("+{:.3} seconds", lease.as_secs_f64());
    tx.query_all_raw(database.statement(sql, [until.into(), i64::from(limit).into()])).await
}

impl Claim<'_> {
    /// The claimed rows, by id.
    pub fn rows(&self) -> &[Outgoing] {
        &self.rows
    }

    /// Deletes the rows that the broker confirmed, and gives the others back.
    ///
    /// # Errors
    /// The database's; then every row goes back, as if dropped.
    pub async fn settle(self, confirmed: &[EventId]) -> Result<(), DbErr> {
        let Self { database, rows, locks } = self;
        if rows.is_empty() {
            return Ok(());
        }
        if let Some(tx) = locks {
            let ids = bind::uuids(confirmed.iter().map(|id| id.as_uuid()));
            tx.execute_raw(database.statement("DELETE FROM outbox WHERE id = ANY($1)", [ids])).await?;
            return tx.commit().await;
        }
        let confirmed: BTreeSet<EventId> = confirmed.iter().copied().collect();
        let (done, back): (Vec<EventId>, Vec<EventId>) =
            rows.iter().map(|row| row.id).partition(|id| confirmed.contains(id));
        let tx = database.begin().await?;
        for (sql, ids) in [("DELETE FROM outbox", done), ("UPDATE outbox SET claimed_until = NULL", back)] {
            for cut in bind::sqlite_cuts(ids.len(), 1) {
                let sql = format!("{sql} WHERE id IN {}", bind::values_sql(1, cut.len()));
                tx.execute_raw(database.statement(sql, ids[cut].iter().map(|id| id.as_uuid().into()))).await?;
            }
        }
        tx.commit().await
    }
}

/// How long the first row by id has waited, by the database's clock; none where nothing waits. Ids begin with their time,
/// so that is the oldest row but for transactions that overlap, and it is found without a look at every row.
///
/// # Errors
/// The database's.
pub async fn oldest_age(database: &Database) -> Result<Option<Duration>, DbErr> {
    let sql = match database.backend() {
        Backend::Postgres => {
            "SELECT extract(epoch FROM clock_timestamp() - created_at)::float8 AS age FROM outbox ORDER BY id LIMIT 1"
        }
        Backend::Sqlite => {
            "SELECT (julianday('now') - julianday(created_at)) * 86400.0 AS age FROM outbox ORDER BY id LIMIT 1"
        }
    };
    let row = database.read().query_one_raw(database.statement(sql, [])).await?;
    let seconds: Option<f64> = row.map(|row| row.try_get("", "age")).transpose()?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()))
}

/// How many rows wait, counted up to `most`: a count reads every row that it counts.
///
/// # Errors
/// The database's.
pub async fn count(database: &Database, most: u32) -> Result<u64, DbErr> {
    let sql = format!("SELECT count(*) AS waiting FROM (SELECT 1 FROM outbox LIMIT {most}) AS counted");
    let row = database.read().query_one_raw(database.statement(sql, [])).await?;
    let waiting: Option<i64> = row.map(|row| row.try_get("", "waiting")).transpose()?;
    Ok(waiting.and_then(|waiting| u64::try_from(waiting).ok()).unwrap_or(0))
}
