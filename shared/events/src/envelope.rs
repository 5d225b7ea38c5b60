//! What every event carries, whatever it says.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::{Clock, EventId, Message, headers};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A payload type with its permanent name and version.
pub trait Contract: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The event type, such as `order.placed`.
    const KIND: &'static str;
    /// The version that this build writes, from 1.
    const VERSION: u32;

    /// Reads the `data` of an older version. The default knows none.
    ///
    /// # Errors
    /// [`DecodeError::Unknown`] for a version that this build does not know, [`DecodeError::Malformed`] for a known
    /// one with a wrong body.
    fn upgrade(version: u32, _data: serde_json::Value) -> Result<Self, DecodeError> {
        Err(DecodeError::Unknown { kind: Self::KIND.to_owned(), version: Some(version) })
    }
}

/// An event: who said what, when, and in which trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<P> {
    /// Unique for this event; a retry of its publish keeps it.
    pub id: EventId,
    /// The part of Millpond (or the shop's system) that says so: `ingress`, `checkout`, `import`.
    pub source: String,
    /// When it happened, by the source's clock.
    pub occurred_at: DateTime<Utc>,
    /// W3C Trace Context of the request behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What happened.
    pub data: P,
}

/// Why a message is not the event that a handler wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It can never be read: not JSON, or not this payload.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A type or version that this build does not know; a newer one may.
    #[error("unknown event {kind} version {}", version.map_or_else(|| "none".to_owned(), |v| v.to_string()))]
    Unknown {
        /// The message's type.
        kind: String,
        /// Its version, where it names one.
        version: Option<u32>,
    },
}

/// The envelope as it is written, with type and version beside the payload.
#[derive(Serialize)]
struct Written<'a, P> {
    id: EventId,
    r#type: &'a str,
    version: u32,
    source: &'a str,
    occurred_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a P,
}

impl<P: Contract> Envelope<P> {
    /// An event of `source` that happens now.
    pub fn new(clock: &dyn Clock, source: impl Into<String>, data: P) -> Self {
        let occurred_at = clock.now();
        Self { id: EventId::at(occurred_at), source: source.into(), occurred_at, traceparent: None, data }
    }

    /// The same event within a trace.
    #[must_use]
    pub fn traced(self, traceparent: Option<String>) -> Self {
        Self { traceparent, ..self }
    }

    /// The event as a broker carries it. The body holds the whole envelope, so that it means the same in a file, in the
    /// outbox and in a queue; the headers repeat what operators filter by.
    ///
    /// # Panics
    /// Never for the contracts of this crate: their maps have text keys, the only thing that JSON can refuse.
    pub fn to_message(&self) -> Message {
        let written = Written {
            id: self.id,
            r#type: P::KIND,
            version: P::VERSION,
            source: &self.source,
            occurred_at: self.occurred_at,
            traceparent: self.traceparent.as_deref(),
            data: &self.data,
        };
        let body = serde_json::to_vec(&written).expect("a contract has text keys alone, so it is always JSON");
        let mut headers = BTreeMap::from([(headers::VERSION.to_owned(), P::VERSION.to_string())]);
        if let Some(traceparent) = &self.traceparent {
            headers.insert(headers::TRACEPARENT.to_owned(), traceparent.clone());
        }
        Message {
            id: self.id.to_message_id(),
            kind: P::KIND.to_owned(),
            timestamp: self.occurred_at,
            content_type: "application/json".to_owned(),
            headers,
            transient: false,
            body: Bytes::from(body),
        }
    }

    /// Reads a message whose type and version say that it is a `P`, upgrading an older version.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_message(message: &Message) -> Result<Self, DecodeError> {
        let version = message.version();
        if message.kind != P::KIND || version.is_none() {
            return Err(DecodeError::Unknown { kind: message.kind.clone(), version });
        }
        Self::of_version(version.unwrap_or_default(), &message.body)
    }

    /// Reads a body alone, where there are no headers: an announcement, a line of a file.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn from_body(body: &[u8]) -> Result<Self, DecodeError> {
        let Named { kind, version } = parse(body)?;
        if kind != P::KIND {
            return Err(DecodeError::Unknown { kind, version: Some(version) });
        }
        Self::of_version(version, body)
    }

    fn of_version(version: u32, body: &[u8]) -> Result<Self, DecodeError> {
        if version == P::VERSION {
            return parse(body);
        }
        let old: Envelope<serde_json::Value> = parse(body)?;
        let data = P::upgrade(version, old.data)?;
        Ok(Self { id: old.id, source: old.source, occurred_at: old.occurred_at, traceparent: old.traceparent, data })
    }
}

/// What a body says that it is.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| DecodeError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use model::ManualClock;

    use super::*;
    use crate::catalogue::{Band, StockChanged};

    fn event() -> Envelope<StockChanged> {
        let data =
            StockChanged { region: "eu".parse().unwrap(), sku: "MUG".parse().unwrap(), band: Band::Low, version: 3 };
        Envelope::new(&ManualClock::at(DateTime::UNIX_EPOCH), "checkout", data)
            .traced(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()))
    }

    #[test]
    fn an_event_is_read_back_from_its_message_as_it_was() {
        let message = event().to_message();
        assert_eq!(message.id.as_str(), event_id(&message));
        assert_eq!(Envelope::<StockChanged>::from_message(&message).unwrap().to_message(), message);
    }

    fn event_id(message: &Message) -> String {
        serde_json::from_slice::<serde_json::Value>(&message.body).unwrap()["id"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_newer_version_is_unknown_and_a_broken_body_is_malformed() {
        let mut message = event().to_message();
        message.headers.insert(headers::VERSION.to_owned(), "99".to_owned());
        assert!(matches!(Envelope::<StockChanged>::from_message(&message), Err(DecodeError::Unknown { .. })));

        let mut message = event().to_message();
        message.body = message.body.slice(..message.body.len() - 1);
        assert!(matches!(Envelope::<StockChanged>::from_message(&message), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn a_body_alone_says_what_it_is() {
        let message = event().to_message();
        let body = message.body.clone();
        assert_eq!(Envelope::<StockChanged>::from_body(&body), Envelope::from_message(&message));
        let other = Envelope::<crate::catalogue::ProductChanged>::from_body(&body);
        assert!(matches!(other, Err(DecodeError::Unknown { .. })));
        let newer = String::from_utf8(body.to_vec()).unwrap().replace("\"version\":1,", "\"version\":99,");
        assert!(matches!(Envelope::<StockChanged>::from_body(newer.as_bytes()), Err(DecodeError::Unknown { .. })));
        assert!(matches!(Envelope::<StockChanged>::from_body(b"{}"), Err(DecodeError::Malformed(_))));
    }

    #[test]
    fn an_unknown_field_of_a_newer_writer_is_tolerated() {
        let mut message = event().to_message();
        let body = String::from_utf8(message.body.to_vec()).unwrap().replace("\"band\"", "\"colour\":\"red\",\"band\"");
        message.body = Bytes::from(body);
        assert!(Envelope::<StockChanged>::from_message(&message).is_ok());
    }
}
