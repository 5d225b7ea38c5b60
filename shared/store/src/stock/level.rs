//! A row of stock and what a movement makes of it: pure.

use broker::layout;
use chrono::{DateTime, Utc};
use events::{Band, Contract, Envelope, StockChanged, StockShortfall};
use model::{EventId, RegionName, Sku};

use super::change::StockAnswer;
use super::refusal::Refusal;
use crate::outbox::Outgoing;

/// Units of one SKU in one region. The limit leaves room for sums: above any warehouse.
const MOST: i64 = 1_000_000_000_000;

/// A row of stock, locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) low_threshold: i64,
    /// 0: there was no such row before this transaction.
    pub(super) version: i64,
}

impl Level {
    /// Units for sale; below 0 where promised ones are missing.
    pub(super) fn available(self) -> i64 {
        self.on_hand - self.reserved
    }

    /// Promised units that are missing.
    pub(super) fn shortfall(self) -> i64 {
        (self.reserved - self.on_hand).max(0)
    }

    /// The row after so many units more or fewer.
    pub(super) fn moved(self, sku: &Sku, on_hand: i64, reserved: i64) -> Result<Self, Refusal> {
        let next = Self {
            on_hand: self.on_hand.saturating_add(on_hand),
            reserved: self.reserved.saturating_add(reserved),
            version: self.version + 1,
            ..self
        };
        if next.on_hand < 0 {
            return Err(Refusal::NotOnHand { sku: sku.clone(), wanted: -on_hand, on_hand: self.on_hand });
        }
        if next.on_hand > MOST { Err(Refusal::TooMany(sku.clone())) } else { Ok(next) }
    }

    pub(super) fn answer(self, sku: &Sku, moved: Option<i64>) -> StockAnswer {
        StockAnswer {
            sku: sku.clone(),
            on_hand: self.on_hand,
            reserved: self.reserved,
            available: self.available().max(0),
            shortfall: self.shortfall(),
            version: self.version,
            moved,
        }
    }

    /// What the rest of the system is told of the way from `before` to this row.
    pub(super) fn events(self, region: &RegionName, sku: &Sku, before: Self, at: DateTime<Utc>) -> Vec<Outgoing> {
        let band = |level: Self| Band::of(level.available(), level.low_threshold);
        let mut events = Vec::new();
        if before.version == 0 || band(before) != band(self) {
            let changed =
                StockChanged { region: region.clone(), sku: sku.clone(), band: band(self), version: self.version };
            events.push(fact(at, changed));
        }
        if before.shortfall() != self.shortfall() {
            let shortfall = StockShortfall {
                region: region.clone(),
                sku: sku.clone(),
                on_hand: self.on_hand,
                reserved: self.reserved,
                shortfall: self.shortfall(),
                version: self.version,
            };
            events.push(fact(at, shortfall));
        }
        events
    }
}

/// An event of this module.
pub(super) fn fact<P: Contract>(at: DateTime<Utc>, data: P) -> Outgoing {
    let event = Envelope { id: EventId::at(at), source: "stock".to_owned(), occurred_at: at, traceparent: None, data };
    Outgoing::event(layout::facts_exchange().as_str(), &event)
}
