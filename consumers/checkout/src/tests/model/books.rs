//! What the database says, and what the model says that it must say next.

use std::collections::{BTreeMap, BTreeSet};

use events::OrderPlaced;

use crate::tests::site::Site;

/// The shop's books at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Books {
    /// State of each order, by idempotency key.
    pub(super) orders: BTreeMap<String, String>,
    /// On hand and reserved, by SKU.
    pub(super) stock: BTreeMap<String, (i64, i64)>,
    /// Units moved, by SKU, where there are any.
    moved: BTreeMap<String, i64>,
}

impl Books {
    /// As they are, once whatever is being written is written.
    pub(super) async fn read(site: &Site) -> Self {
        site.wait_for_writers().await;
        let numbers = |texts: BTreeMap<String, String>| {
            texts.into_iter().map(|(sku, units)| (sku, units.parse::<i64>().unwrap())).collect::<BTreeMap<_, _>>()
        };
        let on_hand = numbers(site.texts("SELECT sku AS k, CAST(on_hand AS text) AS v FROM stock").await);
        let reserved = numbers(site.texts("SELECT sku AS k, CAST(reserved AS text) AS v FROM stock").await);
        let moved = "SELECT sku AS k, CAST(SUM(reserved_change) AS text) AS v FROM stock_movements GROUP BY sku";
        Self {
            orders: site.states().await,
            stock: on_hand.into_iter().map(|(sku, units)| (sku.clone(), (units, reserved[&sku]))).collect(),
            moved: numbers(site.texts(moved).await),
        }
    }

    /// What must be there once `batch` is committed: orders in turn, each all or nothing, none twice.
    fn after(&self, batch: &[OrderPlaced]) -> Self {
        let mut books = self.clone();
        for order in batch {
            let key = order.idempotency_key.to_string();
            if books.orders.contains_key(&key) {
                continue;
            }
            let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
            for line in &order.lines {
                *wanted.entry(line.sku.to_string()).or_default() += i64::from(line.quantity.get());
            }
            let left = |sku: &String| books.stock.get(sku).map(|(on_hand, reserved)| on_hand - reserved);
            let covered = wanted.iter().all(|(sku, units)| left(sku).is_some_and(|left| left >= *units));
            if covered {
                for (sku, units) in wanted {
                    books.stock.get_mut(&sku).unwrap().1 += units;
                    *books.moved.entry(sku).or_default() += units;
                }
            }
            books.orders.insert(key, if covered { "confirmed" } else { "rejected" }.to_owned());
        }
        books
    }

    /// Whether `batch` led from here to `now`, or nothing did.
    pub(super) fn leads_to(&self, now: &Self, batch: &[OrderPlaced]) -> Result<(), String> {
        let expected = self.after(batch);
        if now == self || *now == expected {
            return Ok(());
        }
        let keys: Vec<String> = batch.iter().map(|order| order.idempotency_key.to_string()).collect();
        Err(format!("the batch {keys:?}\nwas to lead from {self:?}\nto {expected:?}\nand led to {now:?}"))
    }

    /// Whether nothing is sold that is not there, and what was taken adds up.
    pub(super) fn add_up(&self) -> Result<(), String> {
        for (sku, (on_hand, reserved)) in &self.stock {
            let moved = self.moved.get(sku).copied().unwrap_or(0);
            if !(0..=*on_hand).contains(reserved) || moved != *reserved {
                return Err(format!("{sku}: {on_hand} on hand, {reserved} reserved, {moved} moved"));
            }
        }
        let strangers: BTreeSet<_> = self.moved.keys().filter(|sku| !self.stock.contains_key(*sku)).collect();
        if strangers.is_empty() { Ok(()) } else { Err(format!("units of {strangers:?} moved")) }
    }
}
