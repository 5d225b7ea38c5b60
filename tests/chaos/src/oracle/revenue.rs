//! Revenue, counted again from the orders.
//!
//! Campaigns are summed up: how many of them a minute may tell apart is analytics' own affair. What a refund paid back is taken
//! off where the order is counted. An order that was cancelled adds nothing, whether it was confirmed before or not; nor does
//! one that waits for its payment.

use std::collections::BTreeMap;

use anyhow::Result;
use capacity::{Breaches, Guarantee};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use store::{Database, Databases};
use uuid::Uuid;

use super::read::rows;

/// Orders of one statement.
const CHUNK: usize = 5_000;

/// Market, minute, currency (empty for rejections, which have none).
type Key = (String, DateTime<Utc>, String);

/// What orders came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    orders: i64,
    units: i64,
    revenue_minor: i64,
    rejected: i64,
}

/// An order that has come to its end.
struct Ended {
    market: String,
    accepted_at: DateTime<Utc>,
    currency: String,
    confirmed: bool,
    /// Less what was refunded.
    units: i64,
    /// Less what was refunded.
    revenue_minor: i64,
}

/// Adds up orders by the minute that they were accepted in.
#[derive(Debug, Default)]
struct Recount(BTreeMap<Key, Sums>);

impl Recount {
    fn add(&mut self, order: Ended) {
        let minute = order.accepted_at.duration_trunc(TimeDelta::minutes(1)).unwrap_or(order.accepted_at);
        let currency = if order.confirmed { order.currency } else { String::new() };
        let sums = self.0.entry((order.market, minute, currency)).or_default();
        if order.confirmed {
            sums.orders += 1;
            sums.units += order.units;
            sums.revenue_minor += order.revenue_minor;
        } else {
            sums.rejected += 1;
        }
    }

    fn against(&self, rollups: &BTreeMap<Key, Sums>) -> Breaches {
        let mut breaches = Breaches::default();
        let keys: std::collections::BTreeSet<&Key> = self.0.keys().chain(rollups.keys()).collect();
        for key in keys {
            let counted = self.0.get(key).copied().unwrap_or_default();
            let rolled_up = rollups.get(key).copied().unwrap_or_default();
            if counted != rolled_up {
                let (market, minute, currency) = key;
                let subject = format!("revenue_rollups_minute of {market}, {minute} {currency}");
                breaches.add(Guarantee::Rollups, subject, format!("{counted:?}"), format!("{rolled_up:?}"));
            }
        }
        breaches
    }
}

/// Counts again and compares.
pub(super) async fn judge(databases: &Databases) -> Result<Breaches> {
    let mut recount = Recount::default();
    for database in databases.databases() {
        count(database, &mut recount).await?;
    }
    Ok(recount.against(&rollups(databases.analytics()).await?))
}

async fn count(database: &Database, recount: &mut Recount) -> Result<()> {
    let sql = format!(
        "SELECT o.id, o.market, o.accepted_at, o.currency, o.state = 'confirmed' AS confirmed, \
         CAST(o.total_minor - coalesce((SELECT sum(r.amount_minor) FROM order_refunds r WHERE r.order_id = o.id), 0) \
         AS bigint) AS revenue_minor, \
         CAST(coalesce((SELECT sum(l.quantity) FROM order_lines l WHERE l.order_id = o.id), 0) \
         - coalesce((SELECT sum(r.quantity) FROM order_refunds r WHERE r.order_id = o.id), 0) AS bigint) AS units \
         FROM orders o WHERE o.id > $1 AND o.state IN ('confirmed', 'rejected') ORDER BY o.id LIMIT {CHUNK}"
    );
    let mut after = Uuid::nil();
    loop {
        let chunk = rows(database, &sql, [after.into()]).await?;
        let Some(last) = chunk.last() else { return Ok(()) };
        after = last.try_get("", "id")?;
        for row in &chunk {
            recount.add(Ended {
                market: row.try_get("", "market")?,
                accepted_at: row.try_get("", "accepted_at")?,
                currency: row.try_get("", "currency")?,
                confirmed: row.try_get("", "confirmed")?,
                units: row.try_get("", "units")?,
                revenue_minor: row.try_get("", "revenue_minor")?,
            });
        }
    }
}

async fn rollups(database: &Database) -> Result<BTreeMap<Key, Sums>> {
    let sql = "SELECT market, minute, currency, CAST(sum(orders) AS bigint) AS orders, \
               CAST(sum(units) AS bigint) AS units, CAST(sum(revenue_minor) AS bigint) AS revenue_minor, \
               CAST(sum(rejected) AS bigint) AS rejected FROM revenue_rollups_minute GROUP BY market, minute, currency";
    let mut rollups = BTreeMap::new();
    for row in rows(database, sql, []).await? {
        let key = (row.try_get("", "market")?, row.try_get("", "minute")?, row.try_get("", "currency")?);
        let sums = Sums {
            orders: row.try_get("", "orders")?,
            units: row.try_get("", "units")?,
            revenue_minor: row.try_get("", "revenue_minor")?,
            rejected: row.try_get("", "rejected")?,
        };
        rollups.insert(key, sums);
    }
    Ok(rollups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn recount() -> Recount {
        let mut recount = Recount::default();
        for (second, confirmed) in [(1, true), (59, true), (61, true), (62, false)] {
            recount.add(Ended {
                market: "main".to_owned(),
                accepted_at: at(second),
                currency: "EUR".to_owned(),
                confirmed,
                units: 2,
                revenue_minor: 500,
            });
        }
        recount
    }

    fn breaches(change: impl FnOnce(&mut BTreeMap<Key, Sums>)) -> u64 {
        let key = |second, currency: &str| ("main".to_owned(), at(second), currency.to_owned());
        let sold = |orders| Sums { orders, units: 2 * orders, revenue_minor: 500 * orders, rejected: 0 };
        let mut rollups = BTreeMap::from([
            (key(0, "EUR"), sold(2)),
            (key(60, "EUR"), sold(1)),
            (key(60, ""), Sums { rejected: 1, ..Sums::default() }),
        ]);
        change(&mut rollups);
        recount().against(&rollups).of(Guarantee::Rollups)
    }

    #[test]
    fn rollups_equal_a_recount_minute_by_minute() {
        assert_eq!(breaches(|_| ()), 0);
        assert_eq!(breaches(|rollups| drop(rollups.pop_first())), 1, "nothing was counted");
        assert_eq!(breaches(|rollups| rollups.values_mut().for_each(|sums| sums.orders *= 2)), 2, "counted twice");
        let made_up = |rollups: &mut BTreeMap<Key, Sums>| {
            rollups.insert(("main".to_owned(), at(120), "EUR".to_owned()), Sums { orders: 1, ..Sums::default() });
        };
        assert_eq!(breaches(made_up), 1, "revenue of no order");
    }
}
