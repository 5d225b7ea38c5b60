//! Changes of a whole order: paid, shipped, cancelled.

use std::collections::BTreeMap;

use events::{OrderReleased, OrderState, ReleaseCause};
use model::Sku;
use sea_orm::{ConnectionTrait as _, DbErr};

use super::change::OrderAnswer;
use super::ledger::{Kind, Ledger};
use super::level::fact;
use super::order_row::{OrderRow, units};
use super::refusal::{Error, Refusal};
use crate::outbox;

impl OrderRow {
    pub(super) fn answer(&self) -> OrderAnswer {
        OrderAnswer {
            order_id: self.id,
            state: self.state.clone(),
            version: self.version,
            shipped_at: self.shipped_at,
            refunded: Vec::new(),
        }
    }

    /// Why nothing more can be done with it, where its life has ended.
    pub(super) fn alive(&self) -> Result<(), Refusal> {
        match &self.state {
            OrderState::Released => Err(Refusal::Released(self.updated_at)),
            OrderState::Rejected { reason } => Err(Refusal::Rejected(reason.code().to_owned())),
            _ => Ok(()),
        }
    }

    /// Refuses what only a confirmed order may have done to it.
    pub(super) fn stands(&self) -> Result<(), Refusal> {
        self.alive()?;
        match &self.state {
            OrderState::Confirmed => Ok(()),
            other => Err(Refusal::NotConfirmed(other.name().to_owned())),
        }
    }

    /// That its units were given back, of which it had so many.
    pub(super) fn released(&self, ledger: &Ledger<'_>, cause: ReleaseCause, units: i64) -> OrderReleased {
        OrderReleased {
            order_id: self.id,
            market: self.market.clone(),
            region: ledger.region.number,
            accepted_at: self.accepted_at,
            released_at: ledger.at,
            cause,
            was_confirmed: self.state == OrderState::Confirmed,
            currency: self.currency,
            total_minor: self.total_minor,
            units,
            attribution: self.attribution.clone(),
        }
    }
}

impl Ledger<'_> {
    /// A reservation was paid: the order stands, and is a sale now. `paid` is passed within the transaction, since nobody here
    /// waits for anything between the two.
    pub(super) async fn pay(&self, order: &OrderRow) -> Result<OrderRow, Error> {
        if failpoint::broken!(PaidLate) && order.state == OrderState::Released {
            return Ok(order.clone());
        }
        order.alive()?;
        let steps = match order.state {
            OrderState::Reserved { .. } => 2,
            OrderState::Paid => 1,
            OrderState::Confirmed => return Err(Refusal::Confirmed.into()),
            _ => return Err(Refusal::NotConfirmed(order.state.name().to_owned()).into()),
        };
        let next = self.turn(order, OrderState::Confirmed, steps).await?;
        let confirmed = order.confirmed(self, self.lines(order.id).await?);
        outbox::insert(&self.region.database, self.tx, &[fact(self.at, confirmed)]).await?;
        Ok(next)
    }

    /// An order that was not shipped is no more; its units are for sale again.
    pub(super) async fn cancel(&self, order: &OrderRow) -> Result<OrderRow, Error> {
        if !failpoint::broken!(ChangedTwice) {
            order.alive()?;
        }
        if let Some(at) = order.shipped_at {
            return Err(Refusal::Shipped(at).into());
        }
        if !self.refunded(order.id).await?.is_empty() {
            return Err(Refusal::PartlyRefunded.into());
        }
        let units = units(&self.lines(order.id).await?);
        let next = self.turn(order, OrderState::Released, 1).await?;
        self.settle(order.id, Kind::Cancel, &units, false).await?;
        let released = order.released(self, ReleaseCause::Cancelled, units.values().sum());
        outbox::insert(&self.region.database, self.tx, &[fact(self.at, released)]).await?;
        Ok(next)
    }

    /// Every unit that the order has left leaves the warehouse.
    pub(super) async fn ship(&self, order: &OrderRow) -> Result<OrderRow, Error> {
        order.stands()?;
        if let Some(at) = order.shipped_at {
            return Err(Refusal::Shipped(at).into());
        }
        let refunded = self.refunded(order.id).await?;
        let rest: BTreeMap<Sku, i64> = units(&self.lines(order.id).await?)
            .into_iter()
            .map(|(sku, units)| {
                let back = refunded.get(&sku).map_or(0, |refunded| refunded.units);
                (sku, units - back)
            })
            .filter(|(_, units)| *units > 0)
            .collect();
        if rest.is_empty() {
            return Err(Refusal::NothingLeft.into());
        }
        self.settle(order.id, Kind::Ship, &rest, true).await?;
        self.mark_shipped(order).await?;
        Ok(OrderRow { shipped_at: Some(self.at), ..order.clone() })
    }

    async fn mark_shipped(&self, order: &OrderRow) -> Result<(), DbErr> {
        let sql = "UPDATE orders SET shipped_at = $1 WHERE id = $2";
        let statement = self.region.database.statement(sql, [self.at.into(), order.id.as_uuid().into()]);
        self.tx.execute_raw(statement).await.map(drop)
    }
}
