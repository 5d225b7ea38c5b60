//! What is told of queues.

use broker::announce::HEARTBEATS;
use flow::{Beat, LimitedBy};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use testkit::wait;

use super::fixture::Site;
use super::parked::park_in;

async fn until(site: &Site, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, || async {
        let view = site.get("/v1/queues/checkout.main").await.1;
        holds(&view).then_some(view)
    })
    .await
    .unwrap()
}

fn beat() -> Beat {
    Beat {
        worker: "w".to_owned(),
        queue: "millpond.checkout.main.v1".to_owned(),
        taken: 10,
        handled: 9,
        taken_per_s: Some(40.0),
        handled_per_s: Some(30.0),
        oldest_ms: Some(41_000),
        in_hand: 10,
        limited_by: LimitedBy::Budget,
        paused: false,
    }
}

#[tokio::test]
async fn depths_come_from_the_broker_and_rates_from_heartbeats_and_what_neither_says_is_unknown() {
    for site in Site::both().await {
        site.publish(7).await;
        let view = until(&site, "the depth is known", |view| view["ready"] == 7 && view["in_per_s"].is_number()).await;
        // Nobody takes, so nothing gets out; how old the oldest was when it was first seen, nobody says.
        assert_eq!((&view["consumers"], &view["workers"], &view["out_per_s"]), (&json!(0), &json!(0), &json!(0.0)));
        assert_eq!((&view["oldest_at_least"], &view["limited_by"]), (&json!(true), &Value::Null));
        assert!(view["oldest_s"].is_number(), "{view}");
        assert_eq!((&view["parked"], &view["parked_rows"], &view["paused"]), (&json!(0), &json!(0), &Value::Null));

        let view = wait::until("the heartbeat is heard", || async {
            site.broker.announce(HEARTBEATS, beat().to_bytes().into());
            let view = site.get("/v1/queues/checkout.main").await.1;
            (view["workers"] == 1).then_some(view)
        })
        .await
        .unwrap();
        assert_eq!((&view["out_per_s"], &view["in_hand"], &view["oldest_s"]), (&json!(30.0), &json!(10), &json!(41.0)));
        let sentence = view["sentence"].as_str().unwrap();
        assert!(sentence.contains("7 orders waiting, oldest 41 s"), "{sentence}");
        assert!(sentence.ends_with("Limited by the database budget; more workers won't help."), "{sentence}");

        // It takes nothing more: what waits behind what it took only gets older.
        let view = wait::until("the oldest gets older", || async {
            site.broker.announce(HEARTBEATS, Beat { oldest_ms: None, ..beat() }.to_bytes().into());
            let view = site.get("/v1/queues/checkout.main").await.1;
            (view["oldest_s"].as_f64() > Some(41.0)).then_some(view)
        })
        .await
        .unwrap();
        assert_eq!((&view["ready"], &view["oldest_at_least"]), (&json!(7), &json!(false)));

        let (_, all) = site.get("/v1/queues").await;
        let names: Vec<&str> = all["queues"].as_array().unwrap().iter().filter_map(|q| q["queue"].as_str()).collect();
        let known = ["checkout.main", "analytics.orders", "invalidation", "analytics.pages"];
        assert_eq!(names, known.map(|name| format!("millpond.{name}.v1")));
        site.close().await;
    }
}

#[tokio::test]
async fn what_no_queue_wanted_is_told_of_with_and_without_a_parker() {
    for site in Site::both().await {
        site.publish_to("order.placed.atlantis", 2).await;
        park_in(site.database(), "millpond.unrouted", "a", "x").await;
        let unrouted = wait::until("the brokers say what no queue wanted", || async {
            let unrouted = site.get("/v1/queues").await.1["unrouted"].clone();
            (unrouted["ready"] == 2).then_some(unrouted)
        })
        .await
        .unwrap();
        assert_eq!(unrouted, json!({"queue": "millpond.unrouted", "ready": 2, "parked_rows": 1}));
        site.close().await;
    }
}

#[tokio::test]
async fn a_broker_that_is_gone_leaves_depths_unknown() {
    let site = Site::embedded().await;
    site.publish(7).await;
    until(&site, "the depth is known", |view| view["ready"] == 7).await;
    site.broker.close().await;
    let view = until(&site, "the depth is unknown", |view| view["ready"].is_null()).await;
    assert!(view["sentence"].as_str().unwrap().starts_with("Nobody says how many orders are waiting"), "{view}");
    site.close().await;
}

#[tokio::test]
async fn parked_rows_are_counted_where_the_parker_keeps_them_and_unknown_where_that_is_silent() {
    let site = Site::parked_aside().await;
    let aside = &site.databases.databases()[1];
    park_in(aside, "millpond.analytics.orders.v1", "a", "x").await;
    let rows = async |queue: &str| site.get(&format!("/v1/queues/{queue}")).await.1["parked_rows"].clone();
    assert_eq!((rows("analytics.orders").await, rows("checkout.main").await), (json!(1), json!(0)));

    let tx = aside.begin().await.unwrap();
    tx.execute_unprepared("DROP TABLE parked_messages").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((rows("analytics.orders").await, rows("checkout.main").await), (Value::Null, json!(0)));
    site.close().await;
}
