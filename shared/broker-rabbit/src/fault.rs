//! What a failed call means.

use lapin::ErrorKind;

/// AMQP 0-9-1 reply codes (section 1.2 of the specification).
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// Why a call failed, as far as it matters what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The exchange or queue is not there.
    NotFound,
    /// It is there with other arguments; RabbitMQ's words.
    Precondition(String),
    /// The user may not; RabbitMQ's words.
    Refused(String),
    /// The connection or the channel is of no use any more.
    Lost(String),
}

impl Fault {
    pub(crate) fn timed_out(what: &str) -> Self {
        Self::Lost(format!("{what} was not answered in time"))
    }
}

impl From<lapin::Error> for Fault {
    fn from(error: lapin::Error) -> Self {
        let ErrorKind::ProtocolError(amqp) = error.kind() else {
            return Self::Lost(error.to_string());
        };
        let words = amqp.get_message().to_string();
        match amqp.get_id() {
            NOT_FOUND => Self::NotFound,
            PRECONDITION_FAILED => Self::Precondition(words),
            ACCESS_REFUSED => Self::Refused(words),
            _ => Self::Lost(error.to_string()),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("it does not exist"),
            Self::Precondition(words) | Self::Refused(words) | Self::Lost(words) => f.write_str(words),
        }
    }
}
