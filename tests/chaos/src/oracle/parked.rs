//! What is visibly put aside: open rows of `parked_messages`, messages in `….parked` queues, and what no binding wanted.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use serde_json::Value;
use uuid::Uuid;

use super::Site;
use super::read::rows;

/// Ends the name of the queue of what another one's consumer gave up.
pub(super) const PARKED: &str = ".parked";
/// Where RabbitMQ keeps what no binding wanted.
pub(super) const UNROUTED: &str = "millpond.unrouted";

/// Messages that are put aside, each id once, by their home queue.
#[derive(Debug, Clone, Default)]
pub(super) struct Parked {
    messages: BTreeMap<(String, String), Option<Uuid>>,
    orders: HashSet<Uuid>,
}

impl Parked {
    /// A message that was put aside; a copy of it, or its row, changes nothing.
    pub(super) fn add(&mut self, home: &str, id: &str, body: &[u8]) {
        let order = order_of(body);
        self.orders.extend(order);
        self.messages.insert((home.to_owned(), id.to_owned()), order);
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
}

/// The order that a message places, where it can be read.
fn order_of(body: &[u8]) -> Option<Uuid> {
    let event: Value = serde_json::from_slice(body).ok()?;
    event["data"]["order_id"].as_str()?.parse().ok()
}

/// Reads them all: they are as many as were poisoned, or the run is red anyway.
pub(super) async fn read(site: &Site<'_>, queues: &BTreeMap<String, u64>) -> Result<Parked> {
    let mut parked = Parked::default();
    for database in site.databases.databases() {
        let sql = "SELECT queue, message_id, body FROM parked_messages WHERE state = 'open'";
        for row in rows(database, sql, []).await? {
            let (queue, id): (String, String) = (row.try_get("", "queue")?, row.try_get("", "message_id")?);
            parked.add(&queue, &id, &row.try_get::<Vec<u8>>("", "body")?);
        }
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
}
