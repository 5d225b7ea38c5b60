//! What each kind of evidence is called.

use std::collections::HashSet;

use model::{OrderId, RegionNumber};

use super::*;
use crate::journal::{Attempt, Entry};

fn id(key: &str) -> OrderId {
    OrderId::derive(RegionNumber(1), &"main".parse().unwrap(), &key.parse().unwrap())
}

/// A run `run` of so many attempts, all accepted, that ended.
fn claims(attempts: u64, change: impl FnOnce(&mut Vec<Entry>)) -> Claims {
    let mut entries = vec![Entry::Run { run: "run".to_owned(), seed: 1 }, Entry::Reserved { to: 1_000 }];
    for n in 0..attempts {
        let key = format!("run-{n}");
        let order_id = Some(id(&key));
        entries.push(Entry::Attempt(Attempt { n, key, sku: "MUG".to_owned(), quantity: 1 }));
        entries.push(Entry::Answer { n, status: Some(202), order_id, latency_us: 1 });
    }
    entries.push(Entry::Ended);
    change(&mut entries);
    Claims::of(entries.into_iter().map(Ok)).unwrap()
}

fn order(key: &str) -> Order {
    let (state, key) = ("confirmed".to_owned(), key.to_owned());
    Order { id: id(&key).as_uuid(), region: 1, state, reason: None, key }
}

fn line(sku: &str, ordered: i64, taken: i64) -> Line {
    Line { sku: sku.to_owned(), ordered, taken }
}

/// Ten units, of which orders took so many.
fn sold(units: i64) -> Stock {
    let moved = Moved { on_hand: 10, reserved: units };
    Stock { on_hand: 10, reserved: units, shortfall: 0, taken: units, moved }
}

/// `run-0` and `run-1` stored as they should be but for `change`; ten units of `MUG`.
fn finding(claims: &Claims, change: impl FnOnce(&mut Vec<(Order, Vec<Line>)>, &mut Stock)) -> Finding {
    let mut orders: Vec<_> = ["run-0", "run-1"].map(|key| (order(key), vec![line("MUG", 1, 1)])).into();
    let mut stock = sold(2);
    change(&mut orders, &mut stock);
    let beside = Beside::default();
    let mut audit = Audit::new(std::slice::from_ref(claims), &beside);
    for (order, lines) in &orders {
        audit.order(order, lines);
    }
    audit.stock(1, "MUG".to_owned(), stock);
    audit.finish()
}

#[test]
fn orders_that_were_all_kept_are_clean() {
    let found = finding(&claims(2, |_| ()), |_, _| ());
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.accepted, found.confirmed), (2, 2));
    assert_eq!(found.states, BTreeMap::from([("confirmed".to_owned(), 2)]));
}

#[test]
fn an_accepted_order_that_is_not_there_or_not_at_its_end_is_lost() {
    assert_eq!(finding(&claims(3, |_| ()), |_, _| ()).lost, 1);
    let placed = finding(&claims(2, |_| ()), |orders, stock| {
        orders[0].0.state = "placed".to_owned();
        orders[0].1[0].taken = 0;
        *stock = sold(1);
    });
    assert_eq!((placed.lost, placed.duplicated, placed.oversold), (1, 0, 0), "{placed:?}");
}

#[test]
fn units_taken_twice_are_duplicated_whoever_shows_it() {
    let claims = claims(2, |_| ());
    let by_order = finding(&claims, |orders, stock| {
        orders[0].1[0].taken = 2;
        *stock = sold(3);
    });
    assert_eq!(by_order.duplicated, 1, "{by_order:?}");
    assert_eq!(finding(&claims, |_, stock| stock.reserved = 3).duplicated, 1, "by the row");
    let stray = finding(&claims, |_, stock| *stock = sold(3));
    assert_eq!(stray.duplicated, 1, "by a movement that no order asked for");
}

#[test]
fn orders_of_others_are_held_to_the_ledger_alone() {
    let theirs = |orders: &mut Vec<(Order, Vec<Line>)>, _: &mut Stock| {
        orders.push((Order { state: "rejected".to_owned(), ..order("mine") }, vec![line("MUG", 1, 0)]));
    };
    let found = finding(&claims(2, |_| ()), theirs);
    assert!(found.is_clean(), "{found:?}");
}

#[test]
fn two_orders_under_one_key_are_duplicated() {
    let twice = |orders: &mut Vec<(Order, Vec<Line>)>, _: &mut Stock| {
        orders.push((Order { id: Uuid::from_u128(7), ..order("run-0") }, vec![]));
    };
    assert_eq!(finding(&claims(2, |_| ()), twice).duplicated, 1);
    let split = claims(2, |entries| {
        entries.push(Entry::Answer { n: 1, status: Some(202), order_id: Some(id("other")), latency_us: 1 });
    });
    assert_eq!(finding(&split, |_, _| ()).duplicated, 1);
}

