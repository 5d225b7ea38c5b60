//! The queue's handler.

use std::sync::Arc;

use cache::Cache;
use events::{Contract as _, DecodeError, Envelope, StockChanged, StockShortfall};
use model::Message;
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::change::{Change, purges};
use crate::coalesce::Coalescer;

/// Asks for purges of what changed, and waits until they are done.
pub(crate) struct Invalidation {
    cache: Arc<Cache>,
    coalescer: Arc<Coalescer>,
}

impl Invalidation {
    pub(crate) fn new(cache: Arc<Cache>, coalescer: Arc<Coalescer>) -> Self {
        Self { cache, coalescer }
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
        if failpoint::broken!(PurgeDropped) {
            return Ok(vec![Verdict::Done; batch.len()].into());
        }
        // A message that came back often is handled alone, and all others wait for it: it may not wait, too.
        let alone = matches!(batch, [item] if item.redelivered);
        // What came before may be purged, and the process that did it gone before anybody heard.
        let again = purges(batch.iter().filter(|item| item.redelivered).map(|item| &item.event));
        let owed = again.into_iter().map(|purge| purge.tag).collect();
        for told in self.coalescer.ask(purges(batch.iter().map(|item| &item.event)), alone, owed) {
            // A sender that is gone takes the role with it; the batch comes again.
            let told = told.await.unwrap_or_else(|_| Err("nobody purges any more".to_owned()));
            told.map_err(BatchError::Infrastructure)?;
        }
        Ok(vec![Verdict::Done; batch.len()].into())
    }

    async fn probe(&self) -> Result<(), String> {
        if self.cache.is_available() { Ok(()) } else { Err("the cache is not reachable".to_owned()) }
    }
}
