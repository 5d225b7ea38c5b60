//! What the oracle is told: where to look, and what the harness did beside the journals.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use model::RegionNumber;
use serde::Serialize;
use store::{Config, DatabaseConfig, Databases, RegionConfig};
use uuid::Uuid;

use super::shown::Shown;
use super::told::Told;

/// A statement over everything that a long run left behind takes its time, milliseconds.
const STATEMENT_TIMEOUT_MS: u64 = 300_000;

/// Everything that the oracle may look at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The journals of the load's generators.
    pub journals: Vec<PathBuf>,
    /// The URL of each database, by the name that [`Region::database`] uses.
    pub databases: BTreeMap<String, String>,
    /// The database, of those, that holds what analytics counts.
    pub analytics: String,
    /// The regions of the shop.
    pub regions: Vec<Region>,
    /// The broker, with its virtual host.
    pub broker_url: String,
    /// Its management API, with user and password.
    pub broker_api: String,
    /// Redis.
    pub redis_url: String,
    /// In front of every key in it.
    pub redis_prefix: String,
    /// Every poisoned message; nothing else may be parked.
    pub poison: Vec<Poison>,
    /// Orders that were posted beside the journals. Whatever else is found was attempted by nobody.
    pub posted: Vec<Posted>,
    /// What was asked of orders after their sale; nothing else may have been taken back.
    pub asked: Vec<Asked>,
    /// What was asked of stock; nothing else may have changed what is on hand.
    pub stock: Vec<StockAsked>,
    /// The region that holds units for a payment, where there is one.
    pub reserving: Option<Reserving>,
    /// What was told of orders, where somebody listened from the beginning.
    pub told: Option<Told>,
    /// What was shown of an article that was edited all the time, where somebody looked.
    pub shown: Option<Shown>,
    /// A storefront, where one runs.
    pub storefront: Option<String>,
    /// Tags as they were before everything behind them changed, which was long enough ago.
    pub noted: Vec<Noted>,
}

/// A tag before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// Its name, which is also that of what changed.
    pub tag: String,
    /// Its generation; none where the cache did not know it.
    pub generation: Option<String>,
}

/// A region of the shop.
#[derive(Debug, Clone)]
pub struct Region {
    /// Its name, which its checkout queue carries.
    pub name: String,
    /// Its permanent number, a part of every order's id.
    pub number: u16,
    /// Which of the databases is its own.
    pub database: String,
}

/// A message that can't be handled.
#[derive(Debug, Clone, Serialize)]
pub struct Poison {
    /// Its home queue.
    pub queue: String,
    /// Its AMQP `message_id`; of an order that was posted over HTTP, the order's id.
    pub message_id: String,
    /// What is wrong with it.
    pub kind: String,
    /// Where it has to be: parked, or (a version that nobody knows yet) on a rung of the retry ladder for ever.
    pub end: PoisonEnd,
}

/// Where poison ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PoisonEnd {
    /// Visibly parked.
    #[default]
    Parked,
    /// Waiting for a release that knows it.
    Waiting,
}

/// An order that was posted by hand.
#[derive(Debug, Clone, Serialize)]
pub struct Posted {
    /// Its `Idempotency-Key`.
    pub key: String,
    /// Its id, where it was answered 202: then it has to have an end.
    pub accepted: Option<Uuid>,
}

/// What was asked of an order after its sale, under one key and with as many tries as it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The order.
    pub order: Uuid,
    /// The path of its status on a storefront, with the token that lets one read it.
    pub status_path: String,
    /// The `Idempotency-Key` of each try.
    pub key: String,
    /// What was asked for.
    pub change: Change,
    /// Whether a try was answered 200: then it is done. Else it is done or not, and never twice.
    pub answered: bool,
}

/// What a shop asks of an order after its sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// That it is no more.
    Cancel,
    /// That units of it are paid back, and for sale again.
    Refund {
        /// Of which article.
        sku: String,
        /// How many.
        units: i64,
        /// What is paid back for them, minor units.
        amount_minor: i64,
    },
}

/// A change of stock that was asked for, under one key and with as many tries as it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockAsked {
    /// Of which article.
    pub sku: String,
    /// `MARKET/KEY`, as the ledger names it.
    pub reference: String,
    /// What was asked for.
    pub change: StockChange,
    /// What was answered 200, each time: then it is done. Else it is done or not, and never twice.
    pub answers: Vec<StockAnswer>,
}

/// What a shop asks of an article's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StockChange {
    /// That so many units are there, promised ones included.
    Count {
        /// Units.
        on_hand: i64,
    },
    /// That so many came in.
    Restock {
        /// Units.
        units: i64,
    },
    /// That so many more are lent.
    Give {
        /// Units.
        units: i64,
    },
    /// That units are taken back which are not promised.
    Take {
        /// How many; none: all of them.
        units: Option<i64>,
    },
}

/// A row of stock right after a change, as it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StockAnswer {
    /// By how many units the change moved what is on hand.
    pub moved: i64,
    /// Units in the warehouse.
    pub on_hand: i64,
    /// Units promised to orders.
    pub reserved: i64,
    /// Promised units that were not found.
    pub shortfall: i64,
}

/// A region that holds an order's units for its payment. Nobody cancels there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserving {
    /// Its number.
    pub region: u16,
    /// For how long.
    pub lasts: Duration,
    /// Its orders that were accepted.
    pub held: Vec<Held>,
}

/// An order that was accepted where units are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub order: Uuid,
    /// The path of its status on a storefront, with the token that lets one read it.
    pub status_path: String,
    /// What is known of its payment.
    pub payment: Payment,
}

/// What is known of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Nobody paid.
    None,
    /// It was asked for, and no answer came that tells.
    Open,
    /// It was answered 200.
    Made,
    /// It was answered 409: the order's time was up.
    Refused,
}

impl Evidence {
    pub(super) fn open(&self) -> Result<Databases> {
        let limited = |url: &String| DatabaseConfig {
            max_connections: 2,
            statement_timeout_ms: STATEMENT_TIMEOUT_MS,
            ..DatabaseConfig::at(url.clone())
        };
        let region = |region: &Region| {
            let (name, number) = (region.name.parse()?, RegionNumber(region.number));
            anyhow::Ok(RegionConfig { name, number, database: region.database.clone() })
        };
        let config = Config {
            region: self.regions.iter().map(region).collect::<Result<_>>()?,
            database: self.databases.iter().map(|(name, url)| (name.clone(), limited(url))).collect(),
            analytics: self.analytics.clone(),
        };
        Ok(Databases::open(&config)?)
    }
}
