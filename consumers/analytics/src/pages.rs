//! Page events: each counted once, by its source and `messageId`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use events::{DecodeError, Envelope, PageBatch, PageEvent, PageEventKind};
use model::{Clock, Message};
use sea_orm::DbErr;
use store::{Database, Transaction};
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::config::Counting;
use crate::labels::{Labels, clean};
use crate::sketch::Sketch;
use crate::sql::{Column, Written, advance, commit, failed, minute, with_rows};
use crate::visitors::{self, VisitorsKey};

/// Handler of the queue of page batches.
pub struct Pages {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    counting: Counting,
    labels: Mutex<(Labels, Labels)>,
}

/// Market, minute, path, campaign.
type ViewsKey = (String, DateTime<Utc>, String, String);
/// Views, and events of every kind.
type Views = (i64, i64);

/// Rows of a batch, in the order that everybody locks them in.
#[derive(Default)]
struct Counted {
    views: BTreeMap<ViewsKey, Views>,
    visitors: BTreeMap<VisitorsKey, Sketch>,
    through: BTreeMap<String, DateTime<Utc>>,
}

impl Pages {
    /// A handler that counts into `database`.
    pub fn new(database: Arc<Database>, clock: Arc<dyn Clock>, counting: Counting) -> Self {
        let labels = (Labels::new(counting.max_paths), Labels::new(counting.max_campaigns));
        Self { database, clock, counting, labels: Mutex::new(labels) }
    }

    async fn count(&self, batches: &[&PageBatch]) -> Result<Written, DbErr> {
        let keys = batches.iter().flat_map(|batch| batch.events.iter().map(|event| key(batch, event)));
        let keys: BTreeSet<(&str, &str)> = keys.collect();
        if keys.is_empty() {
            return Ok(Written::default());
        }
        let tx = self.database.begin().await?;
        let new = self.insert_new(&tx, &keys).await?;
        let mut rows = new.len();
        let repeated = keys.len() - new.len();
        let counted = self.roll_up(batches, new);
        rows += counted.views.len();
        self.add_views(&tx, counted.views).await?;
        rows += visitors::add(&tx, &self.database, &counted.visitors).await?;
        let feeds = counted.through.into_iter().map(|(market, time)| (format!("pages/{market}"), time));
        rows += advance(&tx, &self.database, feeds).await?;
        let written = commit(tx, rows).await?;
        tracing::debug!(analytics.events = keys.len(), analytics.repeated = repeated, "counted page events");
        Ok(written)
    }

    /// Remembers every event, and returns those that nobody remembered before. A concurrent transaction with one of them
    /// is waited for; as all take their rows in the same order, none waits for a waiter.
    async fn insert_new(
        &self,
        tx: &Transaction,
        keys: &BTreeSet<(&str, &str)>,
    ) -> Result<HashSet<(String, String)>, DbErr> {
        let (sources, ids) = keys.iter().map(|(source, id)| ((*source).to_owned(), (*id).to_owned())).unzip();
        let before = "INSERT INTO page_events_seen (source, message_id)";
        let after = "ON CONFLICT DO NOTHING RETURNING source, message_id";
        let rows = with_rows(tx, &self.database, before, vec![Column::Text(sources), Column::Text(ids)], after).await?;
        if failpoint::broken!(CountTwice) {
            return Ok(keys.iter().map(|(source, id)| ((*source).to_owned(), (*id).to_owned())).collect());
        }
        rows.into_iter().map(|row| Ok((row.try_get("", "source")?, row.try_get("", "message_id")?))).collect()
    }

    /// Adds up what is new. An event that the batch holds twice is taken out of `new` by the first of the two.
    fn roll_up(&self, batches: &[&PageBatch], mut new: HashSet<(String, String)>) -> Counted {
        let mut counted = Counted::default();
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        let (paths, campaigns) = &mut *labels;
        for batch in batches {
            let market = batch.market.as_str();
            let minute = minute(batch.received_at);
            for event in &batch.events {
                let (source, id) = key(batch, event);
                if !new.remove(&(source.to_owned(), id.to_owned())) {
                    continue;
                }
                let path = clean(event.path.as_deref(), self.counting.max_path_bytes);
                let path = paths.admit(market, minute, path);
                let campaign = clean(event.campaign.as_deref(), self.counting.max_campaign_bytes);
                let campaign = campaigns.admit(market, minute, campaign);
                let key = (market.to_owned(), minute, campaign.clone());
                counted.visitors.entry(key).or_default().add(&event.visitor);
                let row = counted.views.entry((market.to_owned(), minute, path, campaign)).or_default();
                row.0 += i64::from(is_view(event));
                row.1 += 1;
            }
            let through = counted.through.entry(market.to_owned()).or_insert(batch.received_at);
            *through = batch.received_at.max(*through);
        }
        counted
    }

    async fn add_views(&self, tx: &Transaction, rows: BTreeMap<ViewsKey, Views>) -> Result<(), DbErr> {
        let (mut markets, mut minutes, mut paths, mut campaigns) = (vec![], vec![], vec![], vec![]);
        let (mut views, mut events) = (vec![], vec![]);
        for ((market, minute, path, campaign), (seen, all)) in rows {
            markets.push(market);
            minutes.push(minute);
            paths.push(path);
            campaigns.push(campaign);
            views.push(seen);
            events.push(all);
        }
        let columns = vec![
            Column::Text(markets),
            Column::Time(minutes),
            Column::Text(paths),
            Column::Text(campaigns),
            Column::Number(views),
            Column::Number(events),
        ];
        let before = "INSERT INTO page_rollups_minute (market, minute, path, campaign, views, events)";
        let after = "ON CONFLICT (market, minute, path, campaign) DO UPDATE SET \
                     views = page_rollups_minute.views + excluded.views, \
                     events = page_rollups_minute.events + excluded.events";
        with_rows(tx, &self.database, before, columns, after).await?;
        Ok(())
    }
}

/// What makes an event the same one.
fn key<'a>(batch: &'a PageBatch, event: &'a PageEvent) -> (&'a str, &'a str) {
    (&batch.source, event.message_id.as_str())
}

fn is_view(event: &PageEvent) -> bool {
    matches!(event.kind, PageEventKind::Page | PageEventKind::Screen)
}

impl Handler for Pages {
    type Event = Envelope<PageBatch>;

    fn decode(&self, message: &Message) -> Result<Self::Event, DecodeError> {
        Envelope::from_message(message)
    }

    /// Counts the events of the batch in one transaction. What was received before ids are kept is settled without being
    /// counted: whether it was counted before can't be known any more.
    async fn handle(&self, batch: &[Item<Self::Event>]) -> Result<Handled, BatchError> {
        let oldest = self.clock.now() - self.counting.keep_ids();
        let (fresh, old): (Vec<_>, Vec<_>) =
            batch.iter().map(|item| &item.event.data).partition(|batch| batch.received_at >= oldest);
        if !old.is_empty() {
            let events: usize = old.iter().map(|batch| batch.events.len()).sum();
            tracing::warn!(analytics.skipped = events, "page events are too old to be counted once: they are skipped");
        }
        let written = self.count(&fresh).await.map_err(failed)?;
        Ok(written.handled(vec![Verdict::Done; batch.len()]))
    }

    async fn probe(&self) -> Result<(), String> {
        self.database.probe().await.map_err(|error| error.to_string())
    }
}
