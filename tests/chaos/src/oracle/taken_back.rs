//! What was taken back after the sale, held against what was asked for.
//!
//! | asked | there |
//! |---|---|
//! | answered 200 | as it was asked for |
//! | without an answer | as it was asked for, or not at all |
//! | never | nothing |
//!
//! A reservation that runs out releases an order, too: those of the region that holds units are judged in `reserved.rs`, and none is
//! ever made elsewhere (`checkout.reserve_s` is 0). Each line that was paid back has one movement of its units, which nobody ships: they are given back, and gone where they are not restocked.
//! No more is paid back than was ordered and paid, and nothing of an order that was cancelled.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use store::{Database, Databases};
use uuid::Uuid;

use super::evidence::{Asked, Change, Evidence};
use super::read::rows;

/// An order, an article, and the key that it was paid back under.
type Name = (Uuid, String, String);

/// A line that was paid back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refund {
    units: i64,
    restocked: bool,
    amount_minor: i64,
}

/// A movement of units that were paid back.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moved {
    sku: String,
    /// `ORDER/KEY`.
    reference: String,
    on_hand: i64,
    reserved: i64,
}

/// What the databases hold: as much as was asked for, or the run is red anyway.
#[derive(Debug, Clone, Default)]
struct Found {
    released: BTreeSet<Uuid>,
    refunds: BTreeMap<Name, Refund>,
    movements: Vec<Moved>,
    /// Units that were ordered, by order and article, of orders of which something was paid back.
    ordered: BTreeMap<(Uuid, String), i64>,
    /// What those orders cost, minor units.
    totals: BTreeMap<Uuid, i64>,
}

impl Found {
    fn compare(&self, asked: &[Asked]) -> Breaches {
        let mut breaches = Breaches::default();
        self.done(asked, &mut breaches);
        self.asked_for(asked, &mut breaches);
        self.moved(&mut breaches);
        self.within(&mut breaches);
        breaches
    }

    /// What was answered 200 is there, and whatever is there is as it was asked for.
    fn done(&self, asked: &[Asked], breaches: &mut Breaches) {
        for Asked { order, key, change, answered, .. } in asked {
            match change {
                Change::Cancel if *answered && !self.released.contains(order) => {
                    let subject = format!("the cancellation of order {order}");
                    breaches.add(Guarantee::Kept, subject, "it released, as it was answered 200", "another state");
                }
                Change::Cancel => {}
                Change::Refund { sku, units, amount_minor } => {
                    let there = self.refunds.get(&(*order, sku.clone(), key.clone()));
                    let wanted = Refund { units: *units, restocked: true, amount_minor: *amount_minor };
                    if there.map_or(*answered, |there| *there != wanted) {
                        let subject = format!("the refund of order {order} under the key {key}");
                        breaches.add(Guarantee::Kept, subject, format!("{wanted:?}"), format!("{there:?}"));
                    }
                }
            }
        }
    }

    /// Nothing is there that nobody asked for.
    fn asked_for(&self, asked: &[Asked], breaches: &mut Breaches) {
        let (mut cancelled, mut refunded) = (BTreeSet::new(), BTreeSet::new());
        for Asked { order, key, change, .. } in asked {
            match change {
                Change::Cancel => cancelled.insert(*order),
                Change::Refund { sku, .. } => refunded.insert((*order, sku.as_str(), key.as_str())),
            };
        }
        for order in self.released.difference(&cancelled) {
            let expected = "not released, as nobody cancelled it";
            breaches.add(Guarantee::Attempted, format!("order {order}"), expected, "released");
        }
        for ((order, sku, key), there) in &self.refunds {
            if !refunded.contains(&(*order, sku.as_str(), key.as_str())) {
                let subject = format!("{sku} of order {order} under the key {key}");
                let expected = "nothing paid back, as nobody asked for it";
                breaches.add(Guarantee::Attempted, subject, expected, format!("{there:?}"));
            }
        }
    }

