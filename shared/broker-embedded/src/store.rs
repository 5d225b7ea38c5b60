//! The file's statements, one method each. Everything between [`Store::begin`] and [`Store::commit`] is durable
//! together or not at all.

use broker::{Binding, ExchangeName, QueueName};
use bytes::Bytes;
use rusqlite::{Connection, Result, params};

use crate::key::{Key, QueueId};
use crate::record::Record;

/// The file, held by this process.
pub(crate) struct Store {
    connection: Connection,
}

/// A declared queue as the file has it.
pub(crate) struct StoredQueue {
    pub(crate) id: QueueId,
    pub(crate) name: QueueName,
    pub(crate) retry_delays_ms: Vec<u64>,
}

/// A message read for a consumer.
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) deliveries: u32,
    pub(crate) properties: String,
    pub(crate) body: Bytes,
}

/// How many messages a queue holds, and the places of its first and its last.
#[derive(Default)]
pub(crate) struct Extent {
    pub(crate) count: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Store {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub(crate) fn begin(&self) -> Result<()> {
        self.connection.prepare_cached("BEGIN")?.execute([]).map(drop)
    }

    /// Returns once the file system has it; costs no fsync where nothing was written.
    pub(crate) fn commit(&self) -> Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    /// After a failed statement or commit; `SQLite` may have rolled back by itself.
    pub(crate) fn rollback(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "the embedded broker could not roll back");
        }
    }

    pub(crate) fn insert(&self, key: Key, record: &Record) -> Result<()> {
        self.connection
            .prepare_cached("INSERT INTO message (key, properties, body) VALUES (?1, ?2, ?3)")?
            .execute(params![key.0, record.properties, &record.body[..]])
            .map(drop)
    }

    pub(crate) fn delete(&self, key: Key) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM message WHERE key = ?1")?.execute([key.0]).map(drop)
    }

    /// Up to `limit` messages of `from..to` in order, until their bodies reach `max_bytes`.
    pub(crate) fn read(&self, from: Key, to: Key, limit: usize, max_bytes: usize) -> Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT key, deliveries, properties, body FROM message WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![from.0, to.0, limit])?;
        let mut read = Vec::new();
        let mut bytes = 0;
        while bytes < max_bytes
            && let Some(row) = rows.next()?
        {
            let body: Vec<u8> = row.get(3)?;
            bytes += body.len();
            read.push(Row {
                key: Key(row.get(0)?),
                deliveries: row.get(1)?,
                properties: row.get(2)?,
                body: body.into(),
            });
        }
        Ok(read)
    }

    /// Notes that places up to `place` of `queue` were handed out.
    pub(crate) fn mark_handed_to(&self, queue: QueueId, place: i64) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE queue SET handed_to = ?2 WHERE id = ?1")?
            .execute([queue, place])
            .map(drop)
    }

    pub(crate) fn set_deliveries(&self, key: Key, deliveries: u32) -> Result<()> {
        self.connection
            .prepare_cached("UPDATE message SET deliveries = ?2 WHERE key = ?1")?
            .execute(params![key.0, deliveries])
            .map(drop)
    }

    /// Turns the marks of a process that was killed into one more delivery of each message that it may have seen.
    pub(crate) fn count_interrupted_deliveries(&self) -> Result<()> {
        for (queue, handed_to) in self.marks()? {
            self.connection.execute(
                "UPDATE message SET deliveries = deliveries + 1 WHERE key BETWEEN ?1 AND ?2",
                [Key::new(queue, 0).0, Key::new(queue, handed_to).0],
            )?;
        }
        self.clear_marks()
    }

    pub(crate) fn clear_marks(&self) -> Result<()> {
        self.connection.execute("UPDATE queue SET handed_to = 0 WHERE handed_to > 0", []).map(drop)
    }

    fn marks(&self) -> Result<Vec<(QueueId, i64)>> {
        self.connection
            .prepare("SELECT id, handed_to FROM queue WHERE handed_to > 0")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    pub(crate) fn extent(&self, queue: QueueId) -> Result<Extent> {
        self.connection.query_row(
            "SELECT count(*), min(key), max(key) FROM message WHERE key >= ?1 AND key < ?2",
            [Key::new(queue, 0).0, Key::new(queue + 1, 0).0],
            |row| {
                let place = |key: Option<i64>| key.map_or(0, |key| Key(key).place());
                Ok(Extent {
                    count: row.get::<_, i64>(0)?.cast_unsigned(),
                    first: place(row.get(1)?),
                    last: place(row.get(2)?),
                })
            },
        )
    }

    /// Keeps `record` aside until `due_ms` (milliseconds since 1970).
    pub(crate) fn delay(&self, queue: QueueId, due_ms: i64, record: &Record) -> Result<()> {
        self.connection
            .prepare_cached("INSERT INTO delayed (queue, due_ms, properties, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![queue, due_ms, record.properties, &record.body[..]])
            .map(drop)
    }

    /// The earliest time at which a delayed message is due.
    pub(crate) fn next_due(&self) -> Result<Option<i64>> {
        self.connection.prepare_cached("SELECT min(due_ms) FROM delayed")?.query_row([], |row| row.get(0))
    }

    /// Up to `limit` delayed messages that are due at `now_ms`, earliest first: their ids and queues.
    pub(crate) fn due(&self, now_ms: i64, limit: usize) -> Result<Vec<(i64, QueueId)>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.connection
            .prepare_cached("SELECT id, queue FROM delayed WHERE due_ms <= ?1 ORDER BY due_ms, id LIMIT ?2")?
            .query_map([now_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect()
    }

    /// Moves the delayed message `id` to `key`.
    pub(crate) fn move_delayed(&self, id: i64, key: Key) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO message (key, properties, body) SELECT ?2, properties, body FROM delayed WHERE id = ?1",
            )?
            .execute([id, key.0])?;
        self.connection.prepare_cached("DELETE FROM delayed WHERE id = ?1")?.execute([id]).map(drop)
    }

    pub(crate) fn delayed_in(&self, queue: QueueId) -> Result<u64> {
        let count: i64 =
            self.connection.query_row("SELECT count(*) FROM delayed WHERE queue = ?1", [queue], |row| row.get(0))?;
        Ok(count.cast_unsigned())
    }

    pub(crate) fn queues(&self) -> Result<Vec<StoredQueue>> {
        self.connection
            .prepare("SELECT id, name, retry_delays_ms FROM queue ORDER BY id")?
            .query_map([], |row| {
                Ok(StoredQueue {
                    id: row.get(0)?,
                    name: QueueName::new(row.get::<_, String>(1)?),
                    retry_delays_ms: serde_json::from_str(&row.get::<_, String>(2)?).unwrap_or_default(),
                })
            })?
            .collect()
    }

    pub(crate) fn put_queue(&self, queue: &StoredQueue) -> Result<()> {
        let delays = serde_json::to_string(&queue.retry_delays_ms).expect("numbers are always JSON");
        self.connection
            .prepare_cached(
                "INSERT INTO queue (id, name, retry_delays_ms) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET retry_delays_ms = excluded.retry_delays_ms",
            )?
            .execute(params![queue.id, queue.name.as_str(), delays])
            .map(drop)
    }

    pub(crate) fn exchanges(&self) -> Result<Vec<ExchangeName>> {
        self.connection
            .prepare("SELECT name FROM exchange")?
            .query_map([], |row| row.get::<_, String>(0).map(ExchangeName::new))?
            .collect()
    }

    pub(crate) fn put_exchange(&self, exchange: &ExchangeName) -> Result<()> {
        self.connection.execute("INSERT OR IGNORE INTO exchange VALUES (?1)", [exchange.as_str()]).map(drop)
    }

    pub(crate) fn bindings(&self) -> Result<Vec<(ExchangeName, String, QueueId)>> {
        self.connection
            .prepare("SELECT exchange, routing_key, queue FROM binding")?
            .query_map([], |row| Ok((ExchangeName::new(row.get::<_, String>(0)?), row.get(1)?, row.get(2)?)))?
            .collect()
    }

    pub(crate) fn put_binding(&self, binding: &Binding, queue: QueueId) -> Result<()> {
        self.connection
            .execute(
                "INSERT OR IGNORE INTO binding VALUES (?1, ?2, ?3)",
                params![binding.exchange.as_str(), binding.routing_key, queue],
            )
            .map(drop)
    }

    /// Bytes of the file that hold something.
    pub(crate) fn used_bytes(&self) -> Result<u64> {
        let pages = self.pragma("page_count")? - self.pragma("freelist_count")?;
        Ok((pages * self.pragma("page_size")?).cast_unsigned())
    }

    /// Pages that acked messages left behind; they are used again before the file grows.
    pub(crate) fn free_pages(&self) -> Result<i64> {
        self.pragma("freelist_count")
    }

    /// Gives up to `pages` free pages back to the file system.
    pub(crate) fn give_back(&self, pages: i64) -> Result<()> {
        // One page goes with each step of this statement.
        let mut vacuum = self.connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        // The file itself is cut when the log is folded into it.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_row| Ok(()))
    }

    fn pragma(&self, name: &str) -> Result<i64> {
        self.connection.prepare_cached(&format!("PRAGMA {name}"))?.query_row([], |row| row.get(0))
    }

    /// Folds the log into the file and lets go of it.
    pub(crate) fn close(self) {
        if let Err((_connection, error)) = self.connection.close() {
            tracing::warn!(%error, "the embedded broker's file was not closed cleanly; nothing confirmed is lost");
        }
    }
}
