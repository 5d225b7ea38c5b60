//! A message on its way into the table.

use std::collections::{BTreeMap, HashMap};

use broker::QueueName;
use chrono::{DateTime, Datelike as _, Utc};
use model::{Message, headers};
use sha2::{Digest as _, Sha256};
use worker::Item;

use crate::reason::reason_key;

/// The broker said nothing and nobody else did.
const NO_REASON: &str =
    "no reason is given: the broker itself moved it here (a delivery limit), or somebody did by hand";
const NOT_ROUTED: &str = "unrouted: no queue was bound to its exchange and type, or its queue was deleted";

/// The longest reason and the longest type that are kept, in bytes.
const MAX_REASON: usize = 4_096;
const MAX_KIND: usize = 255;

/// What copies change, or the parker adds: it is no part of what a message is.
const COPIED: [&str; 5] =
    [headers::ATTEMPT, headers::REASON, headers::ORIGIN_QUEUE, headers::REPLAYED, headers::SUSPICION];

/// A parked message as its row will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) key: String,
    pub(crate) digest: [u8; 32],
    pub(crate) kind: String,
    pub(crate) reason: String,
    pub(crate) reason_key: String,
    pub(crate) published_at: DateTime<Utc>,
    /// How often it came.
    pub(crate) times: i32,
    /// The replay that failed; 0: it was none.
    pub(crate) replay: i32,
    pub(crate) message: Message,
}

impl Arrival {
    /// Reads `message` of the parked queue of `home`, whatever it is. PostgreSQL stores no NUL in a text, so where one is,
    /// `␀` is written for it; the body is kept as it is.
    pub(crate) fn of(home: &QueueName, message: &Message) -> Self {
        let unrouted = *home == QueueName::unrouted();
        let reason = match message.headers.get(headers::REASON) {
            Some(reason) if !unrouted => reason.clone(),
            Some(reason) => format!("{NOT_ROUTED}. Before that: {reason}"),
            None if unrouted => NOT_ROUTED.to_owned(),
            None => NO_REASON.to_owned(),
        };
        let reason = cut(&clean(&reason), MAX_REASON);
        let mut message = message.clone();
        message.headers = message.headers.iter().map(|(name, value)| (clean(name), clean(value))).collect();
        message.content_type = clean(&message.content_type);
        Self {
            key: message.id.to_string(),
            digest: digest(&message),
            kind: cut(&clean(&message.kind), MAX_KIND),
            reason_key: reason_key(&reason),
            reason,
            published_at: within_four_digits(message.timestamp),
            times: 1,
            replay: i32::try_from(message.replay()).unwrap_or(0),
            message,
        }
    }

    /// Without anything that a database could refuse: what is left of a message that it did refuse.
    pub(crate) fn bare(mut self) -> Self {
        let ascii = |text: &str| text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
        self.message.headers.retain(|name, _| name.starts_with("x-mp-"));
        self.message.headers.values_mut().for_each(|value| *value = ascii(value));
        self.message.content_type = ascii(&self.message.content_type);
        self.kind = ascii(&self.kind);
        self.reason = format!("{} (its headers could not be stored and are gone)", ascii(&self.reason));
        self.published_at = DateTime::UNIX_EPOCH;
        self
    }

    /// The key of a message whose own id another message of the queue has already.
    pub(crate) fn derived_key(&self) -> String {
        let prefix = self.digest.first_chunk::<16>().copied().map_or(0, u128::from_be_bytes);
        format!("{}~{prefix:032x}", self.key)
    }
}

/// The arrivals of a batch: copies of one message are one, with the newest reason, in the order of their keys, which is the
/// order that everybody locks rows in.
pub(crate) fn fold<'a>(items: impl IntoIterator<Item = &'a Item<Arrival>>) -> Vec<Arrival> {
    let mut folded: BTreeMap<(&str, [u8; 32]), Arrival> = BTreeMap::new();
    for Item { event, .. } in items {
        folded
            .entry((event.key.as_str(), event.digest))
            .and_modify(|known| {
                let (times, replay) = (known.times.saturating_add(1), known.replay.max(event.replay));
                *known = Arrival { times, replay, ..event.clone() };
            })
            .or_insert_with(|| event.clone());
    }
    folded.into_values().collect()
}

/// Splits arrivals so that no part has a key twice: a statement can write a row once.
pub(crate) fn rounds(arrivals: Vec<Arrival>) -> Vec<Vec<Arrival>> {
    let mut rounds: Vec<Vec<Arrival>> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for arrival in arrivals {
        let round = seen.entry(arrival.key.clone()).or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(arrival);
        *round += 1;
    }
    rounds
}

/// What every copy of a message has in common, and no other message has.
fn digest(message: &Message) -> [u8; 32] {
    let mut digest = Sha256::new();
    let own = message.headers.iter().filter(|(name, _)| !COPIED.contains(&name.as_str()));
    let texts = [&message.kind, &message.content_type].into_iter().chain(own.flat_map(|(name, value)| [name, value]));
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    digest.update(&message.body);
    digest.finalize().into()
}

fn clean(text: &str) -> String {
    text.replace('\0', "␀")
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// Beyond them no two databases write a year alike, and it is nobody's publishing time.
fn within_four_digits(time: DateTime<Utc>) -> DateTime<Utc> {
    if (1_970..=9_999).contains(&time.year()) { time } else { DateTime::UNIX_EPOCH }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(id: &str, body: &str) -> Message {
        Message {
            id: id.parse().unwrap(),
            kind: "order.placed".to_owned(),
            timestamp: DateTime::UNIX_EPOCH,
            content_type: "application/json".to_owned(),
            headers: BTreeMap::from([("colour".to_owned(), "red".to_owned())]),
            transient: false,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn arrival(id: &str, body: &str, ours: &[(&str, &str)]) -> Arrival {
        let mut message = message(id, body);
        message.headers.extend(ours.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Arrival::of(&QueueName::new("q"), &message)
    }

    fn item(arrival: Arrival) -> Item<Arrival> {
        Item { id: arrival.message.id.clone(), attempt: 0, redelivered: false, event: arrival }
    }

    #[test]
    fn copies_of_one_message_are_one_arrival_and_another_message_of_the_same_id_is_not() {
        let items = [
            item(arrival("a", "1", &[(headers::ATTEMPT, "7"), (headers::REASON, "first")])),
            item(arrival("b", "1", &[])),
            item(arrival("a", "2", &[])),
            item(arrival("a", "1", &[(headers::REPLAYED, "1"), (headers::REASON, "second")])),
        ];
        let folded = fold(&items);
        assert_eq!(folded.len(), 3);
        let same = folded.iter().find(|arrival| arrival.times == 2).unwrap();
        assert_eq!((same.key.as_str(), same.replay, same.reason.as_str()), ("a", 1, "second"));
        let rounds = rounds(folded);
        assert_eq!(rounds.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_nul_is_written_as_something_that_can_be_stored_and_the_body_is_kept() {
        let arrival = arrival("a", "\0", &[("co\0l", "r\0d"), (headers::REASON, "bad \0 byte")]);
        assert_eq!(arrival.reason, "bad ␀ byte");
        assert!(arrival.message.headers.iter().all(|(name, value)| !name.contains('\0') && !value.contains('\0')));
        assert_eq!(&arrival.message.body[..], b"\0");
    }

    #[test]
    fn a_message_without_a_reason_has_one() {
        assert!(arrival("a", "1", &[]).reason.contains("delivery limit"));
        let unrouted = Arrival::of(&QueueName::unrouted(), &message("a", "1"));
        assert!(unrouted.reason.starts_with("unrouted"));
    }
}
