//! A message as a row: its properties as JSON (readable with any `SQLite` tool), its body as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use model::Message;
use serde::{Deserialize, Serialize};

/// What the file keeps of a message.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) properties: String,
    pub(crate) body: Bytes,
}

/// The names are part of the file's format, version 1.
#[derive(Serialize, Deserialize)]
struct Properties<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    /// Microseconds since 1970.
    time: i64,
    #[serde(borrow)]
    content_type: Cow<'a, str>,
    headers: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    transient: bool,
}

/// A row that no version of this crate wrote.
#[derive(Debug, thiserror::Error)]
#[error("the message's properties can't be read")]
pub(crate) struct Unreadable;

impl Record {
    pub(crate) fn of(message: &Message) -> Self {
        let properties = Properties {
            id: message.id.as_str().into(),
            kind: message.kind.as_str().into(),
            time: message.timestamp.timestamp_micros(),
            content_type: message.content_type.as_str().into(),
            headers: Cow::Borrowed(&message.headers),
            transient: message.transient,
        };
        Self {
            properties: serde_json::to_string(&properties).expect("texts and numbers under text keys are always JSON"),
            body: message.body.clone(),
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.properties.len() + self.body.len()
    }
}

/// The message in a row.
pub(crate) fn decode(properties: &str, body: Bytes) -> Result<Message, Unreadable> {
    let properties: Properties<'_> = serde_json::from_str(properties).map_err(|_malformed| Unreadable)?;
    Ok(Message {
        id: properties.id.into_owned().try_into().map_err(|_invalid| Unreadable)?,
        kind: properties.kind.into_owned(),
        timestamp: DateTime::from_timestamp_micros(properties.time).ok_or(Unreadable)?,
        content_type: properties.content_type.into_owned(),
        headers: properties.headers.into_owned(),
        transient: properties.transient,
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_released_version_is_still_read() {
        let row = r#"{"id":"m","kind":"order.placed","time":1700000000123456,"content_type":"text/plain","headers":{"a":"\"b\""}}"#;
        let message = decode(row, Bytes::from_static(b"body")).unwrap();
        assert_eq!(message.timestamp.timestamp_micros(), 1_700_000_000_123_456);
        assert_eq!(message.headers["a"], "\"b\"");
        assert_eq!(Record::of(&message).properties, row);
    }

    #[test]
    fn a_row_that_nobody_wrote_is_unreadable() {
        assert!(decode("{}", Bytes::new()).is_err());
        assert!(decode("", Bytes::new()).is_err());
    }
}
