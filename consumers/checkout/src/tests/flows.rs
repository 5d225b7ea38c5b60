//! What becomes of an order after its sale, and of stock beside it.

use std::collections::BTreeMap;

use events::{
    Contract, Envelope, OrderConfirmed, OrderRefunded, OrderReleased, OrderState, ReleaseCause, StockShortfall,
};
use model::{MarketId, OrderId, Sku};
use sea_orm::ConnectionTrait as _;
use store::catalogue::Expected;
use store::stock::{self, Change, Done, Error, RefundLine};
use store::{Fault, Region};

use super::orders::{REGION, order};
use super::site::{Site, done, on_both};

on_both!(
    a_reservation_that_is_paid_is_confirmed_and_told_once,
    a_reservation_that_runs_out_gives_its_units_to_somebody_else,
    a_cancelled_order_is_released_once_and_cancelled_no_second_time,
    shipped_units_leave_the_warehouse_and_refunded_ones_may_come_back,
    a_refund_before_the_shipment_gives_promised_units_back_or_lets_them_go,
    a_count_below_what_is_promised_is_stored_and_its_shortfall_told,
    an_allotment_is_given_and_taken_back_and_promised_units_stay,
    a_key_makes_one_change_and_its_repeats_get_the_first_answer,
    a_request_that_was_forgotten_is_refused_and_not_made_again,
    another_markets_order_is_no_order,
    a_count_for_a_version_overwrites_no_delivery_that_it_has_not_seen,
    a_reservation_that_can_not_be_released_holds_up_no_other,
);

pub(crate) fn market() -> MarketId {
    "eu".parse().unwrap()
}

pub(crate) fn id(key: &str) -> OrderId {
    OrderId::derive(REGION, &market(), &key.parse().unwrap())
}

pub(crate) fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

/// Makes `change` as the storefront does: again where another transaction was in the way.
pub(crate) async fn apply(region: &Region, key: &str, change: &Change) -> Result<Done, Error> {
    loop {
        match stock::apply(region, &market(), &key.parse().unwrap(), change, &Expected::Anything).await {
            Err(Error::Database(error)) if matches!(Fault::classify(&error), Fault::Contention(_)) => {}
            made => return made,
        }
    }
}

/// The code of a refusal.
pub(crate) fn code(made: Result<Done, Error>) -> String {
    match made {
        Ok(done) => format!("made: {}", done.answer),
        Err(Error::Refused(refusal)) => refusal.code().to_owned(),
        Err(other) => other.to_string(),
    }
}

impl Site {
    pub(crate) async fn region(&self) -> Region {
        self.worker().await.region
    }

    pub(crate) async fn change(&self, key: &str, change: Change) -> Result<Done, Error> {
        apply(&self.region().await, key, &change).await
    }

    /// Lets the reservation of `key` run out.
    pub(crate) async fn overdue(&self, key: &str) {
        let sql = "UPDATE orders SET expires_at = '2020-01-01T00:00:00.000+00:00' WHERE state = 'reserved' \
                   AND idempotency_key = $1";
        self.execute(sql, [key.into()]).await;
    }

    /// On hand, reserved, shortfall. The ledger's sums and the open promises of all orders must agree with the row.
    pub(crate) async fn level(&self, sku: &str) -> (i64, i64, i64) {
        let of = |what: &str| self.number_of(format!("SELECT {what} AS n FROM stock WHERE sku = '{sku}'"));
        let (on_hand, reserved, shortfall) = (of("on_hand").await, of("reserved").await, of("shortfall").await);
        let moved = |what: &str| {
            let sum = format!("CAST(COALESCE(SUM({what}), 0) AS bigint)");
            self.number_of(format!("SELECT {sum} AS n FROM stock_movements WHERE sku = '{sku}'"))
        };
        assert_eq!(moved("on_hand_change").await, on_hand, "the movements of {sku} add up to what is on hand");
        assert_eq!(moved("reserved_change").await, reserved, "the movements of {sku} add up to what is reserved");
        let open = |table: &str, id: &str| {
            let sum = format!("CAST(COALESCE(SUM({table}.quantity), 0) AS bigint)");
            self.number_of(format!(
                "SELECT {sum} AS n FROM {table} JOIN orders ON orders.id = {table}.{id} WHERE sku = '{sku}' \
                 AND state IN ('reserved', 'paid', 'confirmed') AND shipped_at IS NULL"
            ))
        };
        let promised = open("order_lines", "order_id").await - open("order_refunds", "order_id").await;
        assert_eq!(promised, reserved, "what is reserved of {sku} are the open promises");
        assert_eq!((reserved - on_hand).max(0), shortfall, "the shortfall of {sku} is what is missing");
        (on_hand, reserved, shortfall)
    }

