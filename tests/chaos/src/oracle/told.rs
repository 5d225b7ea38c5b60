//! What was told of orders: each outcome once at least, and never in two ways; of no order that is not there, and nothing that
//! did not happen to it.
//!
//! A message that comes twice is no breach: delivery is at least once, and a copy keeps its id, which is that of its row in the
//! outbox. Two messages with ids of their own are one: the same thing was written twice. And so is one thing told *differently*:
//! two consumers would believe different things.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher as _};

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
    /// Stands for the id of the first message that told it: eight bytes, as there are many.
    by: u64,
    /// Another message told it, too.
    again: bool,
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
        let by = digest(&message.id.to_string());
        match message.kind.as_str() {
            OrderOutcomes::KIND => {
                let OrderOutcomes { confirmed, rejected, .. } = Envelope::from_message(message)?.data;
                for order in &confirmed {
                    self.confirmed(by, order);
                }
                for order in &rejected {
                    self.rejected(by, order);
                }
            }
            OrderConfirmed::KIND => self.confirmed(by, &Envelope::from_message(message)?.data),
            OrderRejected::KIND => self.rejected(by, &Envelope::from_message(message)?.data),
            OrderReleased::KIND => {
                let order: OrderReleased = Envelope::from_message(message)?.data;
                self.note(by, (order.order_id, What::Release), "released", Some(order.total_minor), &order);
            }
            OrderRefunded::KIND => {
                let order: OrderRefunded = Envelope::from_message(message)?.data;
                let what = What::Refund(order.reference.to_string());
                self.note(by, (order.order_id, what), "confirmed", None, &order);
            }
            // Nothing else is bound: somebody put it there by hand.
            _ => {}
        }
        Ok(())
    }

    fn confirmed(&mut self, by: u64, order: &OrderConfirmed) {
        self.note(by, (order.order_id, What::End), "confirmed", Some(order.total_minor), order);
    }

    fn rejected(&mut self, by: u64, order: &OrderRejected) {
        // That is no outcome of the order whose key was used again: the first post's is.
        if order.reason != Rejection::IdempotencyConflict {
            self.note(by, (order.order_id, What::End), "rejected", None, order);
        }
    }

    fn note(
        &mut self,
        by: u64,
        (id, what): (OrderId, What),
        state: &'static str,
        total_minor: Option<i64>,
        all: &impl Serialize,
    ) {
        let digest = digest(&serde_json::to_vec(all).unwrap_or_default());
        let known = self.heard.entry((id.as_uuid(), what)).or_insert(Heard {
            state,
            total_minor,
            digest,
            differs: false,
            by,
            again: false,
        });
        known.differs |= known.digest != digest;
        known.again |= known.by != by;
    }
}

fn digest(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
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
        for (_, what) in self.told.heard.range(of_order).map(|(thing, _)| thing) {
            self.known += 1;
            let happened = match what {
                What::End => true,
                What::Release => state == "released",
                What::Refund(key) => refunds.contains(key),
            };
            if !happened {
                let found = format!("told, and it is {state}");
                self.breaches.add(Guarantee::Told, format!("{what:?} of order {id}"), "not told", found);
            }
        }
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
            let subject = || format!("{what:?} of order {id}");
            if heard.differs {
                self.breaches.add(Guarantee::Told, subject(), "one story", "two");
            }
            if heard.again {
                self.breaches.add(Guarantee::Once, subject(), "one message that tells it", "one with another id");
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
    use events::{Attribution, Contract, ReleaseCause};
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
        message(outcomes)
    }

    fn released() -> Message {
        message(OrderReleased {
            order_id: id(),
            market: "main".parse().unwrap(),
            region: RegionNumber(1),
            accepted_at: DateTime::<Utc>::UNIX_EPOCH,
            released_at: DateTime::<Utc>::UNIX_EPOCH,
            cause: ReleaseCause::Cancelled,
            was_confirmed: true,
            currency: Currency::from_code("EUR").unwrap(),
            total_minor: 500,
            units: 1,
            attribution: Attribution::default(),
        })
    }

    fn refunded(key: &str) -> Message {
        message(OrderRefunded {
            order_id: id(),
            reference: key.parse().unwrap(),
            market: "main".parse().unwrap(),
            region: RegionNumber(1),
            accepted_at: DateTime::<Utc>::UNIX_EPOCH,
            refunded_at: DateTime::<Utc>::UNIX_EPOCH,
            currency: Currency::from_code("EUR").unwrap(),
            lines: Vec::new(),
            attribution: Attribution::default(),
        })
    }

    /// With an id of its own.
    fn message<P: Contract>(data: P) -> Message {
        Envelope::new(&ManualClock::at(DateTime::UNIX_EPOCH), "checkout", data).to_message()
    }

    fn breaches(messages: &[Message], state: Option<&str>, refunds: &[&str]) -> u64 {
        judged(messages, state, refunds).of(Guarantee::Told)
    }

    fn judged(messages: &[Message], state: Option<&str>, refunds: &[&str]) -> Breaches {
        let mut told = Told::default();
        for message in messages {
            told.hear(message);
        }
        let mut hearing = Hearing { told: &told, known: 0, breaches: Breaches::default() };
        if let Some(state) = state {
            let refunds = refunds.iter().map(|key| (*key).to_owned()).collect();
            hearing.order(&Stored { id: id().as_uuid(), state: state.to_owned(), total_minor: 500, refunds });
        }
        hearing.finish()
    }

    #[test]
    fn an_outcome_is_told_once_at_least_and_always_the_same() {
        assert_eq!(breaches(&[confirmed(500)], Some("confirmed"), &[]), 0);
        let one = confirmed(500);
        assert!(judged(&[one.clone(), one], Some("confirmed"), &[]).is_empty(), "at least once");
        assert_eq!(breaches(&[], Some("confirmed"), &[]), 1, "nobody was told");
        assert_eq!(breaches(&[confirmed(500), confirmed(400)], Some("confirmed"), &[]), 1, "two stories");
        assert_eq!(breaches(&[confirmed(400)], Some("confirmed"), &[]), 1, "another sum");
        assert_eq!(breaches(&[confirmed(500)], Some("rejected"), &[]), 1, "another end");
        assert_eq!(breaches(&[confirmed(500)], None, &[]), 1, "of an order that is nowhere");
        assert_eq!(breaches(&[], Some("placed"), &[]), 0, "nothing to tell yet");
    }

    #[test]
    fn one_thing_is_told_by_one_message() {
        let twice = judged(&[confirmed(500), confirmed(500)], Some("confirmed"), &[]);
        assert_eq!((twice.of(Guarantee::Once), twice.of(Guarantee::Told)), (1, 0), "two rows of the outbox");
    }

    #[test]
    fn nothing_is_told_that_did_not_happen() {
        let back = released();
        assert_eq!(breaches(&[confirmed(500), back.clone()], Some("released"), &[]), 0);
        assert_eq!(breaches(&[confirmed(500), back], Some("confirmed"), &[]), 1, "it stands");
        let told = [confirmed(500), refunded("r-1")];
        assert_eq!(breaches(&told, Some("confirmed"), &["r-1"]), 0);
        assert_eq!(breaches(&told, Some("confirmed"), &[]), 1, "nothing was paid back");
        assert_eq!(breaches(&told, Some("confirmed"), &["r-2"]), 2, "under another key");
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
