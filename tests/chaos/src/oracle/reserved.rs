//! Orders whose units were held for a payment: each was paid, or given back when its time was up, and not before.
//!
//! | payment | the order |
//! |---|---|
//! | answered 200 | confirmed |
//! | refused, as the time was up | not confirmed, for good |
//! | without an answer | confirmed or released |
//! | never | released, or rejected at once |
//!
//! Times are the database's on both sides: no other clock may shorten or lengthen what was promised.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use store::{Database, Databases};
use uuid::Uuid;

use super::evidence::{Held, Payment, Reserving};
use super::read::rows;

/// An order of the region.
#[derive(Debug, Clone)]
struct Row {
    id: Uuid,
    state: String,
    /// It was released before its time was up.
    early: bool,
}

fn compare(held: &[Held], stored: &[Row], lasts: Duration) -> Breaches {
    let mut breaches = Breaches::default();
    let payments: HashMap<Uuid, Payment> = held.iter().map(|one| (one.order, one.payment)).collect();
    let mut states: HashMap<Uuid, &str> = HashMap::new();
    for Row { id, state, early } in stored {
        states.insert(*id, state);
        let payment = payments.get(id).copied().unwrap_or(Payment::None);
        match state.as_str() {
            "reserved" | "paid" => {
                let expected = "paid or released, as its time is up";
                breaches.add(Guarantee::Kept, format!("order {id}"), expected, state);
            }
            "confirmed" if payment == Payment::None => {
                breaches.add(Guarantee::Attempted, format!("order {id}"), "not confirmed, as nobody paid it", state);
            }
            _ if *early => {
                breaches.add(Guarantee::Kept, format!("order {id}"), format!("held for {lasts:?}"), "released before");
            }
            _ => {}
        }
    }
    for Held { order, payment, .. } in held {
        let state = states.get(order).copied().unwrap_or("nowhere");
        let (kept, expected) = match payment {
            Payment::Made => (state == "confirmed", "confirmed, as its payment was answered 200"),
            Payment::Refused => (state != "confirmed", "not confirmed, as its payment was refused"),
            Payment::None | Payment::Open => continue,
        };
        if !kept {
            breaches.add(Guarantee::Kept, format!("order {order}"), expected, state);
        }
    }
    let proved = |what: &str, happened: bool, breaches: &mut Breaches| {
        if !happened {
            breaches.add(
                Guarantee::Kept,
                "orders whose units are held",
                format!("{what}, or nothing is proved"),
                "none",
            );
        }
    };
    proved("one that was paid", held.iter().any(|one| one.payment == Payment::Made), &mut breaches);
    proved("one that ran out", stored.iter().any(|row| row.state == "released"), &mut breaches);
    breaches
}

/// Figures by name.
pub(super) fn counts(reserving: &Reserving) -> [(&'static str, u64); 3] {
    let of = |payment: Payment| reserving.held.iter().filter(|one| one.payment == payment).count() as u64;
    [
        ("held", reserving.held.len() as u64),
        ("held_paid", of(Payment::Made)),
        ("held_refused_payment", of(Payment::Refused)),
    ]
}

/// Whether an order still waits for its payment: it was not paid, and no sweeper has come by yet.
pub(super) async fn waits(databases: &Databases) -> Result<bool> {
    for database in databases.databases() {
        let waiting = "SELECT 1 AS waiting FROM orders WHERE state IN ('reserved', 'paid') LIMIT 1";
        if !rows(database, waiting, []).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads the region's orders, and judges them.
pub(super) async fn judge(databases: &Databases, reserving: &Reserving) -> Result<Breaches> {
    let mut stored = Vec::new();
    for database in databases.databases() {
        stored.extend(read(database, reserving).await?);
    }
    Ok(compare(&reserving.held, &stored, reserving.lasts))
}

async fn read(database: &Database, reserving: &Reserving) -> Result<Vec<Row>> {
    let sql = "SELECT id, state, state = 'released' AND updated_at < created_at + make_interval(secs => $2) AS early \
               FROM orders WHERE region = $1";
    let values = [i32::from(reserving.region).into(), reserving.lasts.as_secs_f64().into()];
    let mut stored = Vec::new();
    for row in rows(database, sql, values).await? {
        stored.push(Row {
            id: row.try_get("", "id")?,
            state: row.try_get("", "state")?,
            early: row.try_get("", "early")?,
        });
    }
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [Guarantee; 0] = [];

    fn held(n: u128, payment: Payment) -> Held {
        Held { order: Uuid::from_u128(n), status_path: String::new(), payment }
    }

    fn row(n: u128, state: &str) -> Row {
        Row { id: Uuid::from_u128(n), state: state.to_owned(), early: false }
    }

    /// Beside one that was paid and one that ran out.
    fn broken(payment: Payment, row: Option<Row>) -> Vec<Guarantee> {
        let orders = [held(1, Payment::Made), held(2, Payment::None), held(7, payment)];
        let rows: Vec<Row> = [self::row(1, "confirmed"), self::row(2, "released")].into_iter().chain(row).collect();
        compare(&orders, &rows, Duration::from_secs(8)).guarantees().collect()
    }

    #[test]
    fn what_was_paid_is_confirmed_and_what_was_not_is_given_back() {
        for (payment, state) in [
            (Payment::Made, "confirmed"),
            (Payment::Refused, "released"),
            (Payment::Open, "confirmed"),
            (Payment::Open, "released"),
            (Payment::None, "released"),
            (Payment::None, "rejected"),
        ] {
            assert_eq!(broken(payment, Some(row(7, state))), NONE, "{payment:?}, {state}");
        }
        assert_eq!(broken(Payment::Made, Some(row(7, "released"))), [Guarantee::Kept], "paid, and sold to others");
        assert_eq!(broken(Payment::Made, None), [Guarantee::Kept], "paid, and nowhere");
        assert_eq!(broken(Payment::Refused, Some(row(7, "confirmed"))), [Guarantee::Kept], "the payment was voided");
        assert_eq!(broken(Payment::None, Some(row(7, "confirmed"))), [Guarantee::Attempted], "nobody paid");
    }

    #[test]
    fn nothing_is_held_beyond_its_time_or_given_back_before() {
        for state in ["reserved", "paid"] {
            assert_eq!(broken(Payment::None, Some(row(7, state))), [Guarantee::Kept], "{state}");
        }
        let early = Row { early: true, ..row(7, "released") };
        assert_eq!(broken(Payment::Open, Some(early)), [Guarantee::Kept]);
    }

    #[test]
    fn an_order_that_no_answer_named_is_judged_too() {
        let stranger = row(9, "confirmed");
        assert_eq!(broken(Payment::Open, Some(stranger)), [Guarantee::Attempted]);
    }

    #[test]
    fn where_nothing_was_paid_or_ran_out_nothing_is_proved() {
        assert_eq!(compare(&[], &[], Duration::ZERO).of(Guarantee::Kept), 2);
    }
}