#[test]
fn an_order_that_was_refused_or_never_sent_is_unexpected() {
    let refused = claims(2, |entries| {
        entries.push(Entry::Answer { n: 1, status: Some(422), order_id: None, latency_us: 1 });
    });
    assert_eq!(finding(&refused, |_, _| ()).unexpected, 1);
    assert_eq!(finding(&claims(1, |_| ()), |_, _| ()).unexpected, 1, "after the end of the run");
}

#[test]
fn an_unknown_outcome_may_be_either_and_never_twice() {
    let unknown = claims(3, |entries| {
        for n in [1, 2] {
            entries.push(Entry::Answer { n, status: Some(503), order_id: None, latency_us: 1 });
        }
    });
    let found = finding(&unknown, |_, _| ());
    assert!(found.is_clean(), "{found:?}");
    assert_eq!((found.unknown_stored, found.unknown_absent), (1, 1));
    let twice = finding(&unknown, |orders, _| {
        orders.push((Order { id: Uuid::from_u128(7), ..order("run-1") }, vec![]));
    });
    assert_eq!(twice.duplicated, 1);
}

#[test]
fn units_of_one_sku_do_not_stand_for_those_of_another() {
    let swapped = finding(&claims(2, |_| ()), |orders, stock| {
        orders[0].1 = vec![line("MUG", 1, 2), line("PEN", 1, 0)];
        *stock = sold(3);
    });
    assert_eq!((swapped.duplicated, swapped.oversold), (1, 1), "{swapped:?}");
}

#[test]
fn units_promised_beyond_the_count_are_oversold() {
    let claims = claims(2, |_| ());
    assert_eq!(finding(&claims, |_, stock| stock.on_hand = 1).oversold, 1);
    let counted = |_: &mut Vec<_>, stock: &mut Stock| *stock = Stock { on_hand: 1, shortfall: 1, ..*stock };
    assert_eq!(finding(&claims, counted).oversold, 0, "a count that named the shortfall is not an oversale");
    let never_set_aside = finding(&claims, |orders, stock| {
        orders[0].1[0].taken = 0;
        *stock = sold(1);
    });
    assert_eq!(never_set_aside.oversold, 1);
}

#[test]
fn a_confirmed_order_is_what_was_asked_for_or_it_is_lost() {
    let claims = claims(2, |_| ());
    let gone = finding(&claims, |orders, stock| {
        orders[0].1.clear();
        *stock = sold(1);
    });
    assert_eq!((gone.lost, gone.confirmed), (1, 2), "without lines: {gone:?}");
    let more = finding(&claims, |orders, stock| {
        orders[0].1 = vec![line("MUG", 2, 2)];
        *stock = sold(3);
    });
    assert_eq!((more.lost, more.breaches.of(Guarantee::Kept)), (1, 1), "another quantity");
    assert_eq!(more.breaches.guarantees().count(), 1, "and nothing else: {}", more.breaches);
    let other = finding(&claims, |orders, stock| {
        orders[0].1 = vec![line("PEN", 1, 0)];
        *stock = sold(1);
    });
    assert_eq!(other.lost, 1, "another article: {other:?}");
}

#[test]
fn an_order_of_unknown_outcome_that_was_confirmed_has_its_lines() {
    let unknown = claims(2, |entries| {
        entries.push(Entry::Answer { n: 1, status: None, order_id: None, latency_us: 1 });
    });
    let gone = finding(&unknown, |orders, stock| {
        orders[1].1.clear();
        *stock = sold(1);
    });
    assert_eq!((gone.lost, gone.unknown_stored), (1, 1), "{gone:?}");
}

/// The guarantees that a finding names, each with what it says of it.
fn broken(finding: &Finding) -> Vec<(Guarantee, &str)> {
    assert_eq!(finding.is_clean(), finding.breaches.is_empty(), "{finding:?}");
    finding.breaches.named().iter().map(|breach| (breach.guarantee, breach.subject.as_str())).collect()
}

#[test]
fn each_breach_names_its_guarantee_and_what_to_look_at() {
    let [first, third] = ["run-0", "run-2"].map(|key| format!("order {} under the key {key}", id(key)));
    assert_eq!(broken(&finding(&claims(2, |_| ()), |_, _| ())), []);
    assert_eq!(broken(&finding(&claims(3, |_| ()), |_, _| ())), [(Guarantee::Kept, third.as_str())]);
    let claims = claims(2, |_| ());
    let twice = finding(&claims, |orders, stock| {
        orders[0].1[0].taken = 2;
        *stock = sold(3);
    });
    assert_eq!(broken(&twice), [(Guarantee::Once, format!("order {}, MUG", id("run-0")).as_str())]);
    let unsent = finding(&claims, |orders, _| orders.push((order("run-7"), vec![])));
    let seventh = format!("order {} under the key run-7", id("run-7"));
    assert_eq!(broken(&unsent), [(Guarantee::Attempted, seventh.as_str())]);
    let oversold = finding(&claims, |_, stock| (stock.on_hand, stock.moved.on_hand) = (1, 1));
    assert_eq!(broken(&oversold), [(Guarantee::Ledger, "MUG of region 1")]);
    let again = finding(&claims, |orders, _| orders.push((Order { id: Uuid::from_u128(7), ..order("run-0") }, vec![])));
    let seventh = format!("order {} under the key run-0", Uuid::from_u128(7));
    assert_eq!(broken(&again), [(Guarantee::Once, seventh.as_str())], "beside {first}");
}

