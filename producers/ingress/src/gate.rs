//! What stands before a class of requests: whether it is taken at all, and how much of it at once.
//!
//! Everything here answers without waiting. The order is that of cost: what needs no body is asked before the body is
//! read, so that whoever is shed uploads nothing and is answered at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use broker::{Broker, BrokerState, PublishError};
use bytes::Bytes;
use flow::Class;
use service::Problem;
use service::metrics::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::intake::{self, Limits};
use crate::mean::Mean;
use crate::meters::{Meters, Why};
use crate::publish::{self, full, overloaded, starting};
use crate::valve::Valve;

/// One class's door.
pub(crate) struct Gate {
    /// What the class takes, in its 503s.
    what: &'static str,
    /// How it is sent again, in its 503s.
    again: &'static str,
    broker: Arc<dyn Broker>,
    /// Whether its queues are declared: before, a publish could find none, and a confirm would be of a message that nobody
    /// keeps.
    declared: AtomicBool,
    slots: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    max_bytes: usize,
    /// Of `bytes`, what bodies may take that are still on their way.
    reading: Arc<Semaphore>,
    /// Of the messages that were published lately.
    pub(crate) mean: Mean,
    pub(crate) meters: Meters,
}

/// How much of a class may be in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
    /// The largest body, bytes: one of them fits always.
    pub(crate) body: usize,
}

/// A request's share of what may be in flight, given back when it is dropped: with the publish, not with the handler.
#[derive(Debug)]
pub(crate) struct Place {
    _slot: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
}

/// A body and the bytes that it takes of the class's budget.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) body: Bytes,
    bytes: Option<OwnedSemaphorePermit>,
}

impl Gate {
    pub(crate) fn new(
        class: Class,
        (what, again): (&'static str, &'static str),
        bounds: Bounds,
        broker: &Arc<dyn Broker>,
        metrics: &Metrics,
    ) -> Self {
        let (slots, bytes) = (Arc::new(Semaphore::new(bounds.requests)), Arc::new(Semaphore::new(bounds.bytes)));
        let meters = Meters::new(class, metrics);
        meters.show_in_flight((&slots, bounds.requests), (&bytes, bounds.bytes));
        Self {
            what,
            again,
            broker: Arc::clone(broker),
            declared: AtomicBool::new(false),
            slots,
            bytes,
            max_bytes: bounds.bytes,
            reading: Arc::new(Semaphore::new((bounds.bytes / 2).max(bounds.body))),
            mean: Mean::default(),
            meters,
        }
    }

    /// Its queues are there.
    pub(crate) fn declared(&self) {
        self.declared.store(true, Ordering::Release);
    }

    /// Whether a request of the class would be tried now; `valve` is that of the queue that it goes to. Asked before its
    /// body is read.
    pub(crate) fn admit(&self, valve: &Valve) -> Result<(), Problem> {
        if !self.declared.load(Ordering::Acquire) {
            return self.shed(Why::Starting, starting(self.again));
        }
        // A publish would say the same, but only once the body is there.
        match self.broker.state() {
            BrokerState::Ready => {}
            BrokerState::Blocked => {
                return self.shed(Why::Alarm, self.failed(&PublishError::Blocked(String::new())));
            }
            BrokerState::Disconnected => {
                return self.shed(Why::Disconnected, self.failed(&PublishError::Unavailable));
            }
        }
        if let Some((reason, seconds)) = valve.shut() {
            return self.shed(reason.into(), overloaded(reason, seconds, self.again));
        }
        if self.slots.available_permits() == 0 {
            return self.shed(Why::InFlight, full(self.what, self.again));
        }
        if self.bytes.available_permits() == 0 {
            return self.shed(Why::HeldBytes, full(self.what, self.again));
        }
        Ok(())
    }

    fn shed<T>(&self, why: Why, problem: Problem) -> Result<T, Problem> {
        self.meters.shed(why);
        Err(problem)
    }

    /// Reads the body; each piece takes of the class's budget of bytes, and where that is spent the answer is 503 at once.
    ///
    /// A body may stay on its way for as long as `body_timeout_ms`, so all that do share half of the budget: slow ones, or
    /// such as inflate, fill that half and no more. A body whose one piece is all that `Content-Length` announced (an
    /// ordinary order) is complete as it comes, and takes nothing of that half.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Held, Problem> {
        // The server holds bodies to it. A compressed one has none: the layer that inflates takes the header away.
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let (mut bytes, mut reading) = (None, None);
        let read = intake::read(headers, body, limits, |more| {
            let whole = bytes.is_none() && announced == Some(more);
            if (whole || take(&self.reading, more, &mut reading)) && take(&self.bytes, more, &mut bytes) {
                Ok(())
            } else {
                self.shed(Why::HeldBytes, full(self.what, self.again))
            }
        });
        let body = read.await?;
        // It is complete: others may be on their way.
        drop(reading);
        Ok(Held { body, bytes })
    }

    /// A place among what is in flight, for a body that is there: a few hundred slow ones would else take all places for
    /// as long as `body_timeout_ms`. While they come, their half of the bytes is what bounds them.
    pub(crate) fn place(&self, held: Held) -> Result<Place, Problem> {
        match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => Ok(Place { _slot: slot, _bytes: held.bytes }),
            Err(_none_left) => self.shed(Why::InFlight, full(self.what, self.again)),
        }
    }

    /// The state of the broker that it feeds.
    pub(crate) fn broker_state(&self) -> BrokerState {
        self.broker.state()
    }

    /// Bytes of bodies in flight.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.max_bytes.saturating_sub(self.bytes.available_permits()) as u64
    }

    /// The answer to a publish that is not known to be durable.
    pub(crate) fn failed(&self, error: &PublishError) -> Problem {
        publish::problem(error, self.again)
    }

    /// Counts what became of a request.
    pub(crate) fn count(&self, answer: Result<Response, Problem>) -> Result<Response, Problem> {
        match &answer {
            Ok(_) => self.meters.accepted(),
            Err(problem) => self.meters.not_accepted(publish::outcome(problem), problem),
        }
        answer
    }
}

/// Takes so many bytes of a budget, added to what is `held` of it already; false where they are not left.
fn take(budget: &Arc<Semaphore>, bytes: usize, held: &mut Option<OwnedSemaphorePermit>) -> bool {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    let Ok(permit) = Arc::clone(budget).try_acquire_many_owned(bytes) else {
        return false;
    };
    match held {
        Some(held) => held.merge(permit),
        None => *held = Some(permit),
    }
    true
}
