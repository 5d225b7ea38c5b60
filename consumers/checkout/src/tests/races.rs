//! Several processes at once, on one server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use events::{OrderConfirmed, OrderPlaced, OrderReleased};
use futures::future::{join, join_all};
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use store::stock::{self, Change, RefundLine};
use store::{Fault, Region};
use testkit::postgres::FreshDatabase;

use super::flows::{apply, code, id, sku};
use super::orders::order;
use super::site::{Site, cut_off, done, on_both};

on_both!(
    of_pay_and_expiry_exactly_one_wins,
    of_one_request_at_many_places_one_takes_effect_and_all_are_told_the_same,
    a_storm_of_orders_and_changes_keeps_the_ledger,
    a_change_that_is_cut_off_anywhere_and_sent_again_takes_effect_once,
    a_sweep_that_is_cut_off_anywhere_is_done_by_the_next,
);

/// A sweep; one that met another transaction is none.
async fn sweep(region: &Region, batch: u32) -> usize {
    match stock::expire(region, batch).await {
        Ok(expired) => expired.released.len(),
        Err(error) => {
            assert!(matches!(Fault::classify(&error), Fault::Contention(_)), "{error}");
            0
        }
    }
}

async fn of_pay_and_expiry_exactly_one_wins(site: Site) {
    const ROUNDS: usize = 60;
    site.change("count", Change::Count { sku: sku("MUG"), on_hand: 100 }).await.unwrap();
    let orders: Vec<OrderPlaced> = (0..ROUNDS).map(|n| order(&format!("o-{n}"), &[("MUG", 1, 100)])).collect();
    done(&site.reserving().await, &orders).await;
    let regions = [site.region().await, site.region().await, site.region().await];
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..ROUNDS {
        let key = format!("o-{n}");
        site.overdue(&key).await;
        let pay = async {
            // Now ahead of the sweepers, now behind.
            for _ in 0..n % 20 {
                tokio::task::yield_now().await;
            }
            let made = apply(&regions[2], &format!("pay-{n}"), &Change::Pay { order: id(&key) }).await;
            made.map_or_else(|refused| code(Err(refused)), |_| "paid".to_owned())
        };
        let (_, answer) = join(join_all(regions[..2].iter().map(|region| sweep(region, 5))), pay).await;
        let state = &site.states().await[&key];
        assert_eq!(state, if answer == "paid" { "confirmed" } else { "released" }, "{answer}");
        *answers.entry(answer).or_default() += 1;
    }
    println!("{answers:?}");
    assert!(answers.keys().all(|answer| ["paid", "order_released"].contains(&answer.as_str())));
    let paid = answers.get("paid").copied().unwrap_or(0);
    assert_eq!(site.level("MUG").await, (100, i64::try_from(paid).unwrap(), 0));
    let told: Vec<OrderReleased> = site.events().await;
    let sold: Vec<OrderConfirmed> = site.events().await;
    assert_eq!((told.len(), sold.len()), (ROUNDS - paid, paid));
}

async fn of_one_request_at_many_places_one_takes_effect_and_all_are_told_the_same(site: Site) {
    site.change("count", Change::Count { sku: sku("MUG"), on_hand: 10 }).await.unwrap();
    let mut regions = Vec::new();
    for _ in 0..4 {
        regions.push(site.region().await);
    }
    for round in 0..5 {
        let key = format!("k-{round}");
        let change = Change::Restock { sku: sku("MUG"), units: 3 };
        let made = join_all((0..8).map(|n| apply(&regions[n % 4], &key, &change))).await;
        let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
        assert_eq!(made.iter().filter(|done| !done.replayed).count(), 1);
        assert!(made.iter().all(|done| done.answer == made[0].answer));
    }
    assert_eq!(site.level("MUG").await, (25, 0, 0));
}

/// One process's part of the storm.
async fn storm(site: &Site, process: u64) {
    let worker = site.reserving().await;
    let region = worker.region.clone();
    let mut random = SmallRng::seed_from_u64(process);
    for n in 0..60 {
        let name = ["A", "B", "C"][random.random_range(0..3)];
        let some = format!("s-{}", random.random_range(0..40));
        let units = random.random_range(1..4);
        // Half of the requests are sent by several processes.
        let key = if random.random_bool(0.5) { format!("shared-{n}") } else { format!("{process}-{n}") };
        let change = match random.random_range(0..10) {
            0..3 => {
                // The same order is the same at every process.
                let lines: &[(&str, u32, i64)] =
                    if some.ends_with('7') { &[("B", 2, 100), ("A", 1, 100)] } else { &[("A", 1, 100), ("C", 2, 100)] };
                done(&worker, &[order(&some, lines)]).await;
                continue;
            }
            3 => {
                site.overdue(&some).await;
                sweep(&region, 5).await;
                continue;
            }
            4 | 5 => Change::Pay { order: id(&some) },
            6 => Change::Ship { order: id(&some) },
            7 => Change::Cancel { order: id(&some) },
            8 => {
                let line = RefundLine {
                    sku: sku(name),
                    quantity: 1.try_into().unwrap(),
                    restock: units > 1,
                    amount_minor: 100,
                };
                Change::Refund { order: id(&some), lines: vec![line] }
            }
            _ if units == 1 => Change::Count { sku: sku(name), on_hand: random.random_range(0..20) },
            _ if units == 2 => Change::Take { sku: sku(name), units: None },
            _ => Change::Restock { sku: sku(name), units },
        };
        match apply(&region, &key, &change).await {
            Ok(_) | Err(stock::Error::Refused(_) | stock::Error::KeyReused) => {}
            Err(error) => panic!("{change:?}: {error}"),
        }
    }
}

