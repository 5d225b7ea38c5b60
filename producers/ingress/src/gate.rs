//! What stands before a class of requests: whether it is taken at all, and how much of it at once.
//!
//! Everything here answers without waiting. The order is that of cost: what needs no body is asked before the body is
//! read, so that whoever is shed uploads nothing and is answered at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::Response;
use broker::{Broker, BrokerState, PublishError};
use bytes::Bytes;
use flow::Class;
use service::Problem;
use service::metrics::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::intake::{self, Limits};
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
    /// Of the messages that were published lately, bytes; 0: none was.
    mean: AtomicU64,
    pub(crate) meters: Meters,
}

/// How much of a class may be in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
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
            mean: AtomicU64::new(0),
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
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Held, Problem> {
        let mut bytes: Option<OwnedSemaphorePermit> = None;
        let read = intake::read(headers, body, limits, |more| {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&self.bytes).try_acquire_many_owned(more) else {
                return self.shed(Why::HeldBytes, full(self.what, self.again));
            };
            match &mut bytes {
                Some(held) => held.merge(permit),
                None => bytes = Some(permit),
            }
            Ok(())
        });
        let body = read.await?;
        Ok(Held { body, bytes })
    }

    /// A place among what is in flight, for a body that is there: a body may take as long as `body_timeout_ms`, and a few
    /// hundred slow ones would close the intake for everybody. While they come, their bytes are what bounds them.
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

    /// A message of so many bytes is published.
    pub(crate) fn sized(&self, bytes: usize) {
        let (bytes, mean) = (bytes as u64, self.mean.load(Ordering::Relaxed));
        // An eighth of the way each time. Two at once may overwrite each other: it is an estimate.
        let moved = if mean == 0 { bytes } else { (mean * 7 + bytes) / 8 };
        self.mean.store(moved.max(1), Ordering::Relaxed);
    }

    /// The mean size of a message, where one was published.
    pub(crate) fn mean_bytes(&self) -> Option<u64> {
        Some(self.mean.load(Ordering::Relaxed)).filter(|mean| *mean > 0)
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
