//! The oracle: from outside, whether every promise was kept.
//!
//! It reads journals, databases, Redis and queues as a stranger would, and shares no code with what a role decides. What a
//! journal and the orders' tables can say is [`capacity::verify_beside`], the same judge that `millpond load verify` is;
//! here stands what needs more than that.
//!
//! | guarantee | judged by |
//! |---|---|
//! | `Kept`: every 202 is in one terminal state, or visibly parked | journal against `orders`, `parked_messages`, `….parked`, unrouted |
//! | `Ledger`: movements add up, nothing oversold or below zero | `stock` against `stock_movements` |
//! | `Once`: no order, movement or event has its effect twice | movements against lines, keys against orders, ids against rollups |
//! | `Attempted`: nothing that no client attempted | `orders`, `page_events_seen` against the journal |
//! | `Rollups`: they equal a recount | `revenue_rollups_minute` against `orders`, `page_rollups_minute` against ids seen |
//! | `Cached`: the cache says what the database says | statuses and versions in Redis against the rows |
//! | `AtRest`: queues are empty, parked is what was poisoned | depths, parked messages and rows, the outbox |
//!
//! A 503 or a time-out may be either, and never twice.
//!
//! # When to ask
//! At rest: [`capacity::settled`] says yes, and the published bounds are over. [`judge`] itself waits for the queues'
//! figures to stand still, because RabbitMQ tells them some seconds late.
//!
//! # Bounded
//! Orders, statuses and ids are read in chunks. What stays in memory is a few bytes for each attempt, a sum for each
//! article and minute, and what is parked, which is what was poisoned.
//!
//! Judging is pure and apart from reading (`Recount`, `Statuses`, `Rest`), so that each guarantee has tests with evidence
//! that violates it.

mod beside;
mod cached;
mod parked;
mod read;
mod rest;
mod revenue;

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result};
use capacity::{Beside, Breaches, Claims, Finding};
use serde::Serialize;
use store::Databases;
use testkit::rabbit::FreshVhost;
use uuid::Uuid;

/// Where to look.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The databases, all roles' alike.
    pub databases: &'a Databases,
    /// The one virtual host of orders and events.
    pub broker: &'a FreshVhost,
    /// The cache's URL.
    pub redis: &'a str,
    /// What its keys begin with.
    pub key_prefix: &'a str,
}

/// What the harness did beside the journal.
#[derive(Debug, Clone, Default)]
pub struct Injected {
    /// Every idempotency key that was posted or put into a queue by hand.
    pub keys: HashSet<String>,
    /// Orders posted by hand that were answered 202, by id; the key names them.
    pub accepted: HashMap<Uuid, String>,
    /// How many messages must be parked, by home queue.
    pub parked: BTreeMap<String, u64>,
    /// How many messages may be left in a queue: those of a version that nobody knows go round for ever.
    pub waiting: BTreeMap<String, u64>,
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// The journal against the databases, in numbers.
    pub finding: Finding,
    /// Everything that was broken, by guarantee and with its ids.
    pub breaches: Breaches,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.breaches.is_empty()
    }
}

/// Judges a run at rest.
///
/// # Errors
/// Where something can't be read; never for what was found.
pub async fn judge(site: Site<'_>, claims: &Claims, injected: &Injected) -> Result<Verdict> {
    let queues = rest::standing_still(site.broker).await.context("the queues' depths")?;
    let parked = parked::read(site, &queues).await.context("what is parked")?;
    let beside = Beside { parked: parked.orders().collect(), keys: Some(injected.keys.clone()) };
    let mut finding = capacity::verify_beside(claims, &beside, site.databases).await.context("the databases")?;
    let mut breaches = std::mem::take(&mut finding.breaches);
    breaches.extend(beside::judge(site.databases, injected, &parked).await.context("orders beside the journal")?);
    breaches.extend(revenue::judge(site.databases).await.context("the revenue")?);
    breaches.extend(cached::judge(site).await.context("the cache")?);
    let outboxes = rest::outboxes(site.databases).await.context("the outboxes")?;
    breaches.extend(rest::judge(&queues, &parked, &outboxes, injected));
    Ok(Verdict { finding, breaches })
}
