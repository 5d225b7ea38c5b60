//! A change under a key, once, and the answer that every repeat gets.

use std::time::Duration;

use model::{Fingerprint, IdempotencyKey, MarketId, OrderId};
use sea_orm::DbErr;
use serde::Serialize;

use super::change::{Change, Done};
use super::counts::Asked;
use super::ledger::Ledger;
use super::order_row::OrderRow;
use super::refusal::{Error, Refusal};
use crate::answers::Answers;
use crate::catalogue::Expected;
use crate::database::{Database, Transaction};
use crate::regions::Region;
use crate::sweep;

/// Makes `change` for `market` in its region, once for each `key`: in one transaction with its movements, its events and its
/// answer. A repeat is answered as the first was, and changes nothing, whatever is expected by then.
///
/// `expected` is asked of the row of stock that is changed, under its lock. A change of an order asks nothing of it: the order's
/// state decides.
///
/// # Errors
/// [`Error`]; nothing was changed then, or (a connection lost at the commit) the same key tells whether it was.
pub async fn apply(
    region: &Region,
    market: &MarketId,
    key: &IdempotencyKey,
    change: &Change,
    expected: &Expected,
) -> Result<Done, Error> {
    let tx = region.database.begin().await?;
    let request = Request { region, tx: &tx, market, key, expected };
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
    expected: &'a Expected,
}

impl Request<'_> {
    async fn run(&self, change: &Change) -> Result<Done, Error> {
        let canonical = serde_json::to_vec(change).map_err(|error| DbErr::Json(error.to_string()))?;
        let fingerprint = Fingerprint::of([canonical.as_slice()]);
        let answers = Answers { region: self.region, tx: self.tx, market: self.market, key: self.key };
        let Some(at) = answers.begin(fingerprint).await? else {
            let answer = answers.stored(fingerprint).await?.ok_or(Error::KeyReused)?;
            return Ok(Done { answer, replayed: true, order: None });
        };
        let ledger = Ledger { region: self.region, tx: self.tx, at };
        let done = self.make(ledger, change).await?;
        answers.keep(&done.answer).await?;
        Ok(done)
    }

    async fn make(&self, ledger: Ledger<'_>, change: &Change) -> Result<Done, Error> {
        // Keys of several markets share a region's stock.
        let asked = || Asked { reference: format!("{}/{}", self.market, self.key), expected: self.expected };
        match change {
            Change::Count { sku, on_hand } => done(&ledger.count(sku, *on_hand, asked()).await?, None),
            Change::Restock { sku, units } => done(&ledger.restock(sku, *units, asked()).await?, None),
            Change::Give { sku, units } => done(&ledger.give(sku, *units, asked()).await?, None),
            Change::Take { sku, units } => done(&ledger.take(sku, *units, asked()).await?, None),
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
    sweep::forget(database, ("stock_requests", "created_at"), age, batch).await
}
