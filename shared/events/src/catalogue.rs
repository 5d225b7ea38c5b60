//! Changes of catalogue and stock that make something cached old.

use model::{RegionName, Sku};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;

/// `product.changed` 1: a product was created, edited, repriced or withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductChanged {
    /// Where.
    pub region: RegionName,
    /// What.
    pub sku: Sku,
    /// The product's version after the change, counted from 1; an older event is ignored.
    pub version: i64,
    /// Collections that list it, before or after.
    #[serde(default)]
    pub collections: Vec<String>,
}

impl Contract for ProductChanged {
    const KIND: &'static str = "product.changed";
    const VERSION: u32 = 1;
}

/// What a shopper is told about stock. Only a change of band is an event, so that a spike does not purge its own hottest
/// page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Plenty.
    In,
    /// At or below the product's threshold.
    Low,
    /// None left.
    Out,
}

impl Band {
    /// The band of `available` units with the shop's `low` threshold.
    pub fn of(available: i64, low: i64) -> Self {
        match available {
            ..=0 => Self::Out,
            units if units <= low => Self::Low,
            _ => Self::In,
        }
    }
}

/// `stock.changed` 1: availability crossed between in, low and out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockChanged {
    /// Where.
    pub region: RegionName,
    /// What.
    pub sku: Sku,
    /// The band now.
    pub band: Band,
    /// The stock row's version after the change; an older event is ignored.
    pub version: i64,
}

impl Contract for StockChanged {
    const KIND: &'static str = "stock.changed";
    const VERSION: u32 = 1;
}

/// `stock.shortfall` 1: units that are promised to orders are missing, or are missing no longer. A count may be the truth and
/// leave promises open; somebody has to find the units or give the money back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockShortfall {
    /// Where.
    pub region: RegionName,
    /// What.
    pub sku: Sku,
    /// Units in the warehouse now.
    pub on_hand: i64,
    /// Units promised to orders.
    pub reserved: i64,
    /// `max(reserved - on_hand, 0)`: units that are missing; 0 once there are enough again.
    pub shortfall: i64,
    /// The stock row's version after the change; an older event is ignored.
    pub version: i64,
}

impl Contract for StockShortfall {
    const KIND: &'static str = "stock.shortfall";
    const VERSION: u32 = 1;
}
