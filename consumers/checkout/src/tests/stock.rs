//! Who gets the stock, and what is said about it.

use std::collections::BTreeSet;

use events::{Band, Envelope, OrderPlaced, StockChanged};
use futures::future::join_all;
use model::{Currency, Message, Money, SystemClock};
use store::catalogue::{self, Expected, ProductEdit};
use store::outbox;

use super::orders::{REGION, accepted_at, browser_order, order};
use super::site::{GRACE, Site, deliver, done, on_both};
use crate::{price, sql};
use chrono::TimeDelta;

on_both!(
    of_five_hundred_buyers_for_a_hundred_units_exactly_a_hundred_get_one,
    baskets_in_opposite_order_at_several_workers_never_deadlock,
    stock_that_crosses_a_band_is_told_once,
    duplicate_lines_are_one_line_and_one_movement,
    every_order_ends_once_and_is_told_once,
    a_browser_pays_the_shops_price,
    a_withdrawn_product_is_sold_to_no_browser_that_was_shown_it_since,
    prices_of_long_ago_are_not_read,
    a_shortfall_in_the_warehouse_sells_nothing_and_harms_no_other_sku,
);

/// Every message in the outbox, by id.
async fn told(site: &Site) -> Vec<Message> {
    let worker = site.worker().await;
    let claim = outbox::claim(&worker.region.database, 10_000, std::time::Duration::from_mins(1)).await.unwrap();
    claim
        .rows()
        .iter()
        .map(|row| {
            assert_eq!((row.exchange.as_str(), &row.routing_key), ("millpond.facts.v1", &row.message.kind));
            row.message.clone()
        })
        .collect()
}

async fn of_five_hundred_buyers_for_a_hundred_units_exactly_a_hundred_get_one(site: Site) {
    site.stock("FLASH", 100).await;
    let orders: Vec<OrderPlaced> = (0..500).map(|n| order(&format!("buyer-{n}"), &[("FLASH", 1, 100)])).collect();
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(site.worker().await);
    }
    // Each worker takes every fourth batch of 20, and once more half of what its neighbour took.
    let batches: Vec<&[OrderPlaced]> = orders.chunks(20).collect();
    join_all(workers.iter().enumerate().map(|(own, worker)| {
        let batches = &batches;
        async move {
            for (n, batch) in batches.iter().enumerate() {
                match n % 4 {
                    turn if turn == own => done(worker, batch).await,
                    turn if turn == (own + 1) % 4 => done(worker, &batch[..10]).await,
                    _ => {}
                }
            }
        }
    }))
    .await;
    assert_eq!(site.reserved("FLASH").await, 100);
    let states = site.states().await;
    assert_eq!(states.len(), 500);
    assert_eq!(states.values().filter(|state| *state == "confirmed").count(), 100);
    assert_eq!(states.values().filter(|state| *state == "rejected").count(), 400);
    assert_eq!(site.told().await, (100, 400));
    let told = site.outbox("stock.changed").await;
    assert!((1..=2).contains(&told), "in to low to out, or in to out within one batch: {told}");
}

async fn baskets_in_opposite_order_at_several_workers_never_deadlock(site: Site) {
    let skus = ["A", "B", "C", "D", "E"];
    for sku in skus {
        site.stock(sku, 10_000).await;
    }
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(site.worker().await);
    }
    let contentions = join_all(workers.iter().enumerate().map(|(w, worker)| async move {
        let mut contentions = 0;
        for n in 0..20 {
            let batch: Vec<OrderPlaced> = (0..5)
                .map(|m| {
                    let mut lines: Vec<_> = skus.map(|sku| (sku, 1, 100)).into();
                    lines.rotate_left((w + n + m) % 5);
                    if w % 2 == 1 {
                        lines.reverse();
                    }
                    order(&format!("{w}-{n}-{m}"), &lines[..3])
                })
                .collect();
            contentions += deliver(worker, &batch).await.1;
        }
        contentions
    }))
    .await;
    assert_eq!(contentions, [0; 4], "rows are locked in one order by everybody");
    let mut sum = 0;
    for sku in skus {
        sum += site.reserved(sku).await;
    }
    assert_eq!(sum, 4 * 20 * 5 * 3);
}

