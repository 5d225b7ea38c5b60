//! Random changes of orders and stock, some of them sent again, some under a key that was used, against a model that is kept
//! beside.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::stock::{self, Change, Error, RefundLine};

use super::flows::{apply, code, id, sku};
use super::orders::order;
use super::site::{Site, done};

/// SKUs of a history; stock of the first two is there from the begin.
const SKUS: usize = 3;
const ORDERS: usize = 6;

/// Something that happens. Orders and SKUs by number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Order(usize, Vec<(usize, u32)>),
    /// The reservation's time is up, and a sweeper comes by.
    Expire(usize),
    Pay(usize),
    Ship(usize),
    Cancel(usize),
    Refund(usize, usize, u32, bool),
    Count(usize, i64),
    Restock(usize, i64),
    Give(usize, i64),
    Take(usize, Option<i64>),
}

/// A step, and the number of an earlier step whose key it uses (its own mostly).
type Sent = (Step, Option<prop::sample::Index>);

fn steps() -> impl Strategy<Value = Vec<Sent>> {
    let (order, sku) = (0..ORDERS, 0..SKUS);
    let lines = prop::collection::vec((sku.clone(), 1_u32..4), 1..3);
    let step = prop_oneof![
        5 => (order.clone(), lines).prop_map(|(n, lines)| Step::Order(n, lines)),
        2 => order.clone().prop_map(Step::Expire),
        4 => order.clone().prop_map(Step::Pay),
        2 => order.clone().prop_map(Step::Ship),
        2 => order.clone().prop_map(Step::Cancel),
        4 => (order, sku.clone(), 1_u32..3, any::<bool>()).prop_map(|(n, sku, q, back)| Step::Refund(n, sku, q, back)),
        2 => (sku.clone(), 0_i64..15).prop_map(|(sku, units)| Step::Count(sku, units)),
        1 => (sku.clone(), 1_i64..6).prop_map(|(sku, units)| Step::Restock(sku, units)),
        1 => (sku.clone(), 1_i64..6).prop_map(|(sku, units)| Step::Give(sku, units)),
        1 => (sku, prop::option::of(1_i64..8)).prop_map(|(sku, units)| Step::Take(sku, units)),
    ];
    prop::collection::vec((step, prop::option::weighted(0.1, any::<prop::sample::Index>())), 1..40)
}

#[derive(Debug, Clone, Default)]
struct Row {
    on_hand: i64,
    reserved: i64,
}

#[derive(Debug, Clone)]
struct Known {
    state: &'static str,
    units: BTreeMap<usize, i64>,
    refunded: BTreeMap<usize, i64>,
    shipped: bool,
}

/// What must be, as simply as it can be said.
#[derive(Debug, Default)]
struct Model {
    rows: BTreeMap<usize, Row>,
    orders: BTreeMap<usize, Known>,
}