#[test]
fn a_row_of_stock_is_the_sum_of_its_movements() {
    let claims = claims(2, |_| ());
    for change in [
        (|stock: &mut Stock| stock.moved.on_hand = 9) as fn(&mut Stock),
        |stock| stock.moved.reserved = 1,
        |stock| stock.moved.reserved = 3,
    ] {
        let found = finding(&claims, |_, stock| change(stock));
        assert_eq!((found.unbalanced, broken(&found)), (1, vec![(Guarantee::Ledger, "MUG of region 1")]));
    }
}

#[test]
fn an_accepted_order_that_is_visibly_parked_is_not_lost() {
    let claims = claims(3, |_| ());
    let beside = Beside { parked: HashSet::from([id("run-2").as_uuid()]), keys: Some(HashSet::new()) };
    let mut audit = Audit::new(std::slice::from_ref(&claims), &beside);
    for key in ["run-0", "run-1"] {
        audit.order(&order(key), &[line("MUG", 1, 1)]);
    }
    audit.stock(1, "MUG".to_owned(), sold(2));
    let found = audit.finish();
    assert!(found.is_clean() && found.parked == 1, "{found:?}");
    let twice = Beside { parked: HashSet::from([id("run-0"), id("run-2")].map(OrderId::as_uuid)), ..beside };
    let mut audit = Audit::new(std::slice::from_ref(&claims), &twice);
    for key in ["run-0", "run-1"] {
        audit.order(&order(key), &[line("MUG", 1, 1)]);
    }
    assert_eq!(audit.finish().breaches.of(Guarantee::Kept), 1, "but not both parked and at its end");
}

#[test]
fn where_all_keys_are_known_a_strangers_order_was_attempted_by_nobody() {
    let claims = claims(0, |_| ());
    let found = |keys: &[&str]| {
        let keys = Some(keys.iter().map(|key| (*key).to_owned()).collect());
        let beside = Beside { keys, ..Beside::default() };
        let mut audit = Audit::new(std::slice::from_ref(&claims), &beside);
        audit.order(&order("mine"), &[line("MUG", 1, 1)]);
        audit.stock(1, "MUG".to_owned(), sold(1));
        audit.finish()
    };
    assert!(found(&["mine"]).is_clean());
    assert_eq!(found(&["yours"]).breaches.of(Guarantee::Attempted), 1);
}

#[test]
fn a_released_order_has_come_to_its_end_and_gave_back_what_it_took() {
    let claims = claims(2, |_| ());
    let released = finding(&claims, |orders, stock| {
        orders[0].0.state = "released".to_owned();
        *stock = Stock { reserved: 1, moved: Moved { on_hand: 10, reserved: 1 }, ..*stock };
    });
    assert!(released.is_clean(), "{released:?}");
}

#[test]
fn each_of_several_journals_judges_its_own_orders() {
    let other = |entries: &mut Vec<Entry>| {
        *entries = vec![Entry::Run { run: "other".to_owned(), seed: 1 }, Entry::Reserved { to: 10 }];
        let attempt = Attempt { n: 0, key: "other-0".to_owned(), sku: "MUG".to_owned(), quantity: 1 };
        entries.push(Entry::Attempt(attempt));
        entries.push(Entry::Answer { n: 0, status: Some(202), order_id: Some(id("other-0")), latency_us: 1 });
        entries.push(Entry::Ended);
    };
    let journals = [claims(1, |_| ()), claims(0, other)];
    let beside = Beside { keys: Some(HashSet::new()), ..Beside::default() };
    let found = |keys: &[&str]| {
        let mut audit = Audit::new(&journals, &beside);
        for key in keys {
            audit.order(&order(key), &[line("MUG", 1, 1)]);
        }
        audit.stock(1, "MUG".to_owned(), sold(i64::try_from(keys.len()).unwrap()));
        audit.finish()
    };
    assert!(found(&["run-0", "other-0"]).is_clean());
    assert_eq!(found(&["run-0"]).breaches.of(Guarantee::Kept), 1);
    assert_eq!(found(&["run-0", "other-0", "other-1"]).breaches.of(Guarantee::Attempted), 1);
}
