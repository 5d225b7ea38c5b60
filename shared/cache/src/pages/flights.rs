//! One at a time looks after a page; the others wait for what comes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::held::Held;
use super::key::PageKey;
use super::page::PageError;

/// What came of looking after a page.
pub(crate) type Outcome = Result<Arc<Held>, PageError>;

type Landing = watch::Receiver<Option<Outcome>>;

/// Pages that are looked after now.
#[derive(Debug, Clone)]
pub(crate) struct Flights {
    at_most: usize,
    under_way: Arc<Mutex<HashMap<PageKey, Landing>>>,
}

/// Whoever looks after a page has this. Dropped without an outcome, because the task panicked or was ended, it says so.
#[derive(Debug)]
pub(crate) struct Flight {
    key: PageKey,
    tell: watch::Sender<Option<Outcome>>,
    flights: Flights,
}

/// A place to wait.
#[derive(Debug)]
pub(crate) struct Waiting(Landing);

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Joined {
    /// Nobody looks after it: the reader has to.
    First(Flight),
    /// Somebody does.
    Waiting(Waiting),
    /// Too many pages are looked after.
    Full,
}

impl Flights {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { at_most: at_most.max(1), under_way: Arc::default() }
    }

    /// `is_held`: the page is there, and has to be seen current. Of those as many again may be looked after, so that strangers who
    /// ask for what nobody knows do not keep it from being.
    pub(crate) fn join(&self, key: &PageKey, is_held: bool) -> Joined {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = under_way.get(key) {
            return Joined::Waiting(Waiting(landing.clone()));
        }
        let at_most = if is_held { self.at_most.saturating_mul(2) } else { self.at_most };
        if under_way.len() >= at_most {
            return Joined::Full;
        }
        let (tell, landing) = watch::channel(None);
        under_way.insert(key.clone(), landing);
        Joined::First(Flight { key: key.clone(), tell, flights: self.clone() })
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Flight {
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.tell.subscribe())
    }

    /// Tells everybody. Who comes from now on begins anew, or finds what is held by now.
    pub(crate) fn lands(self, outcome: Outcome) {
        self.tell.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.tell.send_if_modified(|outcome| {
            let lost = outcome.is_none();
            if lost {
                *outcome = Some(Err(PageError::Panicked));
            }
            lost
        });
    }
}

impl Waiting {
    pub(crate) async fn outcome(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(PageError::Panicked)),
            Err(_) => Err(PageError::Panicked),
        }
    }
}
