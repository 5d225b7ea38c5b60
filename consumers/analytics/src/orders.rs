//! Outcomes of orders: revenue and rejections, each order once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use events::{Contract as _, DecodeError, Envelope, OrderConfirmed, OrderOutcomes, OrderRejected, Rejection};
use model::{Message, OrderId};
use sea_orm::DbErr;
use store::{Database, Transaction};
use uuid::Uuid;
use worker::{BatchError, Handled, Handler, Item, Verdict};

use crate::config::Counting;
use crate::labels::{Labels, clean};
use crate::sql::{Column, Written, advance, commit, failed, minute, with_rows};

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands.
    Confirmed(OrderConfirmed),
    /// It will not be fulfilled.
    Rejected(OrderRejected),
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
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => OrderConfirmed::KIND,
            Self::Rejected(_) => OrderRejected::KIND,
        }
    }

    fn market(&self) -> &str {
        match self {
            Self::Confirmed(order) => order.market.as_str(),
            Self::Rejected(order) => order.market.as_str(),
        }
    }

    /// A rejection of a second, different post under a used key is no outcome of the order: the first post's is.
    fn is_of_the_order(&self) -> bool {
        !matches!(self, Self::Rejected(OrderRejected { reason: Rejection::IdempotencyConflict, .. }))
    }

    fn decided_at(&self) -> DateTime<Utc> {
        match self {
            Self::Confirmed(order) => order.confirmed_at,
            Self::Rejected(order) => order.rejected_at,
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
        for outcome in outcomes {
            first.entry(outcome.order_id().as_uuid()).or_insert(outcome);
        }
        if first.is_empty() {
            return Ok(Written::default());
        }
        let tx = self.database.begin().await?;
        let new = self.insert_new(&tx, &first).await?;
        let rows = self.roll_up(first.iter().filter(|(id, _)| new.contains(id)).map(|(_, outcome)| *outcome));
        let mut written = new.len() + rows.len();
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

    /// Adds up by the minute in which the order was *accepted*: that is when the campaign worked, and where its page
    /// views are counted too, however long the queue was.
    fn roll_up<'a>(&self, outcomes: impl Iterator<Item = &'a Outcome>) -> BTreeMap<RowKey, Row> {
        let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
        let mut campaigns = self.campaigns.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            let (accepted_at, attribution, currency) = match outcome {
                Outcome::Confirmed(order) => (order.accepted_at, &order.attribution, order.currency.code()),
                Outcome::Rejected(order) => (order.accepted_at, &order.attribution, ""),
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
            batch.iter().flat_map(|item| &item.event).filter(|outcome| outcome.is_of_the_order()).collect();
        let written = self.count(&outcomes).await.map_err(failed)?;
        Ok(written.handled(vec![Verdict::Done; batch.len()]))
    }

    async fn probe(&self) -> Result<(), String> {
        self.database.probe().await.map_err(|error| error.to_string())
    }
}
