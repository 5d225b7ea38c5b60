//! Intake and prices: no database.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use events::{OrderPlaced, Pricing, Rejection};
use model::RegionNumber;

use super::orders::{REGION, accepted_at, browser_order, event, order};
use crate::intake::{Refusal, check};
use crate::price::{Price, Prices, refusal};

fn complaint(order: OrderPlaced) -> String {
    match check(&event(order), REGION) {
        Err(Refusal::Never(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_order_of_another_region_is_refused_with_a_reason_that_says_what_to_compare() {
    let event = event(order("a", &[("MUG", 1, 100)]));
    let Err(Refusal::Elsewhere(reason)) = check(&event, RegionNumber(2)) else {
        panic!("it is for another region");
    };
    assert!(reason.contains("belongs to region 1") && reason.contains("compare the regions' numbers"), "{reason}");
}

#[test]
fn an_order_that_no_ingress_would_publish_is_refused_with_its_reason() {
    let good = || order("a", &[("MUG", 2, 100)]);
    let cases = [
        (OrderPlaced { idempotency_key: "b".parse().unwrap(), ..good() }, "not computed from"),
        (OrderPlaced { lines: vec![], ..good() }, "no lines"),
        (OrderPlaced { total_minor: 201, ..good() }, "sum up to 200"),
        (OrderPlaced { tax_minor: -5, total_minor: 195, ..good() }, "below 0"),
        (OrderPlaced { shipping_minor: i64::MAX, ..good() }, "can't be computed"),
        (order("a", &[("MUG", 9_000, 1), ("MUG", 9_000, 1)]), "18000 units together"),
        (
            OrderPlaced {
                discount_minor: 50,
                total_minor: 150,
                pricing: Pricing::Catalogue { shown_at: accepted_at() },
                ..good()
            },
            "can't grant a discount",
        ),
    ];
    for (order, expected) in cases {
        let reason = complaint(order);
        assert!(reason.contains(expected), "{reason:?} lacks {expected:?}");
    }
    assert!(check(&event(good()), REGION).is_ok());
}

const GRACE: TimeDelta = TimeDelta::minutes(10);

/// 100 until 5 minutes before `accepted_at`, then 120.
fn prices() -> Prices {
    let version =
        |unit_price_minor, superseded_at| Price { currency: "EUR".to_owned(), unit_price_minor, superseded_at };
    BTreeMap::from([(
        "MUG".parse().unwrap(),
        vec![version(100, Some(accepted_at() - TimeDelta::minutes(5))), version(120, None)],
    )])
}

#[test]
fn the_current_price_and_the_one_just_replaced_stand_and_an_older_one_does_not() {
    let shown = |price, age| {
        let order = browser_order("a", &[("MUG", 1, price)], TimeDelta::minutes(age));
        refusal(&order, &prices(), GRACE)
    };
    assert_eq!(shown(120, 0), None, "the current price");
    assert_eq!(shown(100, 0), None, "replaced within the grace");
    assert_eq!(shown(100, 60), None, "replaced after the page was shown");
    assert_eq!(shown(100, -6), Some(price_changed()), "the grace is over");
    assert_eq!(shown(90, 0), Some(price_changed()), "never a price");
}

#[test]
fn a_server_key_vouches_for_its_own_prices() {
    let order = order("a", &[("MUG", 1, 1)]);
    assert_eq!(refusal(&order, &prices(), GRACE), None);
}

#[test]
fn a_price_in_another_currency_is_not_the_price() {
    let mut order = browser_order("a", &[("MUG", 1, 120)], TimeDelta::zero());
    order.currency = model::Currency::from_code("JPY").unwrap();
    assert_eq!(refusal(&order, &prices(), GRACE), Some(price_changed()));
}

fn price_changed() -> Rejection {
    Rejection::PriceChanged { skus: vec!["MUG".parse().unwrap()] }
}