impl Model {
    /// Makes the step, or says by which code it is refused.
    fn make(&mut self, step: &Step) -> Result<(), &'static str> {
        match step {
            Step::Order(n, lines) => self.place(*n, lines),
            Step::Expire(n) => {
                if let Some(order) = self.orders.get_mut(n).filter(|order| order.state == "reserved") {
                    order.state = "released";
                    let units = order.units.clone();
                    self.give_back(&units);
                }
            }
            Step::Pay(n) => match self.alive(*n)?.state {
                "reserved" => self.orders.get_mut(n).unwrap().state = "confirmed",
                _ => return Err("order_confirmed"),
            },
            Step::Ship(n) => self.ship(*n)?,
            Step::Cancel(n) => {
                let order = self.alive(*n)?;
                if order.shipped {
                    return Err("order_shipped");
                }
                if !order.refunded.is_empty() {
                    return Err("order_partly_refunded");
                }
                self.orders.get_mut(n).unwrap().state = "released";
                self.give_back(&order.units);
            }
            Step::Refund(n, sku, units, back) => self.refund(*n, *sku, i64::from(*units), *back)?,
            Step::Count(sku, on_hand) => self.rows.entry(*sku).or_default().on_hand = *on_hand,
            Step::Restock(sku, units) => self.rows.get_mut(sku).ok_or("unknown_sku")?.on_hand += units,
            Step::Give(sku, units) => self.rows.entry(*sku).or_default().on_hand += units,
            Step::Take(sku, units) => {
                let row = self.rows.get_mut(sku).ok_or("unknown_sku")?;
                let available = (row.on_hand - row.reserved).max(0);
                let units = units.unwrap_or(available);
                if units > available {
                    return Err("units_are_promised");
                }
                row.on_hand -= units;
            }
        }
        Ok(())
    }

    fn place(&mut self, n: usize, lines: &[(usize, u32)]) {
        if self.orders.contains_key(&n) {
            return;
        }
        let mut units: BTreeMap<usize, i64> = BTreeMap::new();
        for (sku, quantity) in lines {
            *units.entry(*sku).or_default() += i64::from(*quantity);
        }
        let fits =
            units.iter().all(|(sku, units)| self.rows.get(sku).is_some_and(|row| row.on_hand - row.reserved >= *units));
        if fits {
            for (sku, units) in &units {
                self.rows.get_mut(sku).unwrap().reserved += units;
            }
        }
        let state = if fits { "reserved" } else { "rejected" };
        self.orders.insert(n, Known { state, units, refunded: BTreeMap::new(), shipped: false });
    }

    fn alive(&self, n: usize) -> Result<Known, &'static str> {
        let order = self.orders.get(&n).ok_or("unknown_order")?;
        match order.state {
            "released" => Err("order_released"),
            "rejected" => Err("order_rejected"),
            _ => Ok(order.clone()),
        }
    }

    fn standing(&self, n: usize) -> Result<Known, &'static str> {
        let order = self.alive(n)?;
        if order.state == "confirmed" { Ok(order) } else { Err("order_not_confirmed") }
    }

    fn give_back(&mut self, units: &BTreeMap<usize, i64>) {
        for (sku, units) in units {
            self.rows.get_mut(sku).unwrap().reserved -= units;
        }
    }

    fn ship(&mut self, n: usize) -> Result<(), &'static str> {
        let order = self.standing(n)?;
        if order.shipped {
            return Err("order_shipped");
        }
        let mut rest = order.units;
        for (sku, units) in &order.refunded {
            *rest.get_mut(sku).unwrap() -= units;
        }
        if rest.values().all(|units| *units == 0) {
            return Err("nothing_left");
        }
        if rest.iter().any(|(sku, units)| self.rows[sku].on_hand < *units) {
            return Err("not_on_hand");
        }
        for (sku, units) in rest {
            let row = self.rows.get_mut(&sku).unwrap();
            row.on_hand -= units;
            row.reserved -= units;
        }
        self.orders.get_mut(&n).unwrap().shipped = true;
        Ok(())
    }

    fn refund(&mut self, n: usize, sku: usize, units: i64, back: bool) -> Result<(), &'static str> {
        let order = self.standing(n)?;
        let done = order.refunded.get(&sku).copied().unwrap_or(0);
        if units > order.units.get(&sku).copied().unwrap_or(0) - done {
            return Err("too_many_units");
        }
        let row = self.rows.get_mut(&sku).unwrap();
        match (order.shipped, back) {
            (false, true) => row.reserved -= units,
            (false, false) if row.on_hand < units => return Err("not_on_hand"),
            (false, false) => {
                row.on_hand -= units;
                row.reserved -= units;
            }
            (true, true) => row.on_hand += units,
            (true, false) => {}
        }
        *self.orders.get_mut(&n).unwrap().refunded.entry(sku).or_default() += units;
        Ok(())
    }
}

/// Every history has SKUs and keys of its own, so that one database serves them all.
struct Names(u32);

impl Names {
    fn sku(&self, n: usize) -> String {
        format!("R{}-{n}", self.0)
    }

    fn order(&self, n: usize) -> String {
        format!("r{}-{n}", self.0)
    }

    fn key(&self, n: usize) -> String {
        format!("r{}-request-{n}", self.0)
    }

    /// The change that a step asks for; none where it is no request.
    fn change(&self, step: &Step) -> Option<Change> {
        let order = |n: &usize| id(&self.order(*n));
        let sku = |n: &usize| sku(&self.sku(*n));
        Some(match step {
            Step::Order(..) | Step::Expire(_) => return None,
            Step::Pay(n) => Change::Pay { order: order(n) },
            Step::Ship(n) => Change::Ship { order: order(n) },
            Step::Cancel(n) => Change::Cancel { order: order(n) },
            Step::Refund(n, of, units, restock) => {
                let line = RefundLine {
                    sku: sku(of),
                    quantity: (*units).try_into().unwrap(),
                    restock: *restock,
                    amount_minor: 100 * i64::from(*units),
                };
                Change::Refund { order: order(n), lines: vec![line] }
            }
            Step::Count(of, on_hand) => Change::Count { sku: sku(of), on_hand: *on_hand },
            Step::Restock(of, units) => Change::Restock { sku: sku(of), units: *units },
            Step::Give(of, units) => Change::Give { sku: sku(of), units: *units },
            Step::Take(of, units) => Change::Take { sku: sku(of), units: *units },
        })
    }
}