    async fn number_of(&self, sql: String) -> i64 {
        self.number(&sql).await
    }

    /// Every event of a type in the outbox.
    pub(crate) async fn events<P: Contract>(&self) -> Vec<P> {
        let region = self.region().await;
        let sql = format!("SELECT body FROM outbox WHERE kind = '{}' ORDER BY created_at, id", P::KIND);
        let rows = region.database.read().query_all_raw(region.database.statement(sql, [])).await.unwrap();
        let body = |row: &sea_orm::QueryResult| row.try_get::<Vec<u8>>("", "body").unwrap();
        rows.iter().map(|row| serde_json::from_slice::<Envelope<P>>(&body(row)).unwrap().data).collect()
    }

    async fn counted(&self, name: &str, on_hand: i64) {
        self.change(&format!("count {name}"), Change::Count { sku: sku(name), on_hand }).await.unwrap();
    }
}

async fn a_reservation_that_is_paid_is_confirmed_and_told_once(site: Site) {
    site.counted("MUG", 5).await;
    done(&site.reserving().await, &[order("a", &[("MUG", 2, 100)]), order("greedy", &[("MUG", 4, 100)])]).await;
    assert_eq!(site.states().await, BTreeMap::from([("a", "reserved"), ("greedy", "rejected")].map(owned)));
    assert_eq!(site.told().await, (0, 1), "a reservation is no sale yet");
    let paid = site.change("pay", Change::Pay { order: id("a") }).await.unwrap();
    assert_eq!((&paid.answer["state"], &paid.answer["version"]), (&"confirmed".into(), &3.into()));
    assert_eq!(paid.order.unwrap().state, OrderState::Confirmed);
    assert_eq!(code(site.change("pay again", Change::Pay { order: id("a") }).await), "order_confirmed");
    assert_eq!(code(site.change("pay greedy", Change::Pay { order: id("greedy") }).await), "order_rejected");
    let told: Vec<OrderConfirmed> = site.events().await;
    assert_eq!((told.len(), told[0].order_id, told[0].total_minor), (1, id("a"), 200));
    assert_eq!(told[0].lines, order("a", &[("MUG", 2, 100)]).lines);
    assert_eq!(site.level("MUG").await, (5, 2, 0));
    // A redelivery of the order changes nothing of what became of it.
    done(&site.reserving().await, &[order("a", &[("MUG", 2, 100)])]).await;
    assert_eq!(site.states().await["a"], "confirmed");
}

fn owned((key, state): (&str, &str)) -> (String, String) {
    (key.to_owned(), state.to_owned())
}

async fn a_reservation_that_runs_out_gives_its_units_to_somebody_else(site: Site) {
    site.counted("MUG", 3).await;
    let worker = site.reserving().await;
    let lines: &[(&str, u32, i64)] = &[("MUG", 1, 100), ("MUG", 1, 90)];
    done(&worker, &[order("late", lines), order("early", &[("MUG", 1, 100)])]).await;
    let region = site.region().await;
    assert_eq!(stock::expire(&region, 10).await.unwrap(), stock::Expired::default(), "nobody's time is up");
    site.overdue("late").await;
    let expired = stock::expire(&region, 10).await.unwrap();
    assert_eq!(expired.released.len(), 1);
    let now = &expired.released[0];
    assert_eq!((now.order_id, now.version, &now.state), (id("late"), 2, &OrderState::Released));
    assert_eq!(stock::expire(&region, 10).await.unwrap().released, []);
    let told: Vec<OrderReleased> = site.events().await;
    assert_eq!((told.len(), told[0].cause, told[0].was_confirmed), (1, ReleaseCause::Expired, false));
    assert_eq!(code(site.change("pay", Change::Pay { order: id("late") }).await), "order_released");

    done(&worker, &[order("somebody else", &[("MUG", 2, 100)])]).await;
    assert_eq!(site.states().await["somebody else"], "reserved");
    assert_eq!(site.level("MUG").await, (3, 3, 0));
}

