//! From a publish's outcome to an answer.

use axum::http::StatusCode;
use broker::PublishError;
use flow::Reason;
use service::{Kind, Problem, kinds};

use crate::meters::Outcome;
use crate::pressure;

const fn unavailable(code: &'static str) -> Kind {
    Kind::new(StatusCode::SERVICE_UNAVAILABLE, code, "This can't be taken right now")
}

/// No connection to the broker.
const BROKER_UNAVAILABLE: Kind = unavailable("broker_unavailable");
/// The broker has a resource alarm.
const BROKER_BLOCKED: Kind = unavailable("broker_blocked");
/// Too many confirms are awaited.
const BROKER_SATURATED: Kind = unavailable("broker_saturated");
/// The queue is full.
const QUEUE_FULL: Kind = unavailable("queue_full");
/// The confirm did not come.
const OUTCOME_UNKNOWN: Kind = unavailable("outcome_unknown");
/// The topology is damaged.
const UNROUTABLE: Kind = unavailable("unroutable");

/// The queues are not declared yet.
const STARTING: Kind = unavailable("starting");

/// The answer to a publish that is not known to be durable. `again` says how it is sent again safely.
pub(crate) fn problem(error: &PublishError, again: &str) -> Problem {
    // Base seconds: how long such a state usually lasts at least.
    let (kind, what, seconds) = match error {
        PublishError::Unavailable => (BROKER_UNAVAILABLE, "the queue is not reachable", 2),
        PublishError::Blocked(_) => (BROKER_BLOCKED, "the queue takes nothing because of a resource alarm", 5),
        PublishError::Saturated => (BROKER_SATURATED, "too much is on its way to the queue", 1),
        PublishError::Refused(_) => (QUEUE_FULL, "the queue is full, or not available", 5),
        PublishError::Unknown => {
            (OUTCOME_UNKNOWN, "the queue did not confirm in time, so it is not known whether this was stored", 1)
        }
        PublishError::Unroutable => {
            tracing::error!(
                "a publish found no queue: the broker's topology is damaged; restart the ingress to declare it again"
            );
            (UNROUTABLE, "the queue is missing", 5)
        }
        PublishError::TooLarge(_) => {
            return Problem::new(kinds::TOO_LARGE, "this is larger than the queue takes");
        }
    };
    Problem::new(kind, format!("{what}; {again}")).retry_after(seconds)
}

/// The answer when as much is in flight as is allowed.
pub(crate) fn full(what: &str, again: &str) -> Problem {
    Problem::new(
        kinds::REDUCED_CAPACITY,
        format!("as many {what} are being taken as this process may take at once; {again}"),
    )
    .retry_after(1)
}

/// The answer to what is shed; `seconds` are those after which it is worth asking again.
pub(crate) fn overloaded(reason: Reason, seconds: u32, again: &str) -> Problem {
    let why = pressure::words(reason);
    Problem::new(kinds::REDUCED_CAPACITY, format!("{why}; {again}")).retry_after(seconds)
}

/// The answer while the queues are not declared.
pub(crate) fn starting(again: &str) -> Problem {
    Problem::new(STARTING, format!("the queues are not declared yet; {again}")).retry_after(2)
}

/// What became of a request that was answered with `problem`. Shed is what nothing was sent of: it costs its client a
/// retry, and this process nearly nothing.
pub(crate) fn outcome(problem: &Problem) -> Outcome {
    const SHED: [Kind; 5] = [STARTING, BROKER_UNAVAILABLE, BROKER_BLOCKED, BROKER_SATURATED, kinds::REDUCED_CAPACITY];
    if problem.kind().status.is_client_error() {
        Outcome::Refused
    } else if SHED.contains(&problem.kind()) {
        Outcome::Shed
    } else {
        Outcome::Failed
    }
}
