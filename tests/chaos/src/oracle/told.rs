//! What was told of orders: each outcome once at least, and never in two ways; of no order that is not there.
//!
//! Told twice is no breach: delivery is at least once, and consumers know an outcome by its order. Told twice *differently*
//! is: two consumers would believe different things.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use events::{
    Contract as _, DecodeError, Envelope, OrderConfirmed, OrderOutcomes, OrderRefunded, OrderRejected, OrderReleased,
    Rejection,
};
use model::{Message, OrderId};
use serde::Serialize;
use store::{Database, Databases};
use uuid::Uuid;

use super::read::rows;

/// Orders of one statement.
const CHUNK: usize = 5_000;

/// What can be told of an order, each once for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// How it ended.
    End,
    /// Its units were given back.
    Release,
    /// Some of it was paid back, under this key.
    Refund(String),
}

/// What was heard of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    /// The state that follows from it.
    state: &'static str,
    /// What the customer pays, minor units, where it is said.
    total_minor: Option<i64>,
    digest: u64,
    /// It was told differently, too.
    differs: bool,
}

/// Everything that was heard: some hundred bytes for each order.
#[derive(Debug, Clone, Default)]
pub struct Told {
    heard: BTreeMap<(Uuid, What), Heard>,
    messages: u64,
    unreadable: u64,
}

impl Told {
    /// A message came.
    pub fn hear(&mut self, message: &Message) {
        self.messages += 1;
        if self.read(message).is_err() {
            self.unreadable += 1;
        }
    }

    /// How many messages came.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    fn read(&mut self, message: &Message) -> Result<(), DecodeError> {
        match message.kind.as_str() {
            OrderOutcomes::KIND => {
                let OrderOutcomes { confirmed, rejected, .. } = Envelope::from_message(message)?.data;
                for order in &confirmed {
                    self.confirmed(order);
                }
                for order in &rejected {
                    self.rejected(order);
                }
            }
            OrderConfirmed::KIND => self.confirmed(&Envelope::from_message(message)?.data),
            OrderRejected::KIND => self.rejected(&Envelope::from_message(message)?.data),
            OrderReleased::KIND => {
                let order: OrderReleased = Envelope::from_message(message)?.data;
                self.note(order.order_id, What::Release, "released", Some(order.total_minor), &order);
            }
            OrderRefunded::KIND => {
                let order: OrderRefunded = Envelope::from_message(message)?.data;
                self.note(order.order_id, What::Refund(order.reference.to_string()), "confirmed", None, &order);
            }
            // Nothing else is bound: somebody put it there by hand.
            _ => {}
        }
        Ok(())
    }

    fn confirmed(&mut self, order: &OrderConfirmed) {
        self.note(order.order_id, What::End, "confirmed", Some(order.total_minor), order);
    }

    fn rejected(&mut self, order: &OrderRejected) {
        // That is no outcome of the order whose key was used again: the first post's is.
        if order.reason != Rejection::IdempotencyConflict {
            self.note(order.order_id, What::End, "rejected", None, order);
        }
    }

    fn note(&mut self, id: OrderId, what: What, state: &'static str, total_minor: Option<i64>, all: &impl Serialize) {
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(all).unwrap_or_default().hash(&mut hasher);
        let heard = Heard { state, total_minor, digest: hasher.finish(), differs: false };
        let known = self.heard.entry((id.as_uuid(), what)).or_insert_with(|| heard.clone());
        known.differs |= known.digest != heard.digest;
    }
}

/// An order as it is stored.
#[derive(Debug, Clone)]
struct Stored {
    id: Uuid,
    state: String,
    total_minor: i64,
    /// The keys of its refunds.
    refunds: Vec<String>,
}

/// Holds what was told against the orders, chunk by chunk.
struct Hearing<'a> {
    told: &'a Told,
    /// Things that were told of orders that are there.
    known: usize,
    breaches: Breaches,
}

