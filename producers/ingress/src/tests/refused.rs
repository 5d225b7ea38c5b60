//! Requests that are wrong, and what their answers name.

use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use chrono::TimeDelta;
use serde_json::{Value, json};
use service::fields::MAX_AMOUNT;
use service::keys::Scope;

use super::support::{App, add_key, config, mugs, start_of_time};

/// `mugs()` with one change.
fn with(pointer: &str, value: Value) -> Value {
    let mut order = mugs();
    *order.pointer_mut(pointer).unwrap() = value;
    order
}

fn without(name: &str) -> Value {
    let mut order = mugs();
    order.as_object_mut().unwrap().remove(name);
    order
}

/// An order of lines of (SKU, quantity, unit price).
fn with_lines(lines: &[(&str, u32, i64)]) -> Value {
    let line = |(sku, quantity, price): &(&str, u32, i64)| json!({"sku": sku, "quantity": quantity, "unit_price_minor": price});
    with("/lines", lines.iter().map(line).collect())
}

fn with_unknown(pointer: &str, name: &str) -> Value {
    let mut order = mugs();
    let object = order.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
    object.insert(name.to_owned(), json!(1));
    order
}

#[tokio::test]
async fn every_malformed_order_is_a_400_that_names_its_field() {
    let app = App::new();
    let cases = [
        (json!([]), ""),
        (json!("order"), ""),
        (without("currency"), "/currency"),
        (with("/currency", json!("USD")), "/currency"),
        (with("/currency", json!("eur")), "/currency"),
        (with("/currency", json!(978)), "/currency"),
        (without("lines"), "/lines"),
        (with("/lines", json!([])), "/lines"),
        (with("/lines", json!({})), "/lines"),
        (with("/lines", json!(vec![json!({}); 101])), "/lines"),
        (with("/lines/0", json!("MUG")), "/lines/0"),
        (with("/lines/0/sku", json!("two words")), "/lines/0/sku"),
        (with("/lines/0/sku", json!("")), "/lines/0/sku"),
        (with("/lines/0/sku", json!(7)), "/lines/0/sku"),
        (with("/lines/0/sku", json!("x".repeat(65))), "/lines/0/sku"),
        (with("/lines/0/quantity", json!(0)), "/lines/0/quantity"),
        (with("/lines/0/quantity", json!(-1)), "/lines/0/quantity"),
        (with("/lines/0/quantity", json!(10_001)), "/lines/0/quantity"),
        (with("/lines/0/quantity", json!(1.5)), "/lines/0/quantity"),
        (with("/lines/0/quantity", json!("2")), "/lines/0/quantity"),
        (with("/lines/0/quantity", json!(4_294_967_297_u64)), "/lines/0/quantity"),
        (with_lines(&[("A", 6_000, 0), ("B", 9_000, 0), ("A", 6_000, 0)]), "/lines/2/quantity"),
        (with("/lines/0/unit_price_minor", json!(-1)), "/lines/0/unit_price_minor"),
        (with("/lines/0/unit_price_minor", json!(12.5)), "/lines/0/unit_price_minor"),
        (with("/lines/0/unit_price_minor", Value::Null), "/lines/0/unit_price_minor"),
        (with_unknown("/lines/0", "color"), "/lines/0/color"),
        (with("/shipping_minor", json!(-5)), "/shipping_minor"),
        (with("/tax_minor", json!("210")), "/tax_minor"),
        (with("/discount_minor", json!(4_000)), "/discount_minor"),
        (without("total_minor"), "/total_minor"),
        (with("/total_minor", json!(3_201)), "/total_minor"),
        (with("/total_minor", json!(1e30)), "/total_minor"),
        (with("/lines/0/unit_price_minor", json!(i64::MAX)), "/lines/0/unit_price_minor"),
        (with("/lines/0/unit_price_minor", json!(MAX_AMOUNT + 1)), "/lines/0/unit_price_minor"),
        (with("/shipping_minor", json!(MAX_AMOUNT + 1)), "/shipping_minor"),
        (with("/tax_minor", json!(i64::MAX)), "/tax_minor"),
        (with("/discount_minor", json!(MAX_AMOUNT + 1)), "/discount_minor"),
        (with("/total_minor", json!(MAX_AMOUNT + 1)), "/total_minor"),
        (with_lines(&[("A", 10_000, MAX_AMOUNT)]), "/total_minor"),
        (with("/reference", json!("")), "/reference"),
        (with("/reference", json!("a\nb")), "/reference"),
        (with("/customer", json!("c".repeat(129))), "/customer"),
        (with("/attribution", json!("autumn")), "/attribution"),
        (with("/attribution/campaign", json!(1)), "/attribution/campaign"),
        (with_unknown("/attribution", "gclid"), "/attribution/gclid"),
        (with_unknown("", "price"), "/price"),
        (with_unknown("", "a/b~c"), "/a~1b~0c"),
    ];
    for (body, pointer) in cases {
        let answer = app.send(app.order("k", &body)).await;
        answer.is_problem(400, "invalid_order");
        assert_eq!(answer.pointers(), [pointer], "{body} {}", answer.body);
    }
    assert!(app.orders.stored().is_empty());
}

