//! Outcomes of orders: revenue and rejections, each order once; and what was taken back of them, each time once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use events::{
    Contract as _, DecodeError, Envelope, OrderConfirmed, OrderOutcomes, OrderRefunded, OrderRejected, OrderReleased,
    Rejection,
};
use model::{Message, OrderId};
use sea_orm::DbErr;
use store::{Database, Transaction};
use uuid::Uuid;
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::config::Counting;
use crate::labels::{Labels, clean};
use crate::sql::{Column, Written, advance, commit, failed, minute, with_rows};

/// How an order ended, or what was taken back of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Confirmed(OrderConfirmed),
    /// It will not be fulfilled.
    Rejected(OrderRejected),
    /// Its units were given back. May be told before the confirmation is: sums do not ask for the order of things.
    Released(OrderReleased),
    /// Lines of it were paid back.
    Refunded(OrderRefunded),
}

/// Handler of the queue of outcomes.
pub struct Orders {
    database: Arc<Database>,
    counting: Counting,
    campaigns: Mutex<Labels>,
}

/// What an outcome adds to its row.
#[derive(Default)]
struct Row {
    orders: i64,
    units: i64,
    revenue_minor: i64,
    rejected: i64,
}

/// Market, minute, campaign, currency.
type RowKey = (String, DateTime<Utc>, String, String);

impl Outcome {
    fn order_id(&self) -> OrderId {
        match self {
            Self::Confirmed(order) => order.order_id,
            Self::Rejected(order) => order.order_id,
            Self::Released(order) => order.order_id,
            Self::Refunded(order) => order.order_id,
        }
    }

    /// What it took back of the order, by a name that is unique for the order; none where it is how the order ended.
    fn taken_back(&self) -> Option<String> {
        match self {
            Self::Confirmed(_) | Self::Rejected(_) => None,
            Self::Released(_) => Some(OrderReleased::TAKES_BACK.to_owned()),
            Self::Refunded(order) => Some(order.takes_back()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => OrderConfirmed::KIND,
            Self::Rejected(_) => OrderRejected::KIND,
            Self::Released(_) => OrderReleased::KIND,
            Self::Refunded(_) => OrderRefunded::KIND,
        }
    }

    fn market(&self) -> &str {
        match self {
            Self::Confirmed(order) => order.market.as_str(),
            Self::Rejected(order) => order.market.as_str(),
            Self::Released(order) => order.market.as_str(),
            Self::Refunded(order) => order.market.as_str(),
        }
    }

    /// A rejection of a second, different post under a used key is no outcome of the order: the first post's is. What was
    /// never a sale takes none back.
    fn counts(&self) -> bool {
        match self {
            Self::Rejected(order) => order.reason != Rejection::IdempotencyConflict,
            Self::Released(order) => order.was_confirmed,
            Self::Confirmed(_) | Self::Refunded(_) => true,
        }
    }

    fn decided_at(&self) -> DateTime<Utc> {
        match self {
            Self::Confirmed(order) => order.confirmed_at,
            Self::Rejected(order) => order.rejected_at,
            Self::Released(order) => order.released_at,
            Self::Refunded(order) => order.refunded_at,
        }
    }
}

impl Orders {
    /// A handler that counts into `database`.
    pub fn new(database: Arc<Database>, counting: Counting) -> Self {
        let campaigns = Mutex::new(Labels::new(counting.max_campaigns));
        Self { database, counting, campaigns }
    }

    async fn count(&self, outcomes: &[&Outcome]) -> Result<Written, DbErr> {
        // The first of an order in the batch stands; sorted by id, the order that everybody locks in.
        let mut first: BTreeMap<Uuid, &Outcome> = BTreeMap::new();
        let mut back: BTreeMap<(Uuid, String), &Outcome> = BTreeMap::new();
        for outcome in outcomes {
            let id = outcome.order_id().as_uuid();
            match outcome.taken_back() {
                None => *first.entry(id).or_insert(outcome),
                Some(what) => *back.entry((id, what)).or_insert(outcome),
            };
        }
        if outcomes.is_empty() {
            return Ok(Written::default());
        }
        let tx = self.database.begin().await?;
        let new = self.insert_new(&tx, &first).await?;
        let new_back = self.insert_taken_back(&tx, &back).await?;
        let first = first.iter().filter(|(id, _)| new.contains(id)).map(|(_, outcome)| *outcome);
        let back = back.iter().filter(|(what, _)| new_back.contains(what)).map(|(_, outcome)| *outcome);
        let rows = self.roll_up(first.chain(back));
        let mut written = new.len() + new_back.len() + rows.len();
        self.add(&tx, rows).await?;
        let mut through: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        for outcome in outcomes {
            let time = through.entry(format!("orders/{}", outcome.market())).or_insert(outcome.decided_at());
            *time = outcome.decided_at().max(*time);
        }
        written += advance(&tx, &self.database, through).await?;
        commit(tx, written).await
    }

    async fn insert_new(&self, tx: &Transaction, first: &BTreeMap<Uuid, &Outcome>) -> Result<HashSet<Uuid>, DbErr> {
        let ids = first.keys().copied().collect();
        let kinds = first.values().map(|outcome| outcome.kind().to_owned()).collect();
        let before = "INSERT INTO revenue_seen (order_id, outcome)";
        let after = "ON CONFLICT DO NOTHING RETURNING order_id";
        let rows = with_rows(tx, &self.database, before, vec![Column::Uuid(ids), Column::Text(kinds)], after).await?;
        if failpoint::broken!(CountTwice) {
            return Ok(first.keys().copied().collect());
        }
        rows.into_iter().map(|row| row.try_get("", "order_id")).collect()
    }