async fn a_cancelled_order_is_released_once_and_cancelled_no_second_time(site: Site) {
    site.counted("MUG", 20).await;
    site.counted("PEN", 20).await;
    done(&site.worker().await, &[order("a", &[("MUG", 2, 100), ("PEN", 15, 10)])]).await;
    let cancel = Change::Cancel { order: id("a") };
    let cancelled = site.change("cancel", cancel.clone()).await.unwrap();
    assert_eq!(cancelled.answer["state"], "released");
    let again = site.change("cancel", cancel.clone()).await.unwrap();
    assert_eq!((again.answer, again.replayed), (cancelled.answer, true));
    assert_eq!(code(site.change("another key", cancel).await), "order_released");
    assert_eq!(code(site.change("ship", Change::Ship { order: id("a") }).await), "order_released");
    assert_eq!((site.level("MUG").await, site.level("PEN").await), ((20, 0, 0), (20, 0, 0)));
    let told: Vec<OrderReleased> = site.events().await;
    assert_eq!((told.len(), told[0].was_confirmed, told[0].total_minor, told[0].units), (1, true, 350, 17));
    // In at first, low at 5 of 10, in again.
    assert_eq!(site.outbox("stock.changed").await, 2 + 2);
}

fn refund(key: &str, name: &str, quantity: u32, restock: bool) -> Change {
    let line = RefundLine {
        sku: sku(name),
        quantity: quantity.try_into().unwrap(),
        restock,
        amount_minor: i64::from(quantity) * 100,
    };
    Change::Refund { order: id(key), lines: vec![line] }
}

async fn shipped_units_leave_the_warehouse_and_refunded_ones_may_come_back(site: Site) {
    site.counted("MUG", 10).await;
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    let ship = Change::Ship { order: id("a") };
    assert!(site.change("ship", ship.clone()).await.unwrap().answer["shipped_at"].is_string());
    assert_eq!(site.level("MUG").await, (6, 0, 0));
    assert_eq!(code(site.change("ship again", ship).await), "order_shipped");
    assert_eq!(code(site.change("cancel", Change::Cancel { order: id("a") }).await), "order_shipped");

    site.change("r-1", refund("a", "MUG", 1, true)).await.unwrap();
    assert_eq!(site.level("MUG").await, (7, 0, 0), "it came back");
    site.change("r-2", refund("a", "MUG", 2, false)).await.unwrap();
    assert_eq!(site.level("MUG").await, (7, 0, 0), "they did not");
    assert_eq!(code(site.change("r-3", refund("a", "MUG", 2, true)).await), "too_many_units");
    assert_eq!(code(site.change("r-4", refund("a", "PEN", 1, true)).await), "too_many_units");
    let Change::Refund { order, mut lines } = refund("a", "MUG", 1, true) else { unreachable!() };
    lines[0].amount_minor = 101;
    assert_eq!(code(site.change("r-5", Change::Refund { order, lines }).await), "too_much_money");
    let told: Vec<OrderRefunded> = site.events().await;
    let told: Vec<(&str, u32)> =
        told.iter().map(|told| (told.reference.as_str(), told.lines[0].quantity.get())).collect();
    assert_eq!(told, [("r-1", 1), ("r-2", 2)]);
}

async fn a_refund_before_the_shipment_gives_promised_units_back_or_lets_them_go(site: Site) {
    site.counted("MUG", 10).await;
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    site.change("r-1", refund("a", "MUG", 1, true)).await.unwrap();
    assert_eq!(site.level("MUG").await, (10, 3, 0));
    site.change("r-2", refund("a", "MUG", 1, false)).await.unwrap();
    assert_eq!(site.level("MUG").await, (9, 2, 0));
    let cancel = site.change("cancel", Change::Cancel { order: id("a") }).await;
    assert_eq!(code(cancel), "order_partly_refunded");
    site.change("ship", Change::Ship { order: id("a") }).await.unwrap();
    assert_eq!(site.level("MUG").await, (7, 0, 0), "the rest was shipped");

    done(&site.worker().await, &[order("b", &[("MUG", 1, 100)])]).await;
    site.change("r-3", refund("b", "MUG", 1, true)).await.unwrap();
    assert_eq!(code(site.change("ship b", Change::Ship { order: id("b") }).await), "nothing_left");
}

