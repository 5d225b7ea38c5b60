//! The batch transaction: what makes an order happen once, and stock never be sold twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cache::OrderStatus;
use chrono::{DateTime, TimeDelta, Utc};
use model::OrderId;
use sea_orm::DbErr;
use store::{Region, Transaction, outbox};
use tokio::time::Instant;

use crate::allocate::{Allocation, Outcome};
use crate::intake::Checked;
use crate::outcome::{self, New};
use crate::price::{self, Prices};
use crate::sql::{self, Created, Movement};

/// What the transaction did, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Effect {
    /// The orders that it stored, with their outcome.
    pub(crate) stored: Vec<OrderStatus>,
    /// Orders whose id holds another order already.
    pub(crate) conflicts: Vec<OrderId>,
    /// Rows that it inserted or updated.
    pub(crate) rows: usize,
    /// How long the commit took; none where there was nothing to commit.
    pub(crate) commit: Option<Duration>,
}

/// What orders are stored under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// How long a price that was replaced still stands for a page that showed it.
    pub(crate) grace: TimeDelta,
    /// How long units are held for a payment, seconds; 0: an order is confirmed at once.
    pub(crate) reserve_s: u32,
}

/// Stores `orders`, given in arrival order, in one transaction of the region's database.
///
/// # Errors
/// The database's; nothing is committed, or (a connection lost at the commit) the fate is unknown.
pub(crate) async fn store(region: &Region, orders: &[Checked<'_>], terms: Terms) -> Result<Effect, DbErr> {
    let tx = region.database.begin().await?;
    let mut effect = apply(&tx, region, orders, terms).await?;
    if effect.stored.is_empty() {
        tx.rollback().await?;
    } else {
        let begun = Instant::now();
        tx.commit().await?;
        effect.commit = Some(begun.elapsed());
        if failpoint::broken!(DieAfterCommit) {
            std::process::abort();
        }
    }
    Ok(effect)
}

async fn apply(tx: &Transaction, region: &Region, orders: &[Checked<'_>], terms: Terms) -> Result<Effect, DbErr> {
    let mut firsts: BTreeMap<OrderId, &Checked<'_>> = BTreeMap::new();
    for order in orders {
        firsts.entry(order.placed().order_id).or_insert(order);
    }
    let by_id: Vec<&Checked<'_>> = firsts.values().copied().collect();
    let created = sql::insert_orders(&**tx, region.number, &by_id, terms.reserve_s).await?;
    let conflicts = conflicts(tx, orders, &firsts, &created).await?;

    let inserted = created.len();
    let mut unseen = created;
    let new: Vec<New<'_>> = orders
        .iter()
        // Taken out as it is met: a second copy in this batch finds nothing.
        .filter_map(|order| unseen.remove(&order.placed().order_id).map(|created| New::of(order, created)))
        .collect();
    let Some(at) = new.iter().map(|order| order.at).max() else {
        return Ok(Effect { conflicts, ..Effect::default() });
    };
    let (allocation, rows) = allocate(tx, region, &new, terms.grace, at).await?;
    let stored = statuses(&new, &allocation.outcomes);
    Ok(Effect { stored, conflicts, rows: inserted + rows, commit: None })
}

/// The orders whose fingerprint is not that of the order stored under their id.
async fn conflicts(
    tx: &Transaction,
    orders: &[Checked<'_>],
    firsts: &BTreeMap<OrderId, &Checked<'_>>,
    created: &BTreeMap<OrderId, Created>,
) -> Result<Vec<OrderId>, DbErr> {
    if created.len() == orders.len() {
        return Ok(Vec::new());
    }
    let old = firsts.keys().filter(|id| !created.contains_key(id)).copied();
    let mut stored = sql::fingerprints(&**tx, old).await?;
    stored.extend(created.keys().map(|id| (*id, firsts[id].placed().fingerprint)));
    let differs = orders.iter().filter(|order| {
        stored.get(&order.placed().order_id).is_some_and(|stored| *stored != order.placed().fingerprint)
    });
    Ok(differs.map(|order| order.placed().order_id).collect())
}

/// Decides over the new orders and writes down what was decided; tells in how many rows. Lines go first and prices are read before the lock,
/// so that a hot SKU's row is held for as few statements as possible.
async fn allocate(
    tx: &Transaction,
    region: &Region,
    new: &[New<'_>],
    grace: TimeDelta,
    at: DateTime<Utc>,
) -> Result<(Allocation, usize), DbErr> {
    let mut lines: Vec<_> = new.iter().map(|order| (order.id(), order.lines.as_slice())).collect();
    lines.sort_by_key(|(id, _)| *id);
    sql::insert_lines(&**tx, &lines).await?;
    let prices = match price::honoured_since(new.iter().map(New::placed), grace) {
        None => Prices::new(),
        Some(since) => {
            let checked: BTreeSet<_> = outcome::skus(new.iter().filter(|order| price::is_checked(order.placed())));
            sql::prices(&**tx, region.number, &checked, since).await?
        }
    };

    let stock = sql::lock_stock(&**tx, region.number, outcome::skus(new)).await?;
    let allocation = outcome::decide(new, &stock, &prices, grace);
    let decided: Vec<(&New<'_>, &Outcome)> = new.iter().zip(&allocation.outcomes).collect();

    sql::reserve(&**tx, region.number, &allocation.taken, at).await?;
    let movements = movements(&decided);
    sql::insert_movements(&**tx, region.number, &movements).await?;
    let rejected: Vec<_> = decided
        .iter()
        .filter_map(|(order, outcome)| match outcome {
            Outcome::Confirmed => None,
            Outcome::Rejected(reason) => Some((order.id(), reason)),
        })
        .collect();
    sql::reject(&**tx, &rejected).await?;
    let mut events = outcome::announce(region.number, &decided, at);
    events.extend(outcome::crossings(&region.name, &stock, &allocation.taken, at));
    outbox::insert(&region.database, tx, &events).await?;
    let lines: usize = lines.iter().map(|(_, lines)| lines.len()).sum();
    let rows = lines + allocation.taken.len() + movements.len() + rejected.len() + events.len();
    Ok((allocation, rows))
}

/// In key order (SKU, order), like every write.
fn movements<'a>(decided: &[(&'a New<'_>, &Outcome)]) -> Vec<Movement<'a>> {
    let mut movements: Vec<Movement<'_>> = decided
        .iter()
        .filter(|(_, outcome)| **outcome == Outcome::Confirmed)
        .flat_map(|(order, _)| {
            order.basket.iter().map(|(sku, units)| Movement {
                order: order.id(),
                sku,
                units: i64::from(units),
                at: order.at,
            })
        })
        .collect();
    movements.sort_by_key(|movement| (movement.sku, movement.order));
    movements
}

fn statuses(new: &[New<'_>], outcomes: &[Outcome]) -> Vec<OrderStatus> {
    new.iter()
        .zip(outcomes)
        .map(|(order, outcome)| OrderStatus {
            order_id: order.id(),
            version: 1,
            fingerprint: order.placed().fingerprint,
            accepted_at: order.placed().accepted_at,
            state: outcome::state(outcome, order.expires_at),
        })
        .collect()
}