    async fn insert_taken_back(
        &self,
        tx: &Transaction,
        back: &BTreeMap<(Uuid, String), &Outcome>,
    ) -> Result<HashSet<(Uuid, String)>, DbErr> {
        let (ids, what): (Vec<Uuid>, Vec<String>) = back.keys().cloned().unzip();
        let before = "INSERT INTO revenue_taken_back (order_id, reference)";
        let after = "ON CONFLICT DO NOTHING RETURNING order_id, reference";
        let rows = with_rows(tx, &self.database, before, vec![Column::Uuid(ids), Column::Text(what)], after).await?;
        rows.into_iter().map(|row| Ok((row.try_get("", "order_id")?, row.try_get("", "reference")?))).collect()
    }

    /// Adds up by the minute in which the order was *accepted*: that is when the campaign worked, and where its page
    /// views are counted too, however long the queue was. What is taken back is taken from there, so that a campaign is left with
    /// what it earned.
    fn roll_up<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) -> BTreeMap<RowKey, Row> {
        let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
        let mut campaigns = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            let (accepted_at, attribution, currency) = match outcome {
                Outcome::Confirmed(order) => (order.accepted_at, &order.attribution, order.currency.code()),
                Outcome::Rejected(order) => (order.accepted_at, &order.attribution, ""),
                Outcome::Released(order) => (order.accepted_at, &order.attribution, order.currency.code()),
                Outcome::Refunded(order) => (order.accepted_at, &order.attribution, order.currency.code()),
            };
            let (market, minute) = (outcome.market(), minute(accepted_at));
            let campaign = clean(attribution.campaign.as_deref(), self.counting.max_campaign_bytes);
            let campaign = campaigns.admit(market, minute, campaign);
            let row = rows.entry((market.to_owned(), minute, campaign, currency.to_owned())).or_default();
            match outcome {
                Outcome::Confirmed(order) => {
                    let units: i64 = order.lines.iter().map(|line| i64::from(line.quantity.get())).sum();
                    row.orders += 1;
                    row.units += units;
                    row.revenue_minor = row.revenue_minor.saturating_add(order.total_minor);
                }
                Outcome::Rejected(_) => row.rejected += 1,
                Outcome::Released(order) => {
                    row.orders -= 1;
                    row.units -= order.units;
                    row.revenue_minor = row.revenue_minor.saturating_sub(order.total_minor);
                }
                Outcome::Refunded(order) => {
                    for line in &order.lines {
                        row.units -= i64::from(line.quantity.get());
                        row.revenue_minor = row.revenue_minor.saturating_sub(line.amount_minor);
                    }
                }
            }
        }
        rows
    }

    async fn add(&self, tx: &Transaction, rows: BTreeMap<RowKey, Row>) -> Result<(), DbErr> {
        let (keys, rows): (Vec<RowKey>, Vec<Row>) = rows.into_iter().unzip();
        let columns = vec![
            Column::Text(keys.iter().map(|key| key.0.clone()).collect()),
            Column::Time(keys.iter().map(|key| key.1).collect()),
            Column::Text(keys.iter().map(|key| key.2.clone()).collect()),
            Column::Text(keys.into_iter().map(|key| key.3).collect()),
            Column::Number(rows.iter().map(|row| row.orders).collect()),
            Column::Number(rows.iter().map(|row| row.units).collect()),
            Column::Number(rows.iter().map(|row| row.revenue_minor).collect()),
            Column::Number(rows.iter().map(|row| row.rejected).collect()),
        ];
        let before = "INSERT INTO revenue_rollups_minute \
                      (market, minute, campaign, currency, orders, units, revenue_minor, rejected)";
        let after = "ON CONFLICT (market, minute, campaign, currency) DO UPDATE SET \
                     orders = revenue_rollups_minute.orders + excluded.orders, \
                     units = revenue_rollups_minute.units + excluded.units, \
                     revenue_minor = revenue_rollups_minute.revenue_minor + excluded.revenue_minor, \
                     rejected = revenue_rollups_minute.rejected + excluded.rejected";
        with_rows(tx, &self.database, before, columns, after).await?;
        Ok(())
    }
}

impl Handler for Orders {
    /// The outcomes of one message.
    type Event = Vec<Outcome>;

    fn decode(&self, message: &Message) -> Result<Vec<Outcome>, DecodeError> {
        match message.kind.as_str() {
            OrderConfirmed::KIND => Ok(vec![Outcome::Confirmed(Envelope::from_message(message)?.data)]),
            OrderRejected::KIND => Ok(vec![Outcome::Rejected(Envelope::from_message(message)?.data)]),
            OrderReleased::KIND => Ok(vec![Outcome::Released(Envelope::from_message(message)?.data)]),
            OrderRefunded::KIND => Ok(vec![Outcome::Refunded(Envelope::from_message(message)?.data)]),
            // Any other kind is unknown to the envelope too.
            _ => {
                let OrderOutcomes { confirmed, rejected, .. } = Envelope::from_message(message)?.data;
                let confirmed = confirmed.into_iter().map(Outcome::Confirmed);
                Ok(confirmed.chain(rejected.into_iter().map(Outcome::Rejected)).collect())
            }
        }
    }

    async fn handle(&self, batch: &[Item<Vec<Outcome>>]) -> Result<Handled, BatchError> {
        let outcomes: Vec<&Outcome> =
            batch.iter().flat_map(|item| &item.event).filter(|outcome| outcome.counts()).collect();
        let written = self.count(&outcomes).await.map_err(failed)?;
        Ok(written.handled(vec![Verdict::Done; batch.len()]))
    }

    async fn probe(&self) -> Result<(), String> {
        self.database.probe().await.map_err(|error| error.to_string())
    }
}
