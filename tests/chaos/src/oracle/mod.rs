//! The oracle: from outside, whether every promise was kept.
//!
//! It reads journals, databases, Redis and queues as a stranger would, and shares no code with what a role decides. What a
//! journal and the orders' tables can say is [`capacity::verify_beside`], the same judge that `millpond load verify` is;
//! here stands what needs more than that.
//!
//! | guarantee | judged by |
//! |---|---|
//! | `Kept`: every 202 is in one terminal state, or visibly parked; every cancellation, refund, payment and change of stock that was answered 200 is there; no units are held beyond their time, or given back before | journal against `orders`, and `parked_messages` in every state; what was asked against `orders`, `order_refunds` and `stock_movements` |
//! | `Ledger`: movements add up, nothing oversold or below zero, no more paid back than was paid | `stock`, `order_refunds` and what was answered of stock against `stock_movements` |
//! | `Once`: no order, movement or event has its effect twice, and none is told by two messages | movements against lines, refunds and what was asked of stock, keys against orders, ids against rollups, ids of what is told against each other |
//! | `Attempted`: nothing that no client attempted | `orders`, `page_events_seen` against the journal; released and paid orders, `order_refunds`, counts and allotments against what was asked |
//! | `Rollups`: they equal a recount | `revenue_rollups_minute` against `orders` and refunds, `page_rollups_minute` against ids seen, path by path |
//! | `Told`: every outcome is told, never in two ways, and nothing that did not happen | a queue of the oracle's own against `orders` and refunds |
//! | `Cached`: the cache says what the database says | statuses, versions and generations in Redis, and pages of the storefront, against the rows; what was shown of an article under edits, against the bound |
//! | `AtRest`: queues are empty, parked is what was poisoned | depths, parked messages and rows, the outbox |
//!
//! A 503 or a time-out may be either, and never twice.
//!
//! # When to ask
//! At rest: [`capacity::settled`] says yes, and the published bounds are over. [`judge`] itself waits until the
//! queues stand still. What was told is heard by whoever plays ([`tap`]), from before the first order on; and everything
//! behind the tags in [`Evidence::noted`] was changed long enough before.
//!
//! # Bounded
//! Orders, statuses and ids are read in chunks. What stays in memory is a few bytes for each attempt, a sum for each
//! article and minute, and what is parked, which is what was poisoned.
//!
//! Judging is pure and apart from reading (`Recount`, `compare…`, `rest::judge`), so that each guarantee has tests with evidence
//! that violates it.

mod believed;
mod beside;
mod cached;
mod evidence;
mod pages;
mod parked;
mod read;
mod reserved;
mod rest;
mod revenue;
mod shown;
mod stock;
mod taken_back;
pub mod tap;
mod told;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use capacity::{Beside, Breaches, Claims};
use serde::Serialize;
use store::Databases;
use testkit::vhost::Vhost;

pub use capacity::{Breach, Guarantee};
pub use evidence::{
    Asked, Change, Evidence, Held, Noted, Payment, Poison, PoisonEnd, Posted, Region, Reserving, StockAnswer,
    StockAsked, StockChange,
};
pub use shown::Shown;
pub use told::Told;

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// Broken promises by guarantee, with their ids; empty where all were kept.
    pub breaches: Breaches,
    /// Figures by name: accepted, confirmed, lost …
    pub counts: BTreeMap<String, u64>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.breaches.is_empty()
    }
}

/// Where to look.
struct Site<'a> {
    databases: Databases,
    broker: Vhost,
    evidence: &'a Evidence,
}

/// Judges a shop that has come to rest.
///
/// # Errors
/// Where something can't be read, or the queues still move; never for what was found.
pub async fn judge(evidence: &Evidence) -> Result<Verdict> {
    let journals: Vec<Claims> = evidence.journals.iter().map(|path| Claims::read(path)).collect::<Result<_, _>>()?;
    let broker = Vhost::at(&evidence.broker_url, &evidence.broker_api)?;
    let site = Site { databases: evidence.open()?, broker, evidence };
    let verdict = site.judge(&journals).await;
    site.databases.close().await;
    verdict
}

/// Waits until nothing is held for a payment any more and all that the journals set off has probably arrived; `false` where
/// `patience` was over before.
///
/// # Errors
/// Where a journal or a database can't be read.
pub async fn settled(evidence: &Evidence, patience: std::time::Duration) -> Result<bool> {
    let journals: Vec<Claims> = evidence.journals.iter().map(|path| Claims::read(path)).collect::<Result<_, _>>()?;
    let databases = evidence.open()?;
    let all = async {
        let mut look = tokio::time::interval(rest::LOOK_EVERY);
        // Before the outboxes: what runs out is told.
        while reserved::waits(&databases).await? {
            look.tick().await;
        }
        for claims in &journals {
            while !capacity::settled(claims, &databases).await? {
                look.tick().await;
            }
        }
        anyhow::Ok(())
    };
    let settled = match tokio::time::timeout(patience, all).await {
        Ok(settled) => settled.map(|()| true),
        Err(_elapsed) => Ok(false),
    };
    databases.close().await;
    settled
}