impl Hearing<'_> {
    fn order(&mut self, order: &Stored) {
        let Stored { id, state, total_minor, refunds } = order;
        let of_order = (*id, What::End)..=(*id, What::Refund(char::MAX.to_string()));
        self.known += self.told.heard.range(of_order).count();
        // A release says what is left; whether the order was confirmed before, its row does not tell.
        let due = match state.as_str() {
            "confirmed" | "rejected" => Some(What::End),
            "released" => Some(What::Release),
            _ => None,
        };
        for what in due.into_iter().chain(refunds.iter().cloned().map(What::Refund)) {
            let subject = format!("{what:?} of order {id}");
            match self.told.heard.get(&(*id, what)) {
                None => self.breaches.add(Guarantee::Told, subject, format!("told, as it is {state}"), "nothing"),
                Some(Heard { state: told, total_minor: total, .. }) => {
                    if told != state && *state != "released" || total.is_some_and(|total| total != *total_minor) {
                        let expected = format!("{state}, {total_minor}");
                        self.breaches.add(Guarantee::Told, subject, expected, format!("{told}, {total:?}"));
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Breaches {
        if self.told.heard.len() > self.known {
            let found = format!("{} things of others", self.told.heard.len() - self.known);
            self.breaches.add(Guarantee::Told, "what was told", "of orders that are there", found);
        }
        if self.told.unreadable > 0 {
            let found = format!("{} that can't be read", self.told.unreadable);
            self.breaches.add(Guarantee::Told, "what was told", "outcomes of orders", found);
        }
        for ((id, what), heard) in &self.told.heard {
            if heard.differs {
                let subject = format!("{what:?} of order {id}");
                self.breaches.add(Guarantee::Told, subject, "one story", "two");
            }
        }
        self.breaches
    }
}

/// Reads the orders and judges.
pub(super) async fn judge(databases: &Databases, told: &Told) -> Result<Breaches> {
    let mut hearing = Hearing { told, known: 0, breaches: Breaches::default() };
    for database in databases.databases() {
        orders(database, &mut hearing).await?;
    }
    Ok(hearing.finish())
}

async fn orders(database: &Database, hearing: &mut Hearing<'_>) -> Result<()> {
    let sql = format!("SELECT id, state, total_minor FROM orders WHERE id > $1 ORDER BY id LIMIT {CHUNK}");
    let mut after = Uuid::nil();
    loop {
        let chunk = rows(database, &sql, [after.into()]).await?;
        let Some(last) = chunk.last() else { return Ok(()) };
        let last: Uuid = last.try_get("", "id")?;
        let paid_back = "SELECT DISTINCT order_id, reference FROM order_refunds WHERE order_id > $1 AND order_id <= $2";
        let mut refunds: HashMap<Uuid, Vec<String>> = HashMap::new();
        for row in rows(database, paid_back, [after.into(), last.into()]).await? {
            refunds.entry(row.try_get("", "order_id")?).or_default().push(row.try_get("", "reference")?);
        }
        for row in &chunk {
            let id = row.try_get("", "id")?;
            let (state, total_minor) = (row.try_get("", "state")?, row.try_get("", "total_minor")?);
            hearing.order(&Stored { id, state, total_minor, refunds: refunds.remove(&id).unwrap_or_default() });
        }
        after = last;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use events::Attribution;
    use model::{Currency, ManualClock, RegionNumber};

    use super::*;

    fn id() -> OrderId {
        OrderId::derive(RegionNumber(1), &"main".parse().unwrap(), &"k".parse().unwrap())
    }

    fn confirmed(total_minor: i64) -> Message {
        let order = OrderConfirmed {
            order_id: id(),
            market: "main".parse().unwrap(),
            region: RegionNumber(1),
            accepted_at: DateTime::<Utc>::UNIX_EPOCH,
            confirmed_at: DateTime::<Utc>::UNIX_EPOCH,
            currency: Currency::from_code("EUR").unwrap(),
            total_minor,
            lines: Vec::new(),
            attribution: Attribution::default(),
        };
        let outcomes = OrderOutcomes { confirmed: vec![order], ..OrderOutcomes::new(RegionNumber(1)) };
        Envelope::new(&ManualClock::at(DateTime::UNIX_EPOCH), "checkout", outcomes).to_message()
    }

    fn breaches(messages: &[Message], state: Option<&str>, refunds: &[&str]) -> u64 {
        let mut told = Told::default();
        for message in messages {
            told.hear(message);
        }
        let mut hearing = Hearing { told: &told, known: 0, breaches: Breaches::default() };
        if let Some(state) = state {
            let refunds = refunds.iter().map(|key| (*key).to_owned()).collect();
            hearing.order(&Stored { id: id().as_uuid(), state: state.to_owned(), total_minor: 500, refunds });
        }
        hearing.finish().of(Guarantee::Told)
    }

    #[test]
    fn an_outcome_is_told_once_at_least_and_always_the_same() {
        assert_eq!(breaches(&[confirmed(500)], Some("confirmed"), &[]), 0);
        assert_eq!(breaches(&[confirmed(500), confirmed(500)], Some("confirmed"), &[]), 0, "at least once");
        assert_eq!(breaches(&[], Some("confirmed"), &[]), 1, "nobody was told");
        assert_eq!(breaches(&[confirmed(500), confirmed(400)], Some("confirmed"), &[]), 1, "two stories");
        assert_eq!(breaches(&[confirmed(400)], Some("confirmed"), &[]), 1, "another sum");
        assert_eq!(breaches(&[confirmed(500)], Some("rejected"), &[]), 1, "another end");
        assert_eq!(breaches(&[confirmed(500)], None, &[]), 1, "of an order that is nowhere");
        assert_eq!(breaches(&[], Some("placed"), &[]), 0, "nothing to tell yet");
    }

    #[test]
    fn what_was_taken_back_is_told_too() {
        assert_eq!(breaches(&[confirmed(500)], Some("released"), &[]), 1, "its release was not");
        assert_eq!(breaches(&[confirmed(500)], Some("confirmed"), &["r-1"]), 1, "its refund was not");
    }

    #[test]
    fn what_can_not_be_read_is_said() {
        let message = Message { body: "{".into(), ..confirmed(500) };
        assert_eq!(breaches(&[message], None, &[]), 1);
    }
}