async fn a_storm_of_orders_and_changes_keeps_the_ledger(site: Site) {
    for name in ["A", "B", "C"] {
        site.change(&format!("begin {name}"), Change::Count { sku: sku(name), on_hand: 30 }).await.unwrap();
    }
    join_all((0..4).map(|process| storm(&site, process))).await;
    for name in ["A", "B", "C"] {
        let (on_hand, reserved, shortfall) = site.level(name).await;
        assert!(reserved <= on_hand + shortfall, "{name}: {reserved} of {on_hand} and {shortfall}");
    }
    let released: Vec<OrderReleased> = site.events().await;
    let ids: BTreeSet<_> = released.iter().map(|told| told.order_id).collect();
    assert_eq!(ids.len(), released.len(), "a release is told once");
    let states: BTreeSet<String> = site.states().await.into_values().collect();
    assert!(states.len() > 2, "much happened: {states:?}");
}

async fn a_change_that_is_cut_off_anywhere_and_sent_again_takes_effect_once(site: Site) {
    const CUTS: u32 = 40;
    site.change("count", Change::Count { sku: sku("MUG"), on_hand: 1_000 }).await.unwrap();
    let worker = site.worker().await;
    let orders: Vec<OrderPlaced> = (0..CUTS).map(|n| order(&format!("o-{n}"), &[("MUG", 2, 100)])).collect();
    done(&worker, &orders).await;
    let region = worker.region;
    let mut replayed = 0;
    // One wait later each time: before the first statement, between any two, after the commit was sent.
    for cut in 0..CUTS {
        let key = format!("cancel-{cut}");
        let change = Change::Cancel { order: id(&format!("o-{cut}")) };
        let first = cut_off(apply(&region, &key, &change), cut).await;
        let again = apply(&region, &key, &change).await.unwrap();
        if let Some(first) = first {
            assert_eq!((first.unwrap().answer, again.replayed), (again.answer, true));
        }
        replayed += u32::from(again.replayed);
    }
    assert!((1..CUTS).contains(&replayed), "some are cut off, some are not: {replayed}");
    assert_eq!(site.level("MUG").await, (1_000, 0, 0));
    let told: Vec<OrderReleased> = site.events().await;
    assert_eq!(told.len(), CUTS as usize);
}

async fn a_sweep_that_is_cut_off_anywhere_is_done_by_the_next(site: Site) {
    const CUTS: u32 = 40;
    site.change("count", Change::Count { sku: sku("MUG"), on_hand: 1_000 }).await.unwrap();
    let orders: Vec<OrderPlaced> = (0..CUTS).map(|n| order(&format!("o-{n}"), &[("MUG", 2, 100)])).collect();
    done(&site.reserving().await, &orders).await;
    let region = site.region().await;
    for cut in 0..CUTS {
        site.overdue(&format!("o-{cut}")).await;
        let _ = cut_off(sweep(&region, 10), cut).await;
        sweep(&region, 10).await;
    }
    // What the cut ones still held has been let go by now.
    let released = || async {
        sweep(&region, 10).await;
        site.states().await.values().all(|state| state == "released").then_some(())
    };
    testkit::wait::until("every order is released", released).await.unwrap();
    assert_eq!(site.level("MUG").await, (1_000, 0, 0));
    let told: Vec<OrderReleased> = site.events().await;
    assert_eq!(told.len(), CUTS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_survive_connections_that_are_cut_in_the_midst_of_transactions() {
    const CHANGES: usize = 60;
    let database = FreshDatabase::create().await.unwrap();
    let site = Site::postgres_at(database.url()).await;
    site.change("count", Change::Count { sku: sku("MUG"), on_hand: 0 }).await.unwrap();
    let regions = [site.region().await, site.region().await];
    let finished = AtomicUsize::new(0);
    // Every request is sent at both places, and at each until it is answered.
    let serve = async |region: &Region| {
        let mut failures = 0;
        for n in 0..CHANGES {
            let change = Change::Restock { sku: sku("MUG"), units: 3 };
            while let Err(error) = apply(region, &format!("delivery-{n}"), &change).await {
                assert!(matches!(error, stock::Error::Database(_)), "{error}");
                failures += 1;
            }
        }
        finished.fetch_add(1, Ordering::SeqCst);
        failures
    };
    let cut = async {
        while finished.load(Ordering::SeqCst) < regions.len() {
            // A server that is short of connections refuses this one too.
            drop(database.cut_connections().await);
        }
    };
    let (first, second, ()) = tokio::join!(serve(&regions[0]), serve(&regions[1]), cut);
    assert!(first + second > 0, "something was cut");
    // The site's own connections were cut, too: look through others.
    let site = Site::postgres_at(database.url()).await;
    assert_eq!(site.level("MUG").await, (3 * i64::try_from(CHANGES).unwrap(), 0, 0));
}