impl Site<'_> {
    async fn judge(&self, journals: &[Claims]) -> Result<Verdict> {
        let queues =
            rest::standing_still(&self.broker, &self.evidence.broker_url).await.context("the queues' depths")?;
        // At once: what waits for its time does not stand still for long.
        let on_rungs = rest::on_rungs(&self.broker, &queues).await.context("who waits to be tried again")?;
        let parked = parked::read(self, &queues).await.context("what is parked")?;
        let keys = self.evidence.posted.iter().map(|posted| posted.key.clone()).collect();
        let beside = Beside { parked: parked.orders().collect(), keys: Some(keys) };
        let found = capacity::verify_beside(journals, &beside, &self.databases).await.context("the databases")?;
        let (put_aside, before) = parked.counts();
        let counts = [
            ("accepted", found.accepted),
            ("confirmed", found.confirmed),
            ("rejected", found.rejected),
            ("released", found.released),
            ("reserved", found.reserved),
            ("parked", found.parked),
            ("unknown_stored", found.unknown_stored),
            ("unknown_absent", found.unknown_absent),
            ("events_accepted", found.events_accepted),
            ("events_counted", found.events_counted),
            ("lost", found.lost),
            ("duplicated", found.duplicated),
            ("unexpected", found.unexpected),
            ("oversold", found.oversold),
            ("unbalanced", found.unbalanced),
            ("poison", self.evidence.poison.len() as u64),
            ("put_aside", put_aside),
            ("put_aside_before", before),
            ("waiting_on_rung", on_rungs.len() as u64),
            ("told_messages", self.evidence.told.as_ref().map_or(0, Told::messages)),
        ];
        let shown = self.evidence.shown.as_ref();
        let counts = counts.into_iter().chain(shown.into_iter().flat_map(Shown::counts));
        let counts = counts.chain(stock::counts(&self.evidence.stock));
        let counts = counts.chain(self.evidence.reserving.iter().flat_map(reserved::counts));
        let counts = counts.map(|(name, count)| (name.to_owned(), count)).collect();
        let mut breaches = found.breaches;
        breaches.extend(waiting(found.reserved));
        breaches.extend(shown.map(Shown::judge).unwrap_or_default());
        breaches.extend(beside::judge(self, &parked).await.context("orders beside the journals")?);
        breaches.extend(revenue::judge(&self.databases).await.context("the revenue")?);
        let taken_back = taken_back::judge(&self.databases, self.evidence).await;
        breaches.extend(taken_back.context("what was taken back")?);
        breaches.extend(stock::judge(&self.databases, &self.evidence.stock).await.context("changes of stock")?);
        if let Some(reserving) = &self.evidence.reserving {
            breaches.extend(reserved::judge(&self.databases, reserving).await.context("what is held")?);
        }
        breaches.extend(parked::judge(&self.databases, &parked).await.context("what was parked")?);
        if let Some(told) = &self.evidence.told {
            breaches.extend(told::judge(&self.databases, told).await.context("what was told")?);
        }
        breaches.extend(cached::judge(self).await.context("the cache")?);
        breaches.extend(pages::judge(self).await.context("the storefront, which has to be back by now")?);
        let outboxes = rest::outboxes(&self.databases).await.context("the outboxes")?;
        breaches.extend(rest::judge(&queues, &on_rungs, &parked, &outboxes, &self.evidence.poison));
        Ok(Verdict { breaches, counts })
    }
}

/// Accepted orders of the journals that wait for their payment. For a journal that is an end, as somebody has decided them; at rest
/// nothing is held any more, and so each has to have come to its end. Those of a region that holds units have a judge of their own
/// beside it (`reserved.rs`).
fn waiting(reserved: u64) -> Breaches {
    let mut breaches = Breaches::default();
    if reserved > 0 {
        let found = format!("{reserved} that wait for their payment");
        breaches.add(Guarantee::Kept, "accepted orders", "confirmed, rejected or released", found);
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_waits_for_its_payment_has_not_come_to_its_end() {
        assert!(waiting(0).is_empty());
        assert_eq!(waiting(2).of(Guarantee::Kept), 1);
    }
}