async fn replay(site: &Site, case: u32, steps: &[Sent]) {
    let names = Names(case);
    let worker = site.reserving().await;
    let region = worker.region.clone();
    let mut model = Model::default();
    // What each key was used for; a key whose change was refused is free again.
    let mut used: BTreeMap<usize, Change> = BTreeMap::new();
    for (n, on_hand) in [(0, 8), (1, 3)] {
        model.make(&Step::Count(n, on_hand)).unwrap();
        let count = Change::Count { sku: sku(&names.sku(n)), on_hand };
        apply(&region, &format!("r{case}-begin-{n}"), &count).await.unwrap();
    }
    for (position, (step, key_of)) in steps.iter().enumerate() {
        let key = key_of.map_or(position, |index| index.index(position + 1));
        match (step, names.change(step)) {
            (Step::Order(n, lines), _) => {
                let lines: Vec<(String, u32)> = lines.iter().map(|(sku, units)| (names.sku(*sku), *units)).collect();
                let lines: Vec<_> = lines.iter().map(|(sku, units)| (sku.as_str(), *units, 100)).collect();
                let order = order(&names.order(*n), &lines);
                done(&worker, &[order.clone(), order]).await;
                model.make(step).unwrap();
            }
            (Step::Expire(n), _) => {
                site.overdue(&names.order(*n)).await;
                let _ = stock::expire(&region, 1_000).await.unwrap();
                model.make(step).unwrap();
            }
            (_, None) => unreachable!("every other step is a request"),
            (_, Some(change)) => {
                let made = apply(&region, &names.key(key), &change).await;
                match used.get(&key) {
                    Some(earlier) if *earlier == change => assert!(made.unwrap().replayed, "{step:?}"),
                    Some(_) => assert!(matches!(made, Err(Error::KeyReused)), "{step:?}: {made:?}"),
                    None => match model.make(step) {
                        Ok(()) => {
                            let made = made.unwrap_or_else(|error| panic!("{step:?}: {error}"));
                            assert!(!made.replayed);
                            let again = apply(&region, &names.key(key), &change).await.unwrap();
                            assert_eq!((again.answer, again.replayed), (made.answer, true), "{step:?}");
                            used.insert(key, change);
                        }
                        Err(refused) => assert_eq!(code(made), refused, "{step:?}"),
                    },
                }
            }
        }
        for (n, row) in &model.rows {
            let shortfall = (row.reserved - row.on_hand).max(0);
            assert_eq!(site.level(&names.sku(*n)).await, (row.on_hand, row.reserved, shortfall), "after {step:?}");
        }
    }
    let states = site.states().await;
    for (n, order) in &model.orders {
        assert_eq!(states[&names.order(*n)], order.state);
    }
    told_once(site).await;
}

/// No order is confirmed or released twice, and none both in the wrong way.
async fn told_once(site: &Site) {
    let released: Vec<events::OrderReleased> = site.events().await;
    let ids: BTreeSet<_> = released.iter().map(|told| told.order_id).collect();
    assert_eq!(ids.len(), released.len(), "a release is told once");
    let confirmed: Vec<events::OrderConfirmed> = site.events().await;
    let sales: BTreeSet<_> = confirmed.iter().map(|told| told.order_id).collect();
    assert_eq!(sales.len(), confirmed.len(), "a sale is told once");
    for told in &released {
        assert_eq!(told.was_confirmed, sales.contains(&told.order_id), "what was a sale is taken back as one");
    }
}

fn the_ledger_adds_up(make: impl AsyncFn() -> Site, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let site = runtime.block_on(make());
    let case = std::cell::Cell::new(0);
    TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases) })
        .run(&steps(), |steps| {
            case.set(case.get() + 1);
            runtime.block_on(replay(&site, case.get(), &steps));
            Ok(())
        })
        .unwrap();
}

#[test]
fn whatever_happens_to_orders_and_stock_the_ledger_adds_up_on_sqlite() {
    the_ledger_adds_up(Site::sqlite, 40);
}

#[test]
fn whatever_happens_to_orders_and_stock_the_ledger_adds_up_on_postgres() {
    the_ledger_adds_up(Site::postgres, 40);
}