async fn a_count_below_what_is_promised_is_stored_and_its_shortfall_told(site: Site) {
    site.counted("MUG", 10).await;
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    let counted = site.change("count", Change::Count { sku: sku("MUG"), on_hand: 1 }).await.unwrap().answer;
    let shown = ["on_hand", "reserved", "available", "shortfall", "moved"].map(|name| counted[name].as_i64().unwrap());
    assert_eq!(shown, [1, 4, 0, 3, -9]);
    assert_eq!(site.level("MUG").await, (1, 4, 3));
    assert_eq!(code(site.change("ship", Change::Ship { order: id("a") }).await), "not_on_hand");
    done(&site.worker().await, &[order("b", &[("MUG", 1, 100)])]).await;
    assert_eq!(site.states().await["b"], "rejected");

    site.change("found", Change::Restock { sku: sku("MUG"), units: 3 }).await.unwrap();
    assert_eq!(site.level("MUG").await, (4, 4, 0));
    site.change("ship", Change::Ship { order: id("a") }).await.unwrap();
    let told: Vec<StockShortfall> = site.events().await;
    assert_eq!(told.iter().map(|told| (told.on_hand, told.shortfall)).collect::<Vec<_>>(), [(1, 3), (4, 0)]);
    let unknown = site.change("unknown", Change::Restock { sku: sku("CUP"), units: 3 }).await;
    assert_eq!(code(unknown), "unknown_sku");
}

async fn an_allotment_is_given_and_taken_back_and_promised_units_stay(site: Site) {
    let mug = || sku("MUG");
    let given = site.change("give", Change::Give { sku: mug(), units: 500 }).await.unwrap().answer;
    assert_eq!((&given["on_hand"], &given["moved"]), (&500.into(), &500.into()));
    done(&site.worker().await, &[order("a", &[("MUG", 120, 100)])]).await;
    let too_many = site.change("take", Change::Take { sku: mug(), units: Some(381) }).await;
    assert_eq!(code(too_many), "units_are_promised");
    site.change("take", Change::Take { sku: mug(), units: Some(80) }).await.unwrap();
    let rest = site.change("rest", Change::Take { sku: mug(), units: None }).await.unwrap().answer;
    assert_eq!((&rest["on_hand"], &rest["moved"], &rest["available"]), (&120.into(), &(-300).into(), &0.into()));
    assert_eq!(site.level("MUG").await, (120, 120, 0));
}

async fn a_key_makes_one_change_and_its_repeats_get_the_first_answer(site: Site) {
    let restock = |units| Change::Restock { sku: sku("MUG"), units };
    site.counted("MUG", 10).await;
    let first = site.change("k", restock(5)).await.unwrap();
    site.change("other", restock(1)).await.unwrap();
    for _ in 0..3 {
        let again = site.change("k", restock(5)).await.unwrap();
        assert_eq!((&again.answer, again.replayed), (&first.answer, true));
    }
    assert!(matches!(site.change("k", restock(6)).await, Err(Error::KeyReused)));
    assert!(matches!(site.change("k", Change::Cancel { order: id("a") }).await, Err(Error::KeyReused)));
    assert_eq!(site.level("MUG").await, (16, 0, 0));
    // What was refused is not remembered: the same key may try again once it fits.
    done(&site.reserving().await, &[order("a", &[("MUG", 4, 100)])]).await;
    assert_eq!(code(site.change("ship", Change::Ship { order: id("a") }).await), "order_not_confirmed");
    site.change("pay", Change::Pay { order: id("a") }).await.unwrap();
    assert!(!site.change("ship", Change::Ship { order: id("a") }).await.unwrap().replayed);
}

