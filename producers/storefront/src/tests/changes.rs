//! Stock and orders, changed by the shop's own servers.

use futures::future::join_all;
use serde_json::{Value, json};
use testkit::http::Response;

use super::fixture::{Fixture, both, order, quick, without_database};
use crate::{Changes, Config};

impl Fixture {
    /// A change by the server key, for what `condition` names.
    async fn change_if(&self, condition: (&str, &str), path: &str, key: &str, body: &Value) -> Response {
        let authorization = format!("Bearer {}", self.api_keys.server);
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", key), condition];
        let method = method_of(path).parse().unwrap();
        self.http.send(method, &format!("{}{path}", self.base()), &headers, body.to_string()).await.unwrap()
    }

    async fn ask(&self, method: &str, path: &str, api_key: &str, key: Option<&str>, body: &str) -> Response {
        let authorization = format!("Bearer {api_key}");
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.http
            .send(method.parse().unwrap(), &format!("{}{path}", self.base()), &headers, body.to_owned())
            .await
            .unwrap()
    }

    /// A change by the server key.
    async fn change(&self, path: &str, key: &str, body: &Value) -> Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method_of(path), path, &self.api_keys.server, Some(key), &body).await
    }

    async fn made(&self, path: &str, key: &str, body: Value) -> Value {
        let answer = self.change(path, key, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json()
    }

    async fn refused(&self, path: &str, key: &str, body: Value) -> (u16, String) {
        let answer = self.change(path, key, &body).await;
        assert_eq!(answer.header("content-type"), "application/problem+json");
        (answer.status.as_u16(), answer.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    async fn stock(&self, sku: &str) -> Response {
        self.ask("GET", &format!("/v1/stock/{sku}"), &self.api_keys.server, None, "").await
    }

    /// An order of two mugs, as checkout leaves it, and ten mugs in stock.
    async fn sell(&self, key: &str, state: &str) {
        self.made("/v1/stock/MUG", &format!("count for {key}"), json!({"on_hand": 10})).await;
        self.commit(key, state, None).await;
        let id = order(key).as_uuid();
        for sql in [
            "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price_minor) VALUES ($1, 1, 'MUG', 2, 950)",
            "UPDATE stock SET reserved = reserved + 2, version = version + 1 WHERE sku = 'MUG' AND $1 = $1",
        ] {
            self.execute(sql, [id.into()]).await;
        }
    }
}

/// A count is put; every other change is posted.
fn method_of(path: &str) -> &'static str {
    if path.matches('/').count() == 3 && path.starts_with("/v1/stock") { "PUT" } else { "POST" }
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn stock_is_counted_restocked_lent_and_taken_back_with_exact_numbers() {
    for fixture in both(quick()).await {
        assert_eq!(fixture.stock("MUG").await.json()["code"], "unknown_sku");
        let counted = fixture.made("/v1/stock/MUG", "k-1", json!({"on_hand": 40})).await;
        let expected = json!({
            "sku": "MUG", "on_hand": 40, "reserved": 0, "available": 40, "shortfall": 0, "version": 1, "moved": 40,
        });
        assert_eq!(counted, expected);
        fixture.made("/v1/stock/MUG/restock", "k-2", json!({"units": 5})).await;
        fixture.made("/v1/stock/MUG/allotments", "k-3", json!({"give": 500})).await;
        fixture.made("/v1/stock/MUG/allotments", "k-4", json!({"take": 100})).await;
        let too_many = fixture.refused("/v1/stock/MUG/allotments", "k-5", json!({"take": 446})).await;
        assert_eq!(too_many, refusal(409, "units_are_promised"));
        let now = fixture.stock("MUG").await;
        assert_eq!((&now.json()["on_hand"], &now.json()["version"]), (&json!(445), &json!(4)));
        assert_eq!(now.json()["moved"], Value::Null);
        let rest = fixture.made("/v1/stock/MUG/allotments", "k-6", json!({"take": "rest"})).await;
        assert_eq!((&rest["moved"], &rest["on_hand"]), (&json!(-445), &json!(0)));
        let unknown = fixture.refused("/v1/stock/CUP/restock", "k-7", json!({"units": 5})).await;
        assert_eq!(unknown, refusal(404, "unknown_sku"));
        // A SKU may hold what a path separates.
        fixture.made("/v1/stock/MUG%2FBLUE", "k-8", json!({"on_hand": 1})).await;
        assert_eq!(fixture.stock("MUG%2FBLUE").await.json()["sku"], "MUG/BLUE");
    }
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_another_change_under_its_key_is_422() {
    for fixture in both(quick()).await {
        fixture.made("/v1/stock/MUG", "count", json!({"on_hand": 40})).await;
        let body = json!({"units": 5});
        let first = fixture.change("/v1/stock/MUG/restock", "k", &body).await;
        assert_eq!(first.header("idempotency-replayed"), "");
        let repeats = join_all((0..6).map(|_| fixture.change("/v1/stock/MUG/restock", "k", &body))).await;
        for repeat in repeats {
            assert_eq!((repeat.status.as_u16(), repeat.header("idempotency-replayed")), (200, "true"));
            assert_eq!(repeat.json(), first.json());
        }
        let other = fixture.refused("/v1/stock/MUG/restock", "k", json!({"units": 6})).await;
        assert_eq!(other, refusal(422, "idempotency_conflict"));
        let other = fixture.refused("/v1/stock/PEN/restock", "k", body).await;
        assert_eq!(other, refusal(422, "idempotency_conflict"));
        assert_eq!(fixture.stock("MUG").await.json()["on_hand"], 45);
    }
}

#[tokio::test]
async fn a_count_that_names_a_version_is_made_to_that_version_or_refused_with_the_current_one() {
    for fixture in both(quick()).await {
        let count = async |condition, key: &str, on_hand: i64| {
            fixture.change_if(condition, "/v1/stock/MUG", key, &json!({"on_hand": on_hand})).await
        };
        let none = count(("if-match", "\"1\""), "k-0", 40).await;
        assert_eq!((none.status.as_u16(), none.header("etag")), (412, ""), "{}", none.json());
        let begun = count(("if-none-match", "*"), "k-1", 40).await;
        assert_eq!((begun.status.as_u16(), begun.header("etag")), (200, "\"1\""), "{}", begun.json());
        assert_eq!(fixture.stock("MUG").await.header("etag"), "\"1\"");
        let delivery = fixture.change("/v1/stock/MUG/restock", "delivery", &json!({"units": 5})).await;
        assert_eq!(delivery.header("etag"), "\"2\"");

        let late = count(("if-match", "\"1\""), "k-2", 39).await;
        assert_eq!((late.status.as_u16(), late.header("etag")), (412, "\"2\""));
        assert_eq!(late.json()["code"], "precondition_failed");
        assert_eq!(fixture.stock("MUG").await.json()["on_hand"], 45, "the delivery is not lost");
        // It has left no trace: the same key for the version that there is, and the same again.
        for replayed in ["", "true"] {
            let made = count(("if-match", "\"2\""), "k-2", 44).await;
            assert_eq!((made.status.as_u16(), made.header("etag")), (200, "\"3\""), "{}", made.json());
            assert_eq!(made.header("idempotency-replayed"), replayed);
        }
        let lent = json!({"give": 1});
        let lent = fixture.change_if(("if-match", "\"2\""), "/v1/stock/MUG/allotments", "k-3", &lent).await;
        assert_eq!((lent.status.as_u16(), lent.header("etag")), (412, "\"3\""));
        let unread = count(("if-match", "3"), "k-4", 1).await;
        assert_eq!((unread.status.as_u16(), &unread.json()["code"]), (400, &json!("invalid_condition")));
        assert_eq!(fixture.stock("MUG").await.json()["on_hand"], 44);
    }
}

#[tokio::test]
async fn a_condition_on_an_order_is_refused_and_not_ignored() {
    let [fixture, _] = both(quick()).await;
    fixture.sell("a", "confirmed").await;
    let path = format!("/v1/orders/{}/cancel", order("a"));
    let refused = fixture.change_if(("if-match", "\"1\""), &path, "c-1", &json!({})).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (400, &json!("invalid_condition")));
    assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "confirmed");
}

#[tokio::test]
async fn an_order_is_paid_shipped_and_refunded_and_its_status_shows_it() {
    for fixture in both(quick()).await {
        fixture.sell("a", "confirmed").await;
        fixture
            .execute(
                "UPDATE orders SET state = 'reserved', expires_at = accepted_at WHERE id = $1",
                [order("a").as_uuid().into()],
            )
            .await;
        let path = |what: &str| format!("/v1/orders/{}/{what}", order("a"));
        let status = fixture.path("a", "body", "");
        assert_eq!(fixture.get(&status).await.json()["state"], "reserved");
        assert_eq!(fixture.refused(&path("ship"), "s-0", json!({})).await, refusal(409, "order_not_confirmed"));
        let paid = fixture.made(&path("pay"), "p-1", Value::Null).await;
        assert_eq!((&paid["state"], &paid["version"]), (&json!("confirmed"), &json!(3)));
        let shown = fixture.get(&status).await.json();
        assert_eq!((&shown["state"], &shown["terminal"]), (&json!("confirmed"), &json!(true)));
        assert_eq!(fixture.refused(&path("pay"), "p-2", Value::Null).await, refusal(409, "order_confirmed"));

        fixture.made(&path("ship"), "s-1", json!({})).await;
        assert_eq!(fixture.refused(&path("cancel"), "c-1", Value::Null).await, refusal(409, "order_shipped"));
        let lines = json!({"lines": [{"sku": "MUG", "quantity": 1, "restock": true, "amount_minor": 950}]});
        let refunded = fixture.made(&path("refunds"), "r-1", lines.clone()).await;
        assert_eq!(refunded["refunded"], lines["lines"]);
        let now = fixture.stock("MUG").await.json();
        assert_eq!((&now["on_hand"], &now["reserved"]), (&json!(9), &json!(0)));
    }
}

#[tokio::test]
async fn a_cancelled_order_is_shown_as_released_although_the_cache_knew_it_confirmed() {
    for fixture in both(quick()).await {
        fixture.sell("a", "confirmed").await;
        let status = fixture.path("a", "body", "");
        assert_eq!(fixture.get(&status).await.json()["state"], "confirmed");
        fixture.made(&format!("/v1/orders/{}/cancel", order("a")), "c-1", Value::Null).await;
        let shown = fixture.get(&status).await.json();
        assert_eq!((&shown["state"], &shown["version"]), (&json!("released"), &json!(2)));
        let late = fixture.refused(&format!("/v1/orders/{}/pay", order("a")), "p-1", Value::Null).await;
        assert_eq!(late, refusal(409, "order_released"));
    }
}

#[tokio::test]
async fn a_cancellation_that_the_cache_did_not_hear_of_is_shown_once_the_order_is_older_than_trusted() {
    for fixture in both(Config { trust_confirmed_s: 60, ..quick() }).await {
        fixture.commit("a", "confirmed", None).await;
        let status = fixture.path("a", "body", "");
        assert_eq!(fixture.get(&status).await.json()["state"], "confirmed");
        let sql = "UPDATE orders SET state = 'released', version = 2 WHERE id = $1";
        fixture.execute(sql, [order("a").as_uuid().into()]).await;
        assert_eq!(fixture.get(&status).await.json()["state"], "confirmed", "it is believed for a minute");
        fixture.clock.advance(chrono::TimeDelta::seconds(61));
        assert_eq!(fixture.get(&status).await.json()["state"], "released");
    }
}

#[tokio::test]
async fn who_has_no_server_key_for_it_changes_and_learns_nothing() {
    let [fixture, _] = both(quick()).await;
    fixture.sell("a", "confirmed").await;
    let path = format!("/v1/orders/{}/cancel", order("a"));
    for (key, status, code) in [
        ("", 401, "unauthenticated"),
        ("mp_live_nobody", 401, "unauthenticated"),
        (fixture.api_keys.orders_only.as_str(), 403, "forbidden"),
        (fixture.api_keys.browser.as_str(), 403, "forbidden"),
    ] {
        for (method, path) in [("POST", path.as_str()), ("GET", "/v1/stock/MUG"), ("PUT", "/v1/stock/MUG")] {
            let answer = fixture.ask(method, path, key, Some("k"), r#"{"on_hand": 1}"#).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)), "{method} {path}");
        }
    }
    assert!(
        fixture.ask("POST", &path, &fixture.api_keys.browser, Some("k"), "").await.json()["detail"]
            .as_str()
            .unwrap()
            .contains("server key")
    );
    let nobodys = fixture.refused("/v1/orders/17/cancel", "k", Value::Null).await;
    assert_eq!(nobodys, refusal(404, "unknown_order"));
    let nobodys = fixture.refused(&format!("/v1/orders/{}/cancel", order("b")), "k", Value::Null).await;
    assert_eq!(nobodys, refusal(404, "unknown_order"));
    assert_eq!(fixture.stock("MUG").await.json()["on_hand"], 10);
}

#[tokio::test]
async fn a_wrong_request_is_answered_with_every_wrong_field() {
    let [fixture, _] = both(quick()).await;
    let refunds = format!("/v1/orders/{}/refunds", order("a"));
    let cases = [
        ("/v1/stock/MUG", json!({"on_hand": -1, "colour": "red"}), vec!["/on_hand", "/colour"]),
        ("/v1/stock/MUG/restock", json!({"units": 0}), vec!["/units"]),
        ("/v1/stock/MUG/allotments", json!({}), vec![""]),
        ("/v1/stock/MUG/allotments", json!({"give": 1, "take": 1}), vec![""]),
        ("/v1/stock/MUG/allotments", json!({"take": "some"}), vec!["/take"]),
        (&refunds, json!({"lines": []}), vec!["/lines"]),
        (
            &refunds,
            json!({"lines": [{"sku": "MUG", "quantity": 0, "restock": "yes", "amount_minor": -1}, {"sku": "MUG"}]}),
            vec![
                "/lines/0/quantity",
                "/lines/0/restock",
                "/lines/0/amount_minor",
                "/lines/1/quantity",
                "/lines/1/restock",
                "/lines/1/amount_minor",
                "/lines/1/sku",
            ],
        ),
    ];
    for (path, body, wrong) in cases {
        let answer = fixture.change(path, "k", &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("invalid_change")), "{path} {body}");
        let errors = answer.json()["errors"].clone();
        let named: Vec<&str> =
            errors.as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(named, wrong, "{path} {body}");
    }
    let missing = fixture.ask("PUT", "/v1/stock/MUG", &fixture.api_keys.server, None, r#"{"on_hand": 1}"#).await;
    assert_eq!(missing.json()["code"], "idempotency_key_required");
    let broken = fixture.ask("PUT", "/v1/stock/MUG", &fixture.api_keys.server, Some("k"), "{").await;
    assert_eq!(broken.json()["code"], "not_json");
    let large = " ".repeat(70_000);
    let large = fixture.ask("PUT", "/v1/stock/MUG", &fixture.api_keys.server, Some("k"), &large).await;
    assert_eq!(large.status, 413);
    assert_eq!(fixture.stock("MUG").await.status, 404);
}

#[tokio::test]
async fn without_its_database_or_a_place_a_change_is_503_and_safe_to_send_again() {
    let fixture = without_database(quick()).await;
    let away = fixture.change("/v1/stock/MUG", "k", &json!({"on_hand": 1})).await;
    assert_eq!((away.status.as_u16(), &away.json()["code"]), (503, &json!("database_unavailable")));
    assert!(away.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert!(away.json()["detail"].as_str().unwrap().contains("same Idempotency-Key"));

    let [full, _] = both(Config { changes: Changes { max_in_flight: 0, ..Changes::default() }, ..quick() }).await;
    let answer = full.refused("/v1/stock/MUG", "k", json!({"on_hand": 1})).await;
    assert_eq!(answer, refusal(503, "temporary_reduced_capacity"));
}