async fn stock_that_crosses_a_band_is_told_once(site: Site) {
    site.stock("MUG", 15).await;
    let worker = site.worker().await;
    done(&worker, &[order("a", &[("MUG", 1, 100)]), order("b", &[("MUG", 3, 100)])]).await;
    assert_eq!(site.outbox("stock.changed").await, 0, "11 of 15 left, low is 10");
    done(&worker, &[order("c", &[("MUG", 1, 100)]), order("d", &[("MUG", 2, 100)])]).await;
    done(&worker, &[order("e", &[("MUG", 1, 100)]), order("c", &[("MUG", 1, 100)])]).await;
    let changes: Vec<StockChanged> = told(&site)
        .await
        .iter()
        .filter(|message| message.kind == "stock.changed")
        .map(|message| Envelope::<StockChanged>::from_message(message).unwrap().data)
        .collect();
    let low = StockChanged { region: "eu".parse().unwrap(), sku: "MUG".parse().unwrap(), band: Band::Low, version: 3 };
    assert_eq!(changes, [low], "one, with the version of the row that it tells of");
    assert_eq!(site.number("SELECT version AS n FROM stock").await, 4);
}

async fn duplicate_lines_are_one_line_and_one_movement(site: Site) {
    site.stock("MUG", 15).await;
    let twice = order("a", &[("MUG", 1, 100), ("MUG", 2, 100), ("MUG", 1, 50)]);
    done(&site.worker().await, std::slice::from_ref(&twice)).await;
    assert_eq!(site.reserved("MUG").await, 4);
    assert_eq!(site.number("SELECT CAST(count(*) AS bigint) AS n FROM stock_movements").await, 1);
    let lines = "SELECT CAST(line_no AS text) AS k, \
                 CAST(quantity AS text) || ' at ' || CAST(unit_price_minor AS text) AS v FROM order_lines";
    let lines: Vec<String> = site.texts(lines).await.into_values().collect();
    assert_eq!(lines, ["3 at 100", "1 at 50"], "a price of its own is a line of its own");
    let confirmed = site.outcomes().await.confirmed.remove(0);
    assert_eq!((confirmed.order_id, confirmed.total_minor), (twice.order_id, 350));
    assert_eq!(confirmed.lines.iter().map(|line| line.quantity.get()).collect::<Vec<_>>(), [3, 1]);
}

async fn every_order_ends_once_and_is_told_once(site: Site) {
    site.stock("MUG", 3).await;
    site.stock("CUP", 100).await;
    let worker = site.worker().await;
    let orders = [
        order("whole", &[("MUG", 2, 100), ("CUP", 1, 100)]),
        order("short", &[("CUP", 1, 100), ("MUG", 2, 100)]),
        order("unknown", &[("CUP", 1, 100), ("HAT", 1, 100)]),
        order("small", &[("MUG", 1, 100)]),
    ];
    done(&worker, &orders).await;
    let states = site.states().await;
    let states: Vec<_> = states.iter().map(|(key, state)| (key.as_str(), state.as_str())).collect();
    let expected = [("short", "rejected"), ("small", "confirmed"), ("unknown", "rejected"), ("whole", "confirmed")];
    assert_eq!(states, expected);
    let codes = "SELECT idempotency_key AS k, CAST(reason AS text) AS v FROM orders WHERE state = 'rejected'";
    let reasons = site.texts(codes).await;
    assert!(reasons["short"].contains("out_of_stock") && reasons["unknown"].contains("unknown_sku"), "{reasons:?}");
    assert_eq!((site.reserved("MUG").await, site.reserved("CUP").await), (3, 1), "all or nothing");
    let outcomes = site.outcomes().await;
    let confirmed = outcomes.confirmed.iter().map(|order| order.order_id.to_string());
    let mut told: Vec<String> = confirmed.chain(outcomes.rejected.iter().map(|o| o.order_id.to_string())).collect();
    told.sort();
    let mut ids: Vec<String> = orders.iter().map(|order| order.order_id.to_string()).collect();
    ids.sort();
    assert_eq!(told, ids);
}

async fn a_browser_pays_the_shops_price(site: Site) {
    site.stock("MUG", 100).await;
    site.stock("FREE", 100).await;
    site.price("MUG", 1, 80, Some(TimeDelta::hours(2))).await;
    site.price("MUG", 2, 100, Some(TimeDelta::minutes(5))).await;
    site.price("MUG", 3, 120, None).await;
    let now = TimeDelta::zero();
    let orders = [
        browser_order("current", &[("MUG", 1, 120)], now),
        browser_order("just-replaced", &[("MUG", 1, 100)], now),
        browser_order("shown-long-ago", &[("MUG", 1, 80)], TimeDelta::hours(3)),
        browser_order("old", &[("MUG", 1, 80)], now),
        browser_order("made-up", &[("MUG", 1, 1)], now),
        browser_order("never-priced", &[("FREE", 1, 0)], now),
        browser_order("unknown", &[("HAT", 1, 1)], now),
        order("server", &[("MUG", 1, 1)]),
    ];
    done(&site.worker().await, &orders).await;
    let states = site
        .texts("SELECT idempotency_key AS k, CASE WHEN reason IS NULL THEN state ELSE CAST(reason AS text) END AS v FROM orders")
        .await;
    for key in ["current", "just-replaced", "shown-long-ago", "server"] {
        assert_eq!(states[key], "confirmed", "{key}");
    }
    for key in ["old", "made-up", "never-priced"] {
        assert!(states[key].contains("price_changed"), "{key}: {}", states[key]);
    }
    assert!(states["unknown"].contains("unknown_sku"), "{}", states["unknown"]);
    assert_eq!(site.reserved("MUG").await, 4);
}

