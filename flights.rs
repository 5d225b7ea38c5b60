//! One fill at a time for each page of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::held::Held;
use super::key::PageKey;
use super::page::PageError;

/// How a fill ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// With a page: one seen current, or rendered.
    Filled(Arc<Held>),
    /// Nobody could say whether the page is current, and it was seen so not long ago.
    Unsaid(Arc<Held>),
    /// With none.
    Failed(PageError),
}

/// The fills that run, at most so many.
#[derive(Debug)]
pub(crate) struct Flights {
    at_most: usize,
    running: Mutex<HashMap<PageKey, watch::Receiver<Option<Outcome>>>>,
}

/// What a reader finds who wants a page filled.
pub(crate) enum Joined {
    /// A fill that runs.
    Running(watch::Receiver<Option<Outcome>>),
    /// It is to start one; others find it running from here on.
    Started(Landing, watch::Receiver<Option<Outcome>>),
    /// Too many run.
    Full,
    /// One that has just ended left this.
    Ended(Arc<Held>),
}

impl Flights {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { at_most: at_most.max(1), running: Mutex::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Joins the fill of `key`, or begins one. `recheck` looks for what a fill left that ended since the caller looked: a
    /// fill keeps its page before it is gone from here, so that none is rendered twice.
    pub(crate) fn join(self: &Arc<Self>, key: &PageKey, recheck: impl FnOnce() -> Option<Arc<Held>>) -> Joined {
        let mut running = self.lock();
        if let Some(flight) = running.get(key) {
            return Joined::Running(flight.clone());
        }
        if let Some(held) = recheck() {
            return Joined::Ended(held);
        }
        if running.len() >= self.at_most {
            return Joined::Full;
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(key.clone(), receiver.clone());
        Joined::Started(Landing { flights: Arc::clone(self), key: key.clone(), sender }, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PageKey, watch::Receiver<Option<Outcome>>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a fill, also one that panics or is aborted: its readers then find that nobody will answer.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    key: PageKey,
    sender: watch::Sender<Option<Outcome>>,
}

impl Landing {
    /// Tells everybody who waits.
    pub(crate) fn end(self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

/// The end of a fill.
pub(crate) async fn ended(mut flight: watch::Receiver<Option<Outcome>>) -> Outcome {
    match flight.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Outcome::Failed(PageError::Panicked)),
        Err(_) => Outcome::Failed(PageError::Panicked),
    }
}
