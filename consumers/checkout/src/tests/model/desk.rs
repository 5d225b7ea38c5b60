//! The real handler, with somebody who reads the books before and after.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use events::{DecodeError, Envelope, OrderPlaced};
use faulty::{Client, End, Fault, How, Step, stand_still};
use model::Message;
use tokio::sync::Mutex;
use worker::{BatchError, Handled, Handler, Item};

use super::books::Books;
use crate::handler::Checkout;
use crate::tests::site::{Site, cut_off};

/// What all processes share.
pub(super) struct Office {
    pub(super) site: Site,
    pub(super) away: AtomicBool,
    /// Held while a batch is at work, so that nothing else changes the books.
    turn: Mutex<Turn>,
    /// Keys of the orders that are known to be stored.
    stored: std::sync::Mutex<BTreeSet<String>>,
}

#[derive(Default)]
struct Turn {
    /// A batch that somebody died over, and the books as they were before it.
    unfinished: Option<(Books, Vec<OrderPlaced>)>,
}

impl Office {
    pub(super) fn new(site: Site) -> Self {
        Self { site, away: AtomicBool::new(false), turn: Mutex::default(), stored: std::sync::Mutex::default() }
    }

    /// Whether a delivery may end like that.
    pub(super) fn judge(&self, end: &End<'_>) -> Result<(), String> {
        let key = key_of(end.message)?;
        let right = match end.how {
            How::Acked => self.stored.lock().unwrap().contains(&key),
            // Nothing here fails on an order's own account.
            How::Retried { .. } => false,
            How::Parked { reason } => reason.starts_with("crashing") && end.message.suspicion() > 0,
        };
        if right { Ok(()) } else { Err(format!("the order {key} must not end like that: {:?}", end.how)) }
    }

    /// More units come in, between two batches.
    pub(super) async fn restock(&self, sku: &str, units: i64) -> Result<(), String> {
        let mut turn = self.turn.lock().await;
        let _still = stand_still();
        self.settle(&mut turn).await?;
        let sql = "UPDATE stock SET on_hand = on_hand + $1 WHERE sku = $2";
        self.site.execute(sql, [units.into(), sku.into()]).await;
        Ok(())
    }

    /// The books, which the last batch must have led to, whoever died over it.
    pub(super) async fn books(&self) -> Result<Books, String> {
        let mut turn = self.turn.lock().await;
        let _still = stand_still();
        self.settle(&mut turn).await
    }

    async fn settle(&self, turn: &mut Turn) -> Result<Books, String> {
        let books = Books::read(&self.site).await;
        self.stored.lock().unwrap().extend(books.orders.keys().cloned());
        if let Some((before, batch)) = turn.unfinished.take() {
            before.leads_to(&books, &batch)?;
        }
        books.add_up()?;
        Ok(books)
    }
}

pub(super) fn key_of(message: &Message) -> Result<String, String> {
    let event = Envelope::<OrderPlaced>::from_message(message).map_err(|error| error.to_string())?;
    Ok(event.data.idempotency_key.to_string())
}

/// The handler of one process.
pub(super) struct Desk {
    pub(super) office: Arc<Office>,
    pub(super) checkout: Checkout,
    pub(super) client: Client,
}

impl Desk {
    /// The real handler, which is cut off at its so-many-th wait where that is asked for: `None` then.
    async fn work(
        &self,
        batch: &[Item<Envelope<OrderPlaced>>],
        cut: Option<u8>,
    ) -> Option<Result<Handled, BatchError>> {
        let mut turn = self.office.turn.lock().await;
        let _still = stand_still();
        match self.office.settle(&mut turn).await {
            Ok(before) => {
                let orders = batch.iter().map(|item| item.event.data.clone()).collect();
                turn.unfinished = Some((before, orders));
            }
            Err(complaint) => self.client.complain(complaint),
        }
        let ended = cut_off(self.checkout.handle(batch), cut.map_or(u32::MAX, u32::from)).await;
        if let Err(complaint) = self.office.settle(&mut turn).await {
            self.client.complain(complaint);
        }
        ended
    }
}

fn away<T>() -> Result<T, BatchError> {
    Err(BatchError::Infrastructure("connection refused".to_owned()))
}

impl Handler for Desk {
    type Event = Envelope<OrderPlaced>;

    fn decode(&self, message: &Message) -> Result<Self::Event, DecodeError> {
        self.checkout.decode(message)
    }

    async fn handle(&self, batch: &[Item<Self::Event>]) -> Result<Handled, BatchError> {
        let cut = match self.client.pass(Step::Handle).await {
            Some(Fault::Fail) => return away(),
            Some(Fault::Lock) => return Err(BatchError::Contention("database is locked".to_owned())),
            Some(Fault::Midway(waits)) => Some(waits),
            _ if self.office.away.load(Ordering::Relaxed) => return away(),
            _ => None,
        };
        let Some(ended) = self.work(batch, cut).await else { self.client.die().await };
        match self.client.pass(Step::Committed).await {
            // It is there, and the answer is lost.
            Some(Fault::Fail) => away(),
            _ => ended,
        }
    }

    async fn probe(&self) -> Result<(), String> {
        let _still = stand_still();
        if self.office.away.load(Ordering::Relaxed) {
            Err("connection refused".to_owned())
        } else {
            self.checkout.probe().await
        }
    }
}
