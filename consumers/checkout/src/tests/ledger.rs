//! Random orders, delivered again and split into batches at random, against a ledger that is kept beside.

use std::collections::BTreeMap;

use events::OrderPlaced;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::orders::order;
use super::site::{Site, done};

/// One delivery: which order, and whether a batch ends after it.
type Delivery = (usize, bool);

#[derive(Debug, Clone)]
struct History {
    /// On hand, by SKU number.
    stock: Vec<i64>,
    /// Lines (SKU number, units) of each order; a number beyond `stock` is an unknown SKU.
    orders: Vec<Vec<(usize, u32)>>,
    deliveries: Vec<Delivery>,
}

fn histories() -> impl Strategy<Value = History> {
    let stock = prop::collection::vec(0_i64..12, 3);
    let orders = prop::collection::vec(prop::collection::vec((0_usize..4, 1_u32..4), 1..4), 1..12);
    (stock, orders).prop_flat_map(|(stock, orders)| {
        let deliveries = prop::collection::vec((0..orders.len(), any::<bool>()), 1..30);
        (Just(stock), Just(orders), deliveries).prop_map(|(stock, orders, deliveries)| History {
            stock,
            orders,
            deliveries,
        })
    })
}

/// What must be in the database at the end: units taken by SKU number, and each delivered order's state.
fn expected(history: &History) -> (Vec<i64>, BTreeMap<usize, &'static str>) {
    let mut taken = vec![0; history.stock.len()];
    let mut states = BTreeMap::new();
    for (n, _) in &history.deliveries {
        if states.contains_key(n) {
            continue;
        }
        let mut wanted: BTreeMap<usize, i64> = BTreeMap::new();
        history.orders[*n].iter().for_each(|(sku, units)| *wanted.entry(*sku).or_default() += i64::from(*units));
        let fits = wanted.iter().all(|(sku, units)| history.stock.get(*sku).is_some_and(|s| s - taken[*sku] >= *units));
        if fits {
            for (sku, units) in &wanted {
                taken[*sku] += units;
            }
        }
        states.insert(*n, if fits { "confirmed" } else { "rejected" });
    }
    (taken, states)
}

/// Every history has SKUs and keys of its own, so that one database serves them all.
async fn replay(site: &Site, case: u32, history: &History) {
    let skus: Vec<String> = (0..4).map(|n| format!("C{case}-{n}")).collect();
    for (sku, units) in skus.iter().zip(&history.stock) {
        site.stock(sku, *units).await;
    }
    let worker = site.worker().await;
    let mut batch: Vec<OrderPlaced> = Vec::new();
    for (position, (n, ends)) in history.deliveries.iter().enumerate() {
        let lines: Vec<_> = history.orders[*n].iter().map(|(sku, units)| (skus[*sku].as_str(), *units, 100)).collect();
        batch.push(order(&format!("c{case}-{n}"), &lines));
        if *ends || position + 1 == history.deliveries.len() {
            done(&worker, &std::mem::take(&mut batch)).await;
        }
    }

    let (taken, expected_states) = expected(history);
    for (sku, units) in skus.iter().zip(taken) {
        assert_eq!(site.reserved(sku).await, units, "{sku}");
    }
    let prefix = format!("c{case}-");
    let states: BTreeMap<usize, String> = site
        .states()
        .await
        .into_iter()
        .filter_map(|(key, state)| Some((key.strip_prefix(&prefix)?.parse().ok()?, state)))
        .collect();
    let states: BTreeMap<usize, &str> = states.iter().map(|(n, state)| (*n, state.as_str())).collect();
    assert_eq!(states, expected_states);
    let stored = site.number("SELECT CAST(count(*) AS bigint) AS n FROM orders").await;
    assert_eq!(site.outcomes().await.len(), usize::try_from(stored).unwrap(), "each order's outcome is told");
}

fn the_ledger_adds_up(make: impl AsyncFn() -> Site, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let site = runtime.block_on(make());
    let case = std::cell::Cell::new(0);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) })
        .run(&histories(), |history| {
            case.set(case.get() + 1);
            runtime.block_on(replay(&site, case.get(), &history));
            Ok(())
        })
        .unwrap();
}

#[test]
fn the_ledger_adds_up_on_sqlite_whatever_is_delivered_in_whatever_batches() {
    the_ledger_adds_up(Site::sqlite, 48);
}

#[test]
fn the_ledger_adds_up_on_postgres_whatever_is_delivered_in_whatever_batches() {
    the_ledger_adds_up(Site::postgres, 48);
}
