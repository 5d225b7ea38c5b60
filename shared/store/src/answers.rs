//! Requests under a key, and the answers that their repeats get.
//!
//! The row of a request is written first in its transaction, and its answer last: a second request with the same key waits for
//! the first to commit, and finds the answer.

use chrono::{DateTime, Utc};
use model::{Fingerprint, IdempotencyKey, MarketId};
use sea_orm::{ConnectionTrait as _, DbErr, Value};

use crate::database::Transaction;
use crate::regions::Region;

/// A request within its transaction.
pub(crate) struct Answers<'a> {
    pub(crate) region: &'a Region,
    pub(crate) tx: &'a Transaction,
    pub(crate) market: &'a MarketId,
    pub(crate) key: &'a IdempotencyKey,
}

impl Answers<'_> {
    fn id(&self) -> [Value; 3] {
        [i32::from(self.region.number.0).into(), self.market.as_str().into(), self.key.as_str().into()]
    }

    /// Takes the key: the transaction's time by the database's clock, or none where the key is taken. Waits for a request with
    /// the same key that is not committed yet.
    pub(crate) async fn begin(&self, fingerprint: Fingerprint) -> Result<Option<DateTime<Utc>>, DbErr> {
        let repeat =
            if failpoint::broken!(ChangedTwice) { "UPDATE SET created_at = excluded.created_at" } else { "NOTHING" };
        let sql = format!(
            "INSERT INTO stock_requests (region, market, idempotency_key, fingerprint) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (region, market, idempotency_key) DO {repeat} RETURNING created_at"
        );
        let values = self.id().into_iter().chain([fingerprint.as_bytes().to_vec().into()]);
        let row = self.tx.query_one_raw(self.region.database.statement(sql, values)).await?;
        row.map(|row| row.try_get("", "created_at")).transpose()
    }

    /// The answer of the request that took the key; none where that was another request.
    pub(crate) async fn stored(&self, fingerprint: Fingerprint) -> Result<Option<serde_json::Value>, DbErr> {
        let sql = "SELECT fingerprint, answer FROM stock_requests \
                   WHERE region = $1 AND market = $2 AND idempotency_key = $3";
        let row = self.tx.query_one_raw(self.region.database.statement(sql, self.id())).await?;
        // Thrown away between the two statements: the next try takes the key.
        let row = row.ok_or_else(|| DbErr::Custom("a request was forgotten while it was repeated".to_owned()))?;
        let stored: Vec<u8> = row.try_get("", "fingerprint")?;
        if stored == fingerprint.as_bytes() { row.try_get("", "answer").map(Some) } else { Ok(None) }
    }

    /// What every repeat is answered from now on.
    pub(crate) async fn keep(&self, answer: &serde_json::Value) -> Result<(), DbErr> {
        let sql = "UPDATE stock_requests SET answer = $4 WHERE region = $1 AND market = $2 AND idempotency_key = $3";
        let values = self.id().into_iter().chain([answer.clone().into()]);
        self.tx.execute_raw(self.region.database.statement(sql, values)).await.map(drop)
    }
}
