//! A change under a key, once, and the answer that every repeat gets.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{Fingerprint, IdempotencyKey, MarketId, OrderId};
use sea_orm::{ConnectionTrait as _, DbErr, Value};
use serde::Serialize;

use super::change::{Change, Done};
use super::ledger::{Ledger, broken};
use super::order_row::OrderRow;
use super::refusal::{Error, Refusal};
use crate::config::Backend;
use crate::database::{Database, Transaction};
use crate::regions::Region;

/// Makes `change` for `market` in its region, once for each `key`: in one transaction with its movements, its events and its
/// answer. A repeat is answered as the first was, and changes nothing.
///
/// # Errors
/// [`Error`]; nothing was changed then, or (a connection lost at the commit) the same key tells whether it was.
pub async fn apply(region: &Region, market: &MarketId, key: &IdempotencyKey, change: &Change) -> Result<Done, Error> {
    let tx = region.database.begin().await?;
    let request = Request { region, tx: &tx, market, key };
    match request.run(change).await {
        Ok(done) => {
            tx.commit().await?;
            Ok(done)
        }
        Err(error) => {
            // Whatever the connection says to that, nothing was committed.
            drop(tx.rollback().await);
            Err(error)
        }
    }
}

struct Request<'a> {
    region: &'a Region,
    tx: &'a Transaction,
    market: &'a MarketId,
    key: &'a IdempotencyKey,
}

impl Request<'_> {
    async fn run(&self, change: &Change) -> Result<Done, Error> {
        let canonical = serde_json::to_vec(change).map_err(|error| DbErr::Json(error.to_string()))?;
        let fingerprint = Fingerprint::of([canonical.as_slice()]);
        let Some(at) = self.begin(fingerprint).await? else {
            return self.replay(fingerprint).await;
        };
        let ledger = Ledger { region: self.region, tx: self.tx, at };
        let done = self.make(ledger, change).await?;
        self.keep(&done.answer).await?;
        Ok(done)
    }

    async fn make(&self, ledger: Ledger<'_>, change: &Change) -> Result<Done, Error> {
        // Keys of several markets share a region's stock.
        let reference = || format!("{}/{}", self.market, self.key);
        match change {
            Change::Count { sku, on_hand } => done(&ledger.count(sku, *on_hand, reference()).await?, None),
            Change::Restock { sku, units } => done(&ledger.restock(sku, *units, reference()).await?, None),
            Change::Give { sku, units } => done(&ledger.give(sku, *units, reference()).await?, None),
            Change::Take { sku, units } => done(&ledger.take(sku, *units, reference()).await?, None),
            Change::Pay { order } => turned(&ledger.pay(&self.order(ledger, *order).await?).await?),
            Change::Cancel { order } => turned(&ledger.cancel(&self.order(ledger, *order).await?).await?),
            Change::Ship { order } => {
                let order = self.order(ledger, *order).await?;
                done(&ledger.ship(&order).await?.answer(), None)
            }
            Change::Refund { order, lines } => {
                let order = self.order(ledger, *order).await?;
                done(&ledger.refund(&order, lines, self.key).await?, None)
            }
        }
    }

    async fn order(&self, ledger: Ledger<'_>, id: OrderId) -> Result<OrderRow, Error> {
        Ok(ledger.order(id, self.market).await?.ok_or(Refusal::UnknownOrder)?)
    }

    fn id(&self) -> [Value; 3] {
        [i32::from(self.region.number.0).into(), self.market.as_str().into(), self.key.as_str().into()]
    }

    /// Takes the key: the transaction's time by the database's clock, or none where the key is taken. Waits for a request with
    /// the same key that is not committed yet.
    async fn begin(&self, fingerprint: Fingerprint) -> Result<Option<DateTime<Utc>>, DbErr> {
        let sql = "INSERT INTO stock_requests (region, market, idempotency_key, fingerprint) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (region, market, idempotency_key) DO NOTHING RETURNING created_at";
        let values = self.id().into_iter().chain([fingerprint.as_bytes().to_vec().into()]);
        let row = self.tx.query_one_raw(self.region.database.statement(sql, values)).await?;
        row.map(|row| row.try_get("", "created_at")).transpose()
    }

    async fn replay(&self, fingerprint: Fingerprint) -> Result<Done, Error> {
        let sql = "SELECT fingerprint, answer FROM stock_requests \
                   WHERE region = $1 AND market = $2 AND idempotency_key = $3";
        let row = self.tx.query_one_raw(self.region.database.statement(sql, self.id())).await?;
        // Thrown away between the two statements: the next try takes the key.
        let row = row.ok_or_else(|| broken("a request was forgotten while it was repeated"))?;
        let stored: Vec<u8> = row.try_get("", "fingerprint")?;
        if stored != fingerprint.as_bytes() {
            return Err(Error::KeyReused);
        }
        Ok(Done { answer: row.try_get("", "answer")?, replayed: true, order: None })
    }

    async fn keep(&self, answer: &serde_json::Value) -> Result<(), DbErr> {
        let sql = "UPDATE stock_requests SET answer = $4 WHERE region = $1 AND market = $2 AND idempotency_key = $3";
        let values = self.id().into_iter().chain([answer.clone().into()]);
        self.tx.execute_raw(self.region.database.statement(sql, values)).await.map(drop)
    }
}

fn turned(order: &OrderRow) -> Result<Done, Error> {
    done(&order.answer(), Some(order))
}

fn done(answer: &impl Serialize, order: Option<&OrderRow>) -> Result<Done, Error> {
    let answer = serde_json::to_value(answer).map_err(|error| DbErr::Json(error.to_string()))?;
    Ok(Done { answer, replayed: false, order: order.map(OrderRow::now) })
}

/// Throws at most `batch` answers away that are older than `age`, by the database's clock; says how many. Any number of
/// processes may do so at once.
///
/// # Errors
/// The database's.
pub async fn forget_requests(database: &Database, age: Duration, batch: u32) -> Result<u64, DbErr> {
    let sql = match database.backend() {
        Backend::Postgres => {
            "DELETE FROM stock_requests WHERE ctid = ANY (ARRAY (SELECT ctid FROM stock_requests \
             WHERE created_at < now() - make_interval(secs => $1::bigint) ORDER BY created_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED))"
        }
        Backend::Sqlite => {
            "DELETE FROM stock_requests WHERE rowid IN (SELECT rowid FROM stock_requests \
             WHERE created_at < strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-' || $1 || ' seconds') \
             ORDER BY created_at LIMIT $2)"
        }
    };
    let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    let tx = database.begin().await?;
    let deleted = tx.execute_raw(database.statement(sql, [seconds.into(), i64::from(batch.max(1)).into()])).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}
