//! Parked messages over the API; what becomes of them is the parker's own business, and tested there.

use axum::http::{Method, StatusCode};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use store::Database;

use super::fixture::Site;

const QUEUE: &str = "millpond.checkout.main.v1";

async fn park(site: &Site, id: &str, reason: &str) {
    park_in(site.database(), QUEUE, id, reason).await;
}

/// Puts a row of `queue` into `database`.
pub(super) async fn park_in(database: &Database, queue: &str, id: &str, reason: &str) {
    let sql = "INSERT INTO parked_messages (queue, message_id, own_id, digest, kind, reason, reason_key, content_type, \
               headers, body, published_at) VALUES ($1, $2, $2, $4, 'order.placed', $3, $3, 'application/json', $5, $4, $6)";
    let body = json!({"data": {"customer": "ada@example.org"}}).to_string().into_bytes();
    let time = chrono::DateTime::UNIX_EPOCH;
    let binds = [queue.into(), id.into(), reason.into(), body.into(), json!({}).into(), time.into()];
    let tx = database.begin().await.unwrap();
    tx.execute_raw(database.statement(sql, binds)).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn parked_messages_are_shown_redacted_and_what_is_done_with_them_is_in_the_trail() {
    for site in Site::both().await {
        for (id, reason) in [("a/1", "no such region"), ("b", "no such region"), ("c", "no lines")] {
            park(&site, id, reason).await;
        }
        let (status, listing) = site.get("/v1/parked?reason=no%20such%20region").await;
        assert_eq!(status, StatusCode::OK, "{listing}");
        assert_eq!((listing["groups"].as_array().unwrap().len(), &listing["groups"][0]["open"]), (1, &json!(2)));
        let (status, shown) = site.get(&format!("/v1/parked/{QUEUE}/a%2F1")).await;
        assert_eq!((status, &shown["state"]), (StatusCode::OK, &json!("open")), "{shown}");
        assert!(!listing.to_string().contains("ada") && !shown.to_string().contains("ada"), "{listing} {shown}");

        let one = json!({"select": {"queue": QUEUE, "message_id": "a/1"}, "reason": "a test"});
        let (_, done) = site.send(Method::POST, "/v1/parked/discard", one).await;
        assert_eq!(done, json!({"messages": 1}));
        let (_, gone) = site.get("/v1/parked/messages?queue=checkout.main&state=discarded").await;
        assert_eq!((&gone["messages"][0]["message_id"], &gone["next"]), (&json!("a/1"), &Value::Null), "{gone}");
        let (_, first) = site.get("/v1/parked/messages?limit=1").await;
        assert_eq!((&first["messages"][0]["message_id"], &first["next"]), (&json!("b"), &json!(format!("{QUEUE}/b"))));
        let (_, second) = site.get(&format!("/v1/parked/messages?limit=1&after={QUEUE}/b")).await;
        assert_eq!((&second["messages"][0]["message_id"], &second["next"]), (&json!("c"), &Value::Null));
        let all = json!({"select": {"all": true}, "per_second": 5});
        let (_, done) = site.send(Method::POST, "/v1/parked/replay", all).await;
        assert_eq!(done, json!({"messages": 2}));
        let group = json!({"select": {"queue": "checkout.main"}});
        let (_, done) = site.send(Method::POST, "/v1/parked/stop", group).await;
        assert_eq!(done, json!({"messages": 2}));
        let expected = [
            format!("anna parked.stop {QUEUE}"),
            "anna parked.replay parked".to_owned(),
            format!("anna parked.discard {QUEUE}/a/1"),
        ];
        assert_eq!(site.trail().await, expected);
        site.close().await;
    }
}

#[tokio::test]
async fn what_can_not_be_meant_of_parked_messages_is_refused_and_leaves_no_trail() {
    let site = Site::embedded().await;
    park(&site, "a", "x").await;
    for (path, body) in [
        ("/v1/parked/replay", json!({})),
        ("/v1/parked/replay", json!({"select": {"message_id": "a"}})),
        ("/v1/parked/replay", json!({"select": {"all": true, "colour": "red"}})),
        ("/v1/parked/replay", json!({"select": {"all": true}, "per_second": 0})),
        ("/v1/parked/replay", json!({"select": {"all": true}, "per_second": 1e9})),
        ("/v1/parked/stop", json!({})),
        ("/v1/parked/stop", json!({"select": {"all": true}, "reason": "why"})),
        ("/v1/parked/discard", json!({"select": {"all": true}})),
        ("/v1/parked/discard", json!({"reason": "why"})),
    ] {
        let (status, problem) = site.send(Method::POST, path, body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 20, "{problem}");
    }
    for query in ["state=gone", "after=nowhere", "limit=many", "colour=red"] {
        let (status, problem) = site.get(&format!("/v1/parked/messages?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {problem}");
    }
    for path in ["/v1/parked/replay", "/v1/parked/stop"] {
        let (status, _) = site.ask(Method::POST, path, "", Some(json!({"select": {"all": true}}))).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(site.ask(Method::GET, "/v1/parked/messages", "", None).await.0, StatusCode::UNAUTHORIZED);
    let (status, _) = site.get(&format!("/v1/parked/{QUEUE}/nobody")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(site.trail().await, Vec::<String>::new());
    let (_, shown) = site.get(&format!("/v1/parked/{QUEUE}/a")).await;
    assert_eq!((&shown["state"], &shown["note"]), (&json!("open"), &Value::Null));
    site.close().await;
}

#[tokio::test]
async fn a_queue_may_be_named_in_short_and_one_that_nobody_knows_is_not_taken_for_an_empty_one() {
    // Its region was removed, and what was parked of it was not.
    const REMOVED: &str = "millpond.checkout.atlantis.v1";
    for site in Site::both().await {
        park(&site, "a", "x").await;
        park_in(site.database(), REMOVED, "b", "x").await;
        for (name, open) in
            [(QUEUE, json!(1)), ("checkout.main", json!(1)), (REMOVED, json!(1)), ("millpond.unrouted", Value::Null)]
        {
            let (status, listing) = site.get(&format!("/v1/parked?queue={name}")).await;
            assert_eq!((status, &listing["groups"][0]["open"]), (StatusCode::OK, &open), "{name}: {listing}");
        }
        let wrong = json!({"queue": "checkout.mian"});
        for (status, problem) in [
            site.get("/v1/parked?queue=checkout.mian").await,
            site.get("/v1/parked/checkout.mian/a").await,
            site.send(Method::POST, "/v1/parked/replay", json!({"select": wrong})).await,
            site.send(Method::POST, "/v1/parked/discard", json!({"select": wrong, "reason": "a test"})).await,
        ] {
            assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains(QUEUE) && detail.contains("millpond.unrouted"),
                "it says which there are: {detail}"
            );
        }
        assert_eq!(site.trail().await, [""; 0]);
        let one = json!({"select": {"queue": "checkout.main", "message_id": "a"}, "reason": "a test"});
        let (_, done) = site.send(Method::POST, "/v1/parked/discard", one).await;
        assert_eq!(done, json!({"messages": 1}));
        assert_eq!(site.trail().await, [format!("anna parked.discard {QUEUE}/a")]);

        let tx = site.database().begin().await.unwrap();
        tx.execute_unprepared("DROP TABLE parked_messages").await.unwrap();
        tx.commit().await.unwrap();
        let (status, listing) = site.get("/v1/parked?queue=checkout.mian").await;
        assert_eq!((status, &listing["silent"][0]["database"]), (StatusCode::OK, &json!("main")), "who knows?");
        site.close().await;
    }
}