#[tokio::test]
async fn all_wrong_fields_are_named_at_once() {
    let app = App::new();
    let body = json!({
        "currency": "DM",
        "lines": [
            {"sku": "A", "quantity": 1, "unit_price_minor": 1},
            {"sku": "B B", "quantity": 0, "unit_price_minor": 0.5, "colour": "red"},
            {"quantity": 1},
        ],
        "total_minor": null,
        "note": "hurry",
    });
    let answer = app.send(app.order("k", &body)).await;
    answer.is_problem(400, "invalid_order");
    assert_eq!(
        answer.pointers(),
        [
            "/currency",
            "/lines/1/sku",
            "/lines/1/quantity",
            "/lines/1/unit_price_minor",
            "/lines/1/colour",
            "/lines/2/sku",
            "/lines/2/unit_price_minor",
            "/total_minor",
            "/note",
        ]
    );
}

#[tokio::test]
async fn an_answer_about_thousands_of_wrong_fields_stays_short() {
    let app = App::new();
    let body: Value = (0..3_000).map(|n| (format!("f{n}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let answer = app.send(app.order("k", &body)).await;
    answer.is_problem(400, "invalid_order");
    assert_eq!(answer.pointers().len(), 100);
    assert!(answer.body["detail"].as_str().unwrap().contains("3003 fields"), "{}", answer.body["detail"]);
}

#[tokio::test]
async fn an_order_without_a_usable_idempotency_key_is_told_what_to_send() {
    let app = App::new();
    let mut missing = app.order("k", &mugs());
    missing.headers_mut().remove("idempotency-key");
    let answer = app.send(missing).await;
    answer.is_problem(400, "idempotency_key_required");
    assert!(answer.body["detail"].as_str().unwrap().contains("is missing"));

    for wrong in ["", "\"half", &"k".repeat(256)] {
        app.send(app.order(wrong, &mugs())).await.is_problem(400, "idempotency_key_required");
    }
    let mut twice = app.order("k", &mugs());
    twice.headers_mut().append("idempotency-key", HeaderValue::from_static("other"));
    app.send(twice).await.is_problem(400, "idempotency_key_required");
    let mut binary = app.order("k", &mugs());
    binary.headers_mut().insert("idempotency-key", HeaderValue::from_bytes(&[0xff]).unwrap());
    app.send(binary).await.is_problem(400, "idempotency_key_required");
    assert_eq!(app.send(app.order(&"k".repeat(255), &mugs())).await.status, 202);
}

#[tokio::test]
async fn a_body_that_is_no_json_too_large_or_of_another_kind_is_refused() {
    let app = App::new();
    let order = |body: Body| app.order("k", &json!({})).map(|_| body);
    for broken in ["", "{", "{\"currency\": }", "{} {}", "\u{feff}{}"] {
        app.send(order(Body::from(broken))).await.is_problem(400, "not_json");
    }
    let deep = "[".repeat(60_000);
    app.send(order(Body::from(deep))).await.is_problem(400, "not_json");
    let invalid_utf8 = Body::from(&b"{\"reference\": \"\xff\"}"[..]);
    app.send(order(invalid_utf8)).await.is_problem(400, "not_json");
    app.send(order(Body::from(" ".repeat(65_537)))).await.is_problem(413, "too_large");

    for (name, value) in [
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (header::CONTENT_TYPE, "text/plain"),
        (header::CONTENT_ENCODING, "br"),
        (header::CONTENT_ENCODING, "gzip, gzip"),
    ] {
        let mut request = app.order("k", &mugs());
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        app.send(request).await.is_problem(415, "unsupported_media_type");
    }
    let mut request = app.order("k", &mugs());
    let vendor = HeaderValue::from_static("application/vnd.shop+json; charset=utf-8");
    request.headers_mut().insert(header::CONTENT_TYPE, vendor);
    assert_eq!(app.send(request).await.status, 202);
}

#[tokio::test]
async fn who_may_not_is_told_why() {
    let mut keys = Vec::new();
    let soon = start_of_time() + TimeDelta::seconds(1);
    let app = App::prepared(config(), |file| {
        keys = vec![
            ("mp_live_unknown".to_owned(), 401, "not known"),
            (add_key(file, "old", |key| key.expires_at = Some(soon)), 401, "expired"),
            (add_key(file, "pixel", |key| key.scopes = vec![Scope::Events]), 403, "scope `orders`"),
            (add_key(file, "mars", |key| key.market = "mars".parse().unwrap()), 403, "market mars"),
        ];
    });
    app.clock.advance(TimeDelta::seconds(1));
    for (key, status, said) in keys {
        let mut request = app.order("k", &mugs());
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let answer = app.send(request).await;
        let code = if status == 401 { "unauthenticated" } else { "forbidden" };
        answer.is_problem(status, code);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
        assert_eq!(answer.headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    }
    let nobody = Request::post("/v1/orders").body(Body::empty()).unwrap();
    app.send(nobody).await.is_problem(401, "unauthenticated");
}