async fn a_withdrawn_product_is_sold_to_no_browser_that_was_shown_it_since(site: Site) {
    site.stock("MUG", 100).await;
    let worker = site.worker().await;
    let mug = ProductEdit {
        sku: "MUG".parse().unwrap(),
        title: "A mug".to_owned(),
        description: String::new(),
        image: None,
        collections: Vec::new(),
        price: Money::new(120, Currency::from_code("EUR").unwrap()),
        on_hand: None,
        low_threshold: None,
    };
    catalogue::put(&worker.region, &mug, &Expected::Anything, &SystemClock).await.unwrap();
    let lines = [("MUG", 1, 120)];
    done(&worker, &[browser_order("before", &lines, TimeDelta::zero())]).await;
    catalogue::withdraw(&worker.region, &mug.sku, &Expected::Anything, &SystemClock).await.unwrap();
    // As if that had been longer ago than the grace.
    let ended = accepted_at() - GRACE - TimeDelta::minutes(1);
    site.execute("UPDATE product_prices SET superseded_at = $1 WHERE superseded_at IS NOT NULL", [ended.into()]).await;
    let orders =
        [browser_order("since", &lines, TimeDelta::zero()), browser_order("shown before", &lines, TimeDelta::hours(1))];
    done(&worker, &orders).await;
    let states = site
        .texts("SELECT idempotency_key AS k, CASE WHEN reason IS NULL THEN state ELSE CAST(reason AS text) END AS v FROM orders")
        .await;
    assert_eq!((states["before"].as_str(), states["shown before"].as_str()), ("confirmed", "confirmed"));
    assert!(states["since"].contains("price_changed"), "{}", states["since"]);
}

/// A SKU may have had any number of prices; a batch reads those that one of its orders may be held against.
async fn prices_of_long_ago_are_not_read(site: Site) {
    site.price("MUG", 1, 80, Some(TimeDelta::minutes(20))).await;
    site.price("MUG", 2, 100, Some(TimeDelta::minutes(10))).await;
    site.price("MUG", 3, 120, None).await;
    let worker = site.worker().await;
    let tx = worker.region.database.begin().await.unwrap();
    let sku = "MUG".parse().unwrap();
    let read = async |ages: &[i64]| {
        let shown = |age: &i64| browser_order(&age.to_string(), &[("MUG", 1, 120)], TimeDelta::minutes(*age));
        let orders: Vec<_> = ages.iter().map(shown).collect();
        let since = price::honoured_since(orders.iter(), GRACE).unwrap();
        let found = sql::prices(&*tx, REGION, &BTreeSet::from([&sku]), since).await.unwrap();
        let mut amounts: Vec<i64> = found[&sku].iter().map(|price| price.unit_price_minor).collect();
        amounts.sort_unstable();
        amounts
    };
    assert_eq!(read(&[-1]).await, [120], "both were replaced before the grace");
    assert_eq!(read(&[0, -1]).await, [100, 120], "replaced at the very start of the grace");
    assert_eq!(read(&[0, 60, 1]).await, [80, 100, 120], "the page that is oldest decides");
    tx.rollback().await.unwrap();
}

async fn a_shortfall_in_the_warehouse_sells_nothing_and_harms_no_other_sku(site: Site) {
    site.stock("MUG", 10).await;
    site.stock("CUP", 10).await;
    let worker = site.worker().await;
    done(&worker, &[order("a", &[("MUG", 8, 100)])]).await;
    site.execute("UPDATE stock SET on_hand = 5, shortfall = 3 WHERE sku = 'MUG'", []).await;
    done(&worker, &[order("b", &[("MUG", 1, 100)]), order("c", &[("CUP", 1, 100)])]).await;
    assert_eq!((site.states().await["b"].as_str(), site.states().await["c"].as_str()), ("rejected", "confirmed"));
    assert_eq!(site.reserved("MUG").await, 8);
}