    /// Each line that was paid back has its movement, and none is without a line.
    fn moved(&self, breaches: &mut Breaches) {
        let mut due: BTreeMap<(&str, String), Refund> = BTreeMap::new();
        for ((order, sku, key), refund) in &self.refunds {
            due.insert((sku.as_str(), format!("{order}/{key}")), *refund);
        }
        for Moved { sku, reference, on_hand, reserved } in &self.movements {
            let subject = format!("the movement {reference} of {sku}");
            match due.remove(&(sku.as_str(), reference.clone())) {
                None => breaches.add(Guarantee::Once, subject, "one, for a line that was paid back", "another"),
                Some(Refund { units, restocked, .. }) => {
                    let gone = if restocked { 0 } else { units };
                    if (*on_hand, *reserved) != (-gone, -units) {
                        let expected = format!("{} on hand, {} reserved", -gone, -units);
                        breaches.add(Guarantee::Ledger, subject, expected, format!("{on_hand}, {reserved}"));
                    }
                }
            }
        }
        for ((sku, reference), refund) in due {
            let subject = format!("the refund {reference} of {sku}");
            breaches.add(Guarantee::Ledger, subject, format!("a movement for {refund:?}"), "none");
        }
    }

    /// No order is paid back beyond what it was, nor one that is no more.
    fn within(&self, breaches: &mut Breaches) {
        let (mut units, mut amounts) = (BTreeMap::new(), BTreeMap::new());
        for ((order, sku, _), refund) in &self.refunds {
            *units.entry((*order, sku.clone())).or_insert(0_i64) += refund.units;
            *amounts.entry(*order).or_insert(0_i64) += refund.amount_minor;
        }
        for (line, back) in units {
            let ordered = self.ordered.get(&line).copied().unwrap_or(0);
            if back > ordered {
                let subject = format!("{} of order {}", line.1, line.0);
                breaches.add(Guarantee::Ledger, subject, format!("at most {ordered} units back"), back.to_string());
            }
        }
        for (order, back) in amounts {
            let total = self.totals.get(&order).copied().unwrap_or(0);
            if back > total {
                let expected = format!("at most {total} paid back");
                breaches.add(Guarantee::Ledger, format!("order {order}"), expected, back.to_string());
            }
            if self.released.contains(&order) {
                let expected = "taken back once";
                breaches.add(Guarantee::Once, format!("order {order}"), expected, "released, and paid back");
            }
        }
    }
}

/// Reads what was taken back, and compares.
pub(super) async fn judge(databases: &Databases, evidence: &Evidence) -> Result<Breaches> {
    let mut found = Found::default();
    // No region has the number 0.
    let reserving = evidence.reserving.as_ref().map_or(0, |reserving| reserving.region);
    for database in databases.databases() {
        read(database, i32::from(reserving), &mut found).await?;
    }
    Ok(found.compare(&evidence.asked))
}

