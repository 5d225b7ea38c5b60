//! How orders ended, many in one message.

use std::collections::BTreeMap;

use model::{OrderId, RegionNumber};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Contract;
use crate::order::{OrderConfirmed, OrderRejected};

/// `order.outcomes` 1: how the orders of one transaction ended. A flash sale ends thousands of orders a second, and a message
/// for each would cost the outbox, the broker and every consumer more than the orders themselves.
///
/// An order is in at most one such message, but the message may come twice: consumers know an outcome by its order id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderOutcomes {
    /// The region of all of them.
    pub region: RegionNumber,
    /// Orders that stand.
    #[serde(default)]
    pub confirmed: Vec<OrderConfirmed>,
    /// Orders that will not be fulfilled.
    #[serde(default)]
    pub rejected: Vec<OrderRejected>,
    /// W3C Trace Context of the request behind an order, where it had one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub traceparents: BTreeMap<OrderId, String>,
}

impl OrderOutcomes {
    /// The most orders that one message tells of.
    pub const MAX_ORDERS: usize = 500;
    /// The most lines of orders in one message, but for a single order with more: some 100 bytes each, so that a message stays
    /// far below what brokers take.
    pub const MAX_LINES: usize = 2_000;

    /// Nothing yet.
    pub fn new(region: RegionNumber) -> Self {
        Self { region, confirmed: Vec::new(), rejected: Vec::new(), traceparents: BTreeMap::new() }
    }

    /// How many orders it tells of.
    pub fn len(&self) -> usize {
        self.confirmed.len() + self.rejected.len()
    }

    /// Whether it tells of none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Contract for OrderOutcomes {
    const KIND: &'static str = "order.outcomes";
    const VERSION: u32 = 1;
}