async fn a_request_that_was_forgotten_is_refused_and_not_made_again(site: Site) {
    site.counted("MUG", 10).await;
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    let changes = [
        ("restock", Change::Restock { sku: sku("MUG"), units: 5 }),
        ("give", Change::Give { sku: sku("MUG"), units: 5 }),
        ("refund", refund("a", "MUG", 1, true)),
    ];
    for (key, change) in &changes {
        site.change(key, change.clone()).await.unwrap();
    }
    let database = site.region().await.database;
    let week = std::time::Duration::from_hours(7 * 24);
    assert_eq!(stock::forget_requests(&database, week, 10).await.unwrap(), 0);
    site.execute("UPDATE stock_requests SET created_at = '2020-01-01T00:00:00.000+00:00'", []).await;
    let forgotten = [
        stock::forget_requests(&database, week, 3).await.unwrap(),
        stock::forget_requests(&database, week, 3).await.unwrap(),
    ];
    assert_eq!(forgotten, [3, 1]);
    for (key, change) in changes {
        assert_eq!(code(site.change(key, change).await), "made_before");
    }
    assert_eq!(site.level("MUG").await, (20, 3, 0));
}

async fn a_count_for_a_version_overwrites_no_delivery_that_it_has_not_seen(site: Site) {
    let region = site.region().await;
    let count = async |key: &str, on_hand: i64, expected: Expected| {
        let change = Change::Count { sku: sku("MUG"), on_hand };
        stock::apply(&region, &market(), &key.parse().unwrap(), &change, &expected).await
    };
    let current = |made: Result<Done, Error>| match made {
        Err(Error::Precondition { current }) => current,
        other => panic!("{other:?}"),
    };
    assert_eq!(current(count("k-0", 10, Expected::Existing).await), None, "and leaves no row behind");
    count("k-1", 10, Expected::Absent).await.unwrap();
    assert_eq!(current(count("k-2", 12, Expected::Absent).await), Some(1));
    site.change("delivery", Change::Restock { sku: sku("MUG"), units: 5 }).await.unwrap();
    assert_eq!(current(count("k-3", 12, Expected::OneOf(vec![1])).await), Some(2));
    assert_eq!(site.level("MUG").await, (15, 0, 0));
    // What was refused left no trace: its key may be used for the version that there is. And a repeat is the same.
    for replayed in [false, true] {
        let counted = count("k-3", 12, Expected::OneOf(vec![2])).await.unwrap();
        assert_eq!((&counted.answer["version"], counted.replayed), (&3.into(), replayed));
    }
    // A sale is a change, too: its units are promised since.
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    assert_eq!(current(count("k-4", 9, Expected::OneOf(vec![3])).await), Some(4));
    count("k-4", 9, Expected::OneOf(vec![3, 4])).await.unwrap();
    assert_eq!(site.level("MUG").await, (9, 4, 0));
}

async fn another_markets_order_is_no_order(site: Site) {
    site.counted("MUG", 10).await;
    done(&site.worker().await, &[order("a", &[("MUG", 4, 100)])]).await;
    let region = site.region().await;
    let cancel = Change::Cancel { order: id("a") };
    let other =
        stock::apply(&region, &"us".parse().unwrap(), &"k".parse().unwrap(), &cancel, &Expected::Anything).await;
    assert_eq!(code(other), "unknown_order");
    assert_eq!(code(site.change("k", Change::Cancel { order: id("nobody's") }).await), "unknown_order");
    assert_eq!(site.level("MUG").await, (10, 4, 0));
}

async fn a_reservation_that_can_not_be_released_holds_up_no_other(site: Site) {
    site.counted("MUG", 10).await;
    site.counted("PEN", 10).await;
    let worker = site.reserving().await;
    let orders = ["a", "b", "c"].map(|key| order(key, &[(if key == "a" { "PEN" } else { "MUG" }, 2, 100)]));
    done(&worker, &orders).await;
    // By hand, and against every rule.
    site.execute("DELETE FROM stock WHERE sku = 'PEN'", []).await;
    for key in ["a", "b", "c"] {
        site.overdue(key).await;
    }
    for released in [2, 0] {
        let expired = stock::expire(&worker.region, 10).await.unwrap();
        assert_eq!(expired.released.len(), released);
        assert_eq!(expired.stuck.len(), 1);
        assert_eq!(expired.stuck[0].0, id("a"));
        assert!(expired.stuck[0].1.contains("no stock of PEN"), "{}", expired.stuck[0].1);
    }
    assert_eq!(site.states().await["a"], "reserved");
    assert_eq!(site.level("MUG").await, (10, 0, 0));
}
