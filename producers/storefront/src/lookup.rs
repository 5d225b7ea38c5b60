//! Where an order's status comes from: the cache, then the primary of the region that its id names.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache::{Cache, OrderStatus};
use chrono::{DateTime, TimeDelta, Utc};
use model::{Clock, Fingerprint, OrderId};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};
use serde_json::json;
use store::{Backend, Database, Databases, bind};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::config::Config;
use crate::view::Known;

/// Nobody can say now. Not the same as queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Away {
    /// The token is of a region that this process does not know: its configuration is behind.
    #[error("the order's region is not known here")]
    Region,
    /// The region's database gives no answer, or has as many questions as it may.
    #[error("the order's database gives no answer")]
    Database,
}

/// One database with what single requests may ask of it.
pub(crate) struct Source {
    pub(crate) database: Arc<Database>,
    slots: Semaphore,
    /// So that its absence is said once, not once per request.
    away: AtomicBool,
}

pub(crate) struct Lookup {
    databases: Arc<Databases>,
    cache: Arc<Cache>,
    sources: HashMap<String, Arc<Source>>,
    config: Config,
    clock: Arc<dyn Clock>,
}

impl Lookup {
    pub(crate) fn new(databases: Arc<Databases>, cache: Arc<Cache>, config: Config, clock: Arc<dyn Clock>) -> Self {
        let source = |database: &Arc<Database>| Source {
            database: Arc::clone(database),
            slots: Semaphore::new(config.max_lookups),
            away: AtomicBool::new(false),
        };
        let sources = databases.databases().iter().map(|db| (db.name().to_owned(), Arc::new(source(db)))).collect();
        Self { databases, cache, sources, config, clock }
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.values()
    }

    /// The database of the region that the id names.
    pub(crate) fn source_of(&self, id: OrderId) -> Option<&Arc<Source>> {
        self.sources.get(self.databases.region(id.region())?.database.name())
    }

    /// What is known of the order. A final status in the cache is the last word, and for a while so is a confirmed one;
    /// another one may be behind, so it stands only while the database gives no answer.
    pub(crate) async fn find(&self, id: OrderId) -> Result<Known, Away> {
        let cached = self.cache.get_status(id).await;
        if let Some(status) = &cached
            && self.is_last_word(status)
        {
            return Ok(Known::Committed(status.clone()));
        }
        match self.ask(id).await {
            Ok(Some(status)) => {
                self.cache.put_statuses(std::slice::from_ref(&status)).await;
                Ok(Known::Committed(status))
            }
            Ok(None) => Ok(cached.map_or(Known::Queued, Known::Committed)),
            Err(away) => cached.map(Known::Committed).ok_or(away),
        }
    }

    /// A confirmed order may yet be cancelled; a young one hardly is, and is what everybody asks for in a spike.
    fn is_last_word(&self, status: &OrderStatus) -> bool {
        let trust = TimeDelta::seconds(i64::from(self.config.trust_confirmed_s));
        let age = (self.clock.now() - status.accepted_at).abs();
        status.state.is_final() || (status.state.is_terminal() && age < trust)
    }

    /// Keeps what was just committed.
    pub(crate) async fn committed(&self, status: OrderStatus) {
        self.cache.put_statuses(&[status]).await;
    }

    async fn ask(&self, id: OrderId) -> Result<Option<OrderStatus>, Away> {
        let source = self.source_of(id).ok_or(Away::Region)?;
        let _slot = source.slots.try_acquire().map_err(|_| Away::Database)?;
        let mut found = self.read(source, &[id]).await?;
        Ok(found.remove(&id))
    }

    /// Those of `ids` that `source` has.
    pub(crate) async fn read(&self, source: &Source, ids: &[OrderId]) -> Result<HashMap<OrderId, OrderStatus>, Away> {
        let answer = timeout(self.config.lookup_timeout(), rows(&source.database, ids)).await;
        let failure = match answer {
            Ok(Ok(found)) => {
                if source.away.swap(false, Ordering::Relaxed) {
                    tracing::info!(store.database = source.database.name(), "order status is read from it again");
                }
                return Ok(found);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", self.config.lookup_timeout_ms),
        };
        if !source.away.swap(true, Ordering::Relaxed) {
            let database = source.database.name();
            tracing::warn!(store.database = database, error = failure, "order status can't be read: answering 503");
        }
        Err(Away::Database)
    }
}

async fn rows(database: &Database, ids: &[OrderId]) -> Result<HashMap<OrderId, OrderStatus>, DbErr> {
    const COLUMNS: &str = "SELECT id, fingerprint, state, reason, expires_at, version, accepted_at FROM orders";
    let ids = ids.iter().map(|id| id.as_uuid());
    let mut rows = Vec::new();
    if database.backend() == Backend::Postgres {
        let sql = format!("{COLUMNS} WHERE id = ANY ($1::uuid[])");
        rows = database.read().query_all_raw(database.statement(sql, [bind::uuids(ids)])).await?;
    } else {
        let ids: Vec<Uuid> = ids.collect();
        for chunk in ids.chunks(bind::sqlite_chunk(1)) {
            let sql = format!("{COLUMNS} WHERE id IN ({})", vec!["?"; chunk.len()].join(","));
            let values = chunk.iter().map(|id| (*id).into());
            rows.extend(database.read().query_all_raw(database.statement(sql, values)).await?);
        }
    }
    rows.iter().map(|row| status(row).map(|status| (status.order_id, status))).collect()
}

fn status(row: &QueryResult) -> Result<OrderStatus, DbErr> {
    let broken = |what: &str| DbErr::Type(format!("an order's {what} can't be read"));
    let id: Uuid = row.try_get("", "id")?;
    let fingerprint: Vec<u8> = row.try_get("", "fingerprint")?;
    let fingerprint: [u8; 32] = fingerprint.try_into().map_err(|_| broken("fingerprint"))?;
    let state: String = row.try_get("", "state")?;
    let reason: Option<serde_json::Value> = row.try_get("", "reason")?;
    let expires_at: Option<DateTime<Utc>> = row.try_get("", "expires_at")?;
    // The contract's own form of a state, so that its names are in one place.
    let state = json!({ "state": state, "reason": reason, "expires_at": expires_at });
    Ok(OrderStatus {
        order_id: OrderId::try_from(id).map_err(|_| broken("id"))?,
        version: row.try_get("", "version")?,
        fingerprint: Fingerprint::from(fingerprint),
        accepted_at: row.try_get("", "accepted_at")?,
        state: serde_json::from_value(state).map_err(|_| broken("state"))?,
    })
}