async fn read(database: &Database, reserving: i32, found: &mut Found) -> Result<()> {
    let released = "SELECT id FROM orders WHERE state = 'released' AND region <> $1";
    for row in rows(database, released, [reserving.into()]).await? {
        found.released.insert(row.try_get("", "id")?);
    }
    let refunds = "SELECT order_id, sku, reference, CAST(quantity AS bigint) AS units, restocked, amount_minor \
                   FROM order_refunds";
    for row in rows(database, refunds, []).await? {
        let name = (row.try_get("", "order_id")?, row.try_get("", "sku")?, row.try_get("", "reference")?);
        let refund = Refund {
            units: row.try_get("", "units")?,
            restocked: row.try_get("", "restocked")?,
            amount_minor: row.try_get("", "amount_minor")?,
        };
        found.refunds.insert(name, refund);
    }
    let movements = "SELECT sku, reference, on_hand_change, reserved_change FROM stock_movements WHERE kind = 'refund'";
    for row in rows(database, movements, []).await? {
        found.movements.push(Moved {
            sku: row.try_get("", "sku")?,
            reference: row.try_get("", "reference")?,
            on_hand: row.try_get("", "on_hand_change")?,
            reserved: row.try_get("", "reserved_change")?,
        });
    }
    let ordered = "SELECT order_id, sku, CAST(sum(quantity) AS bigint) AS units FROM order_lines \
                   WHERE order_id IN (SELECT order_id FROM order_refunds) GROUP BY order_id, sku";
    for row in rows(database, ordered, []).await? {
        let line = (row.try_get("", "order_id")?, row.try_get("", "sku")?);
        found.ordered.insert(line, row.try_get("", "units")?);
    }
    let totals = "SELECT id, total_minor FROM orders WHERE id IN (SELECT order_id FROM order_refunds)";
    for row in rows(database, totals, []).await? {
        found.totals.insert(row.try_get("", "id")?, row.try_get("", "total_minor")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Uuid = Uuid::from_u128(7);
    const NONE: [Guarantee; 0] = [];

    fn asked(change: Change, answered: bool) -> Asked {
        Asked { order: ORDER, status_path: String::new(), key: "k".to_owned(), change, answered }
    }

    fn refund(answered: bool) -> Asked {
        asked(Change::Refund { sku: "MUG".to_owned(), units: 1, amount_minor: 400 }, answered)
    }

    fn released() -> Found {
        Found { released: [ORDER].into(), ..Found::default() }
    }

    /// One of one mug was paid back, of 500.
    fn refunded() -> Found {
        let reference = format!("{ORDER}/k");
        Found {
            refunds: [(name("k"), Refund { units: 1, restocked: true, amount_minor: 400 })].into(),
            movements: vec![Moved { sku: "MUG".to_owned(), reference, on_hand: 0, reserved: -1 }],
            ordered: [((ORDER, "MUG".to_owned()), 1)].into(),
            totals: [(ORDER, 500)].into(),
            ..Found::default()
        }
    }

    fn name(key: &str) -> Name {
        (ORDER, "MUG".to_owned(), key.to_owned())
    }

    fn broken(found: &Found, asked: &[Asked]) -> Vec<Guarantee> {
        found.compare(asked).guarantees().collect()
    }

    #[test]
    fn a_cancellation_that_was_answered_is_there_and_one_without_an_answer_may_be() {
        for answered in [true, false] {
            assert_eq!(broken(&released(), &[asked(Change::Cancel, answered)]), NONE);
        }
        assert_eq!(broken(&Found::default(), &[asked(Change::Cancel, false)]), NONE);
        assert_eq!(broken(&Found::default(), &[asked(Change::Cancel, true)]), [Guarantee::Kept]);
    }

    #[test]
    fn an_order_is_released_only_if_somebody_cancelled_it() {
        assert_eq!(broken(&released(), &[]), [Guarantee::Attempted]);
        assert_eq!(broken(&released(), &[refund(false)]), [Guarantee::Attempted], "that was no cancellation");
    }

    #[test]
    fn a_refund_that_was_answered_is_there_and_one_without_an_answer_may_be() {
        for answered in [true, false] {
            assert_eq!(broken(&refunded(), &[refund(answered)]), NONE);
        }
        assert_eq!(broken(&Found::default(), &[refund(false)]), NONE);
        assert_eq!(broken(&Found::default(), &[refund(true)]), [Guarantee::Kept]);
        let less = Change::Refund { sku: "MUG".to_owned(), units: 1, amount_minor: 300 };
        assert_eq!(broken(&refunded(), &[asked(less, false)]), [Guarantee::Kept], "not what was asked for");
    }

    #[test]
    fn nothing_is_paid_back_unasked_or_under_another_key() {
        assert_eq!(broken(&refunded(), &[]), [Guarantee::Attempted]);
        let mut twice = refunded();
        let (again, line) = (format!("{ORDER}/again"), twice.refunds[&name("k")]);
        twice.refunds.insert(name("again"), line);
        twice.movements.push(Moved { reference: again, ..twice.movements[0].clone() });
        assert_eq!(broken(&twice, &[refund(true)]), [Guarantee::Ledger, Guarantee::Attempted], "beyond what was paid");
    }

    #[test]
    fn each_line_paid_back_has_one_movement_of_its_units() {
        let with = |change: fn(&mut Vec<Moved>)| {
            let mut found = refunded();
            change(&mut found.movements);
            broken(&found, &[refund(true)])
        };
        assert_eq!(with(|movements| movements.push(movements[0].clone())), [Guarantee::Once], "moved twice");
        assert_eq!(with(Vec::clear), [Guarantee::Ledger], "not moved at all");
        assert_eq!(with(|movements| movements[0].reserved = -2), [Guarantee::Ledger], "two units for one");
        assert_eq!(with(|movements| movements[0].on_hand = -1), [Guarantee::Ledger], "restocked, and gone");
    }

    #[test]
    fn an_order_is_cancelled_or_paid_back_and_not_both() {
        let both = Found { released: [ORDER].into(), ..refunded() };
        assert_eq!(broken(&both, &[refund(true), asked(Change::Cancel, true)]), [Guarantee::Once]);
    }
}
