//! What is visibly put aside: open rows of `parked_messages`, messages in `….parked` queues, and what no binding wanted; and
//! what became of the rows that are not open any more.
//!
//! | state | is at rest |
//! |---|---|
//! | `open` | put aside: visible, and has to be poison |
//! | `replaying` | never: its replay has not ended |
//! | `replayed`, `closed` | gone back: its order has come to an end, or was put aside again |
//! | `discarded` | never: nobody here discards anything |

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use serde_json::Value;
use store::{Database, Databases};
use uuid::Uuid;

use super::Site;
use super::read::{is_end, rows, states};

/// Ends the name of the queue of what another one's consumer gave up.
pub(super) const PARKED: &str = ".parked";
/// Where RabbitMQ keeps what no binding wanted.
pub(super) const UNROUTED: &str = "millpond.unrouted";
/// Rows of one statement, with their bodies: a few megabytes.
const CHUNK: usize = 2_000;

/// Messages that are put aside, each id once, by their home queue; and those that were.
#[derive(Debug, Clone, Default)]
pub(super) struct Parked {
    messages: BTreeMap<(String, String), Option<Uuid>>,
    orders: HashSet<Uuid>,
    /// What was put aside and is not any more: where, its id, its order, its state.
    past: Vec<Past>,
}

/// A row that is not open.
#[derive(Debug, Clone)]
struct Past {
    subject: String,
    order: Option<Uuid>,
    state: String,
}

impl Parked {
    /// A message that was put aside; a copy of it, or its row, changes nothing.
    pub(super) fn add(&mut self, home: &str, id: &str, body: &[u8]) {
        let order = order_of(body);
        self.orders.extend(order);
        self.messages.insert((home.to_owned(), id.to_owned()), order);
    }

    /// A row in any state.
    pub(super) fn row(&mut self, home: &str, id: &str, body: &[u8], state: &str) {
        if state == "open" {
            return self.add(home, id, body);
        }
        let subject = format!("the parked message {id} of {home}");
        self.past.push(Past { subject, order: order_of(body), state: state.to_owned() });
    }

    /// The orders among them.
    pub(super) fn orders(&self) -> impl Iterator<Item = Uuid> + '_ {
        self.orders.iter().copied()
    }

    /// Whether the order is among them.
    pub(super) fn holds(&self, order: Uuid) -> bool {
        self.orders.contains(&order)
    }

    /// Home queue and id of each, and the order that it places.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&str, &str, Option<Uuid>)> {
        self.messages.iter().map(|((home, id), order)| (home.as_str(), id.as_str(), *order))
    }

    /// How many are put aside, and how many were.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.messages.len() as u64, self.past.len() as u64)
    }

    /// What became of those that are not open any more.
    fn compare(&self, states: &HashMap<Uuid, String>) -> Breaches {
        let mut breaches = Breaches::default();
        for Past { subject, order, state } in &self.past {
            match (state.as_str(), order) {
                ("replayed" | "closed", Some(order)) => {
                    let end = states.get(order);
                    if !is_end(end) && !self.holds(*order) {
                        let found = end.map_or("no row", String::as_str);
                        let expected = format!("an end of order {order}, or it put aside, as the row is {state}");
                        breaches.add(Guarantee::Kept, subject, expected, found);
                    }
                }
                // Facts: what they tell is held against the orders by others.
                ("replayed" | "closed", None) => {}
                _ => breaches.add(Guarantee::AtRest, subject, "open, replayed or closed", state),
            }
        }
        breaches
    }
}

/// The order that a message places, where it can be read.
fn order_of(body: &[u8]) -> Option<Uuid> {
    let event: Value = serde_json::from_slice(body).ok()?;
    event["data"]["order_id"].as_str()?.parse().ok()
}

/// Reads them all: they are as many as were poisoned or unrouted, or the run is red anyway.
pub(super) async fn read(site: &Site<'_>, queues: &BTreeMap<String, u64>) -> Result<Parked> {
    let mut parked = Parked::default();
    for database in site.databases.databases() {
        read_rows(database, &mut parked).await?;
    }
    for (queue, messages) in queues.iter().filter(|(_, messages)| **messages > 0) {
        let home = queue.strip_suffix(PARKED).or_else(|| (queue == UNROUTED).then_some(UNROUTED));
        let Some(home) = home else { continue };
        for message in site.broker.peek(queue, *messages).await? {
            parked.add(home, &message.id, &message.body);
        }
    }
    Ok(parked)
}

async fn read_rows(database: &Database, parked: &mut Parked) -> Result<()> {
    let sql = format!(
        "SELECT queue, message_id, body, state FROM parked_messages WHERE (queue, message_id) > ($1, $2) \
         ORDER BY queue, message_id LIMIT {CHUNK}"
    );
    let mut after = (String::new(), String::new());
    loop {
        let chunk = rows(database, &sql, [after.0.as_str().into(), after.1.as_str().into()]).await?;
        let Some(last) = chunk.last() else { return Ok(()) };
        after = (last.try_get("", "queue")?, last.try_get("", "message_id")?);
        for row in &chunk {
            let [queue, id, state] = ["queue", "message_id", "state"].map(|column| row.try_get::<String>("", column));
            parked.row(&queue?, &id?, &row.try_get::<Vec<u8>>("", "body")?, &state?);
        }
    }
}

/// Holds what was put aside and is not any more against the orders.
pub(super) async fn judge(databases: &Databases, parked: &Parked) -> Result<Breaches> {
    let orders: Vec<Uuid> = parked.past.iter().filter_map(|past| past.order).collect();
    Ok(parked.compare(&states(databases, &orders).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_parked_as_a_row_and_as_a_copy_is_one() {
        let mut parked = Parked::default();
        let body = br#"{"data": {"order_id": "00010203-0405-8607-8809-0a0b0c0d0e0f"}}"#;
        for body in [body.as_slice(), body.as_slice()] {
            parked.add("q", "m-1", body);
        }
        parked.add("q", "m-2", b"not JSON");
        let messages: Vec<_> = parked.messages().map(|(_, id, order)| (id, order.is_some())).collect();
        assert_eq!(messages, [("m-1", true), ("m-2", false)]);
        assert_eq!(parked.orders().count(), 1);
    }

    #[test]
    fn what_went_back_has_come_to_an_end_or_is_put_aside_again() {
        let id = Uuid::from_u128(7);
        let body = format!(r#"{{"data": {{"order_id": "{id}"}}}}"#);
        let breaches = |state: &str, end: Option<&str>, again: bool| {
            let mut parked = Parked::default();
            parked.row(UNROUTED, "m", body.as_bytes(), state);
            if again {
                parked.row("q", "m", body.as_bytes(), "open");
            }
            let breaches = parked.compare(&end.map(|end| (id, end.to_owned())).into_iter().collect());
            (breaches.of(Guarantee::Kept), breaches.of(Guarantee::AtRest))
        };
        for state in ["replayed", "closed"] {
            assert_eq!(breaches(state, Some("confirmed"), false), (0, 0));
            assert_eq!(breaches(state, None, true), (0, 0));
            assert_eq!(breaches(state, None, false), (1, 0), "{state} and nowhere");
            assert_eq!(breaches(state, Some("placed"), false), (1, 0));
        }
        for state in ["replaying", "discarded"] {
            assert_eq!(breaches(state, Some("confirmed"), false), (0, 1), "{state}");
        }
    }
}
