//! What a message does to the handler, and so what must become of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use chrono::DateTime;
use model::{Message, MessageId};
use proptest::prelude::*;

/// Failures that park; the worker's default.
pub(crate) const PARKS_AT: u32 = 8;

/// What a message does. A number says for how many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Takes effect.
    Good,
    /// Not now, and then takes effect.
    Later(u32),
    /// Panics, and then takes effect.
    Panics(u32),
    /// Meets a lock, and then takes effect.
    Locked(u32),
    /// Never comes back.
    Hangs,
    /// Fails its whole batch.
    Poison,
    /// Is refused by itself.
    Refused,
    /// Can't be read.
    Malformed,
    /// Is not known before an upgrade.
    Unknown,
    /// Takes the process down.
    Aborts,
}

/// What must become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its effect is there.
    Effect,
    /// It is parked, and the reason begins like this and says that.
    Parked(String, &'static str),
}

impl Kind {
    pub(crate) fn any() -> impl Strategy<Value = Self> + Clone {
        prop_oneof![
            12 => Just(Self::Good),
            2 => (1..PARKS_AT + 3).prop_map(Self::Later),
            2 => (1..PARKS_AT + 3).prop_map(Self::Panics),
            1 => (1..PARKS_AT + 3).prop_map(Self::Locked),
            1 => Just(Self::Hangs),
            2 => Just(Self::Poison),
            1 => Just(Self::Refused),
            1 => Just(Self::Malformed),
            1 => Just(Self::Unknown),
            1 => Just(Self::Aborts),
        ]
    }

    /// Whatever else happens: nothing from outside may change it.
    pub(crate) fn fate(self) -> Fate {
        let gave_up = |word| Fate::Parked(format!("failed {PARKS_AT} times"), word);
        match self {
            Self::Later(times) if times >= PARKS_AT => gave_up("later"),
            Self::Panics(times) if times >= PARKS_AT => gave_up("panicked"),
            Self::Hangs => gave_up("hung"),
            Self::Poison => Fate::Parked("poison".to_owned(), "22003"),
            Self::Refused => Fate::Parked("poison".to_owned(), "no such thing"),
            Self::Malformed => Fate::Parked("malformed".to_owned(), "not a thing"),
            Self::Aborts => Fate::Parked("crashing".to_owned(), "redelivered"),
            Self::Good | Self::Later(_) | Self::Panics(_) | Self::Locked(_) | Self::Unknown => Fate::Effect,
        }
    }

    /// As the body of message number `number`.
    pub(crate) fn message(self, number: usize) -> Message {
        Message {
            id: id(number),
            kind: "thing.happened".to_owned(),
            timestamp: DateTime::UNIX_EPOCH,
            content_type: "text/plain".to_owned(),
            headers: BTreeMap::new(),
            transient: false,
            body: Bytes::from(self.to_string()),
        }
    }

    pub(crate) fn of(message: &Message) -> Self {
        std::str::from_utf8(&message.body).ok().and_then(|body| body.parse().ok()).expect("a body of this test's own")
    }
}

pub(crate) fn id(number: usize) -> MessageId {
    format!("m-{number}").parse().expect("a message id")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, times) = match self {
            Self::Good => ("good", 0),
            Self::Later(times) => ("later", *times),
            Self::Panics(times) => ("panics", *times),
            Self::Locked(times) => ("locked", *times),
            Self::Hangs => ("hangs", 0),
            Self::Poison => ("poison", 0),
            Self::Refused => ("refused", 0),
            Self::Malformed => ("malformed", 0),
            Self::Unknown => ("unknown", 0),
            Self::Aborts => ("aborts", 0),
        };
        write!(f, "{word} {times}")
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (word, times) = text.split_once(' ').ok_or(())?;
        let times = times.parse().map_err(|_error| ())?;
        Ok(match word {
            "good" => Self::Good,
            "later" => Self::Later(times),
            "panics" => Self::Panics(times),
            "locked" => Self::Locked(times),
            "hangs" => Self::Hangs,
            "poison" => Self::Poison,
            "refused" => Self::Refused,
            "malformed" => Self::Malformed,
            "unknown" => Self::Unknown,
            "aborts" => Self::Aborts,
            _ => return Err(()),
        })
    }
}
