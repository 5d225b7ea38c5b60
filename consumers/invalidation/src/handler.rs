//! The queue's handler.

use std::sync::Arc;

use cache::Cache;
use events::{Contract as _, DecodeError, Envelope, StockChanged, StockShortfall};
use model::Message;
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::change::{Change, purges};

/// Purges the tags of what changed.
#[derive(Debug)]
pub struct Invalidation {
    cache: Arc<Cache>,
}

impl Invalidation {
    /// A handler that purges in `cache`.
    pub fn new(cache: Arc<Cache>) -> Self {
        Self { cache }
    }
}

impl Handler for Invalidation {
    type Event = Change;

    fn decode(&self, message: &Message) -> Result<Change, DecodeError> {
        match message.kind.as_str() {
            StockChanged::KIND => Ok(Change::Stock(Envelope::from_message(message)?.data)),
            StockShortfall::KIND => Ok(Change::Shortfall(Envelope::from_message(message)?.data)),
            // Any other kind than a product's change is unknown to the envelope too.
            _ => Ok(Change::Product(Envelope::from_message(message)?.data)),
        }
    }

    async fn handle(&self, batch: &[Item<Change>]) -> Result<Handled, BatchError> {
        let purges = purges(batch.iter().map(|item| &item.event));
        let newer = self.cache.purge(&purges).await.map_err(|error| BatchError::Infrastructure(error.to_string()))?;
        let done = newer.iter().filter(|newer| **newer).count();
        tracing::debug!(invalidation.purged = done, invalidation.older = newer.len() - done, "purged tags");
        Ok(vec![Verdict::Done; batch.len()].into())
    }

    async fn probe(&self) -> Result<(), String> {
        if self.cache.is_available() { Ok(()) } else { Err("the cache is not reachable".to_owned()) }
    }
}
