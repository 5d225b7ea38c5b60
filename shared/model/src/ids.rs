//! Typed ids and names. Each is parsed once, at the edge.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::clock::Clock;
use crate::text::text_type;

/// Why a text is not a valid id or name. The message names what was expected, so that it can be shown to a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing there.
    #[error("{what} must not be empty")]
    Empty {
        /// What the text was to be.
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("{what} must be at most {max} bytes long, this one has {len}")]
    TooLong {
        /// What the text was to be.
        what: &'static str,
        /// Longest allowed, bytes.
        max: usize,
        /// What came, bytes.
        len: usize,
    },
    /// A character outside the allowed set.
    #[error("{what} must not contain {found:?}; allowed are {allowed}")]
    Character {
        /// What the text was to be.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
        /// The allowed set, in words.
        allowed: &'static str,
    },
    /// A quoted text without its closing quote, or an escape that the grammar does not know.
    #[error("{what} starts with a quote, but is not a quoted string as RFC 9651 has it")]
    Quoting {
        /// What the text was to be.
        what: &'static str,
    },
}

text_type!(
    /// A stock keeping unit, as the shop writes it.
    Sku, "a SKU", max 64,
    |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '+'),
    "letters, digits and - _ . / : +"
);

text_type!(
    /// A market of the shop (`eu`, `us-wholesale`): it has its own keys, currency, stock and one permanent region
    /// number. The API key names it; never the body, never the visitor's location.
    MarketId, "a market id", max 32,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "lower-case letters, digits and -"
);

text_type!(
    /// The name of a region in configuration, in queue names and in routing keys. Its number is permanent, the name
    /// is what people read.
    RegionName, "a region name", max 32,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "lower-case letters, digits and -"
);

text_type!(
    /// The name of a collection of products: part of its page's address, so lower case and nothing that has to be escaped.
    CollectionName, "a collection name", max 64,
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    "lower-case letters, digits and -"
);

text_type!(
    /// The customer as the shop knows them: opaque here, shown to operators, never interpreted.
    CustomerRef, "a customer reference", max 128,
    |c| !c.is_control(),
    "any characters but control characters"
);

text_type!(
    /// The id that a storefront gave a page event (Segment's `messageId`); with the source it identifies the event
    /// for de-duplication.
    ClientEventId, "a messageId", max 128,
    |c| !c.is_control(),
    "any characters but control characters"
);

text_type!(
    /// A broker message's id: an [`EventId`] for what Millpond publishes, whatever the publisher chose for the rest.
    MessageId, "a message id", max 255,
    |c| !c.is_control(),
    "any characters but control characters"
);

text_type!(
    /// The `Idempotency-Key` of a request, 1 to 255 characters (the length that Stripe publishes), unquoted.
    IdempotencyKey, "an Idempotency-Key", max 255,
    |c| c.is_ascii_graphic() || c == ' ',
    "printable ASCII characters"
);

impl IdempotencyKey {
    /// Parses a header value: quoted as draft-ietf-httpapi-idempotency-key-header asks (an RFC 9651 string, so that
    /// `"a"` and `a` are the same key), or bare as Stripe's clients send it.
    ///
    /// # Errors
    /// [`TextError`] where the text is empty, too long, wrongly quoted or holds a character outside printable ASCII.
    pub fn from_header(value: &str) -> Result<Self, TextError> {
        let value = value.trim();
        match value.strip_prefix('"') {
            None => value.parse(),
            Some(rest) => unquote(rest).ok_or(TextError::Quoting { what: "an Idempotency-Key" })?.try_into(),
        }
    }
}

/// The inside of an RFC 9651 string: `\"` and `\\` are the only escapes, and nothing follows the closing quote.
fn unquote(rest: &str) -> Option<String> {
    let mut text = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.next().is_none().then_some(text),
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => text.push(c),
        }
    }
}

/// A region's permanent 16-bit number: the first two bytes of every [`crate::OrderId`] of the region. It outlives
/// databases and names, so it is never given to another region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RegionNumber(pub u16);

impl fmt::Display for RegionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of an event that Millpond publishes: a `UUIDv7` (RFC 9562), so ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A new id with the time that `clock` shows.
    pub fn new(clock: &dyn Clock) -> Self {
        Self::at(clock.now())
    }

    /// A new id for an event that happened at `time` (milliseconds are kept, the rest is random).
    pub fn at(time: DateTime<Utc>) -> Self {
        let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
        // This thread's generator: `Uuid::new_v7` would ask the kernel for each.
        Self(Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
    }

    /// The id as a UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The id as the broker's message id.
    pub fn to_message_id(self) -> MessageId {
        MessageId(self.0.to_string())
    }
}

impl From<Uuid> for EventId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for EventId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_and_a_bare_idempotency_key_are_the_same_key() {
        let bare = IdempotencyKey::from_header("order-17").unwrap();
        assert_eq!(IdempotencyKey::from_header("\"order-17\"").unwrap(), bare);
        assert_eq!(IdempotencyKey::from_header(r#""say \"17\"""#).unwrap().as_str(), "say \"17\"");
    }

    #[test]
    fn a_half_quoted_an_empty_and_an_endless_idempotency_key_are_refused() {
        assert!(matches!(IdempotencyKey::from_header("\"order"), Err(TextError::Quoting { .. })));
        assert!(matches!(IdempotencyKey::from_header("\"a\"b"), Err(TextError::Quoting { .. })));
        assert!(matches!(IdempotencyKey::from_header("\"\""), Err(TextError::Empty { .. })));
        assert!(matches!(IdempotencyKey::from_header(&"k".repeat(256)), Err(TextError::TooLong { .. })));
        assert!(matches!(IdempotencyKey::from_header("größe"), Err(TextError::Character { .. })));
    }

    #[test]
    fn a_bad_sku_is_refused_by_serde_with_the_reason() {
        let error = serde_json::from_str::<Sku>("\"two words\"").unwrap_err().to_string();
        assert!(error.contains("must not contain ' '"), "{error}");
    }

    #[test]
    fn event_ids_sort_by_the_time_they_were_made() {
        let clock = crate::ManualClock::at(DateTime::UNIX_EPOCH);
        let first = EventId::new(&clock);
        clock.advance(chrono::TimeDelta::milliseconds(1));
        assert!(first < EventId::new(&clock));
    }
}
