//! Orders are found, and what customers wrote is not shown by the way.

use axum::http::StatusCode;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};

use super::fixture::{Site, order_id};

async fn found(site: &Site, query: &str) -> Value {
    let (status, answer) = site.get(&format!("/v1/orders?find={query}")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

async fn execute(site: &Site, sql: &str, binds: Vec<sea_orm::Value>) {
    let tx = site.database().begin().await.unwrap();
    tx.execute_raw(site.database().statement(sql, binds)).await.unwrap();
    tx.commit().await.unwrap();
}

fn words(order: &Value) -> Vec<&str> {
    order["timeline"].as_array().unwrap().iter().filter_map(|moment| moment["what"].as_str()).collect()
}

#[tokio::test]
async fn an_order_is_found_by_id_key_and_reference_with_its_timeline() {
    for site in Site::both().await {
        let id = site.store_order("cart-1").await;
        site.store_order("cart-2").await;
        for find in [id.to_string(), "cart-1".to_owned(), "no-cart-1".to_owned()] {
            let answer = found(&site, &find).await;
            assert_eq!(answer["orders"].as_array().unwrap().len(), 1, "{find}: {answer}");
            let order = &answer["orders"][0];
            assert_eq!((&order["order_id"], &order["state"]), (&json!(id), &json!("confirmed")));
            assert_eq!((&order["total_minor"], &order["market"]), (&json!(2_900), &json!("main")));
            assert_eq!(order["lines"], json!([{"no": 1, "sku": "MUG", "quantity": 2, "unit_price_minor": 1_450}]));
            assert_eq!(order["outbox"], "told");
            assert_eq!(
                words(order),
                ["accepted by the ingress", "stored as confirmed", "stock of MUG: order (on hand +0, reserved +2)"]
            );
        }
        site.close().await;
    }
}

#[tokio::test]
async fn an_event_that_waits_in_the_outbox_is_told_of() {
    for site in Site::both().await {
        let id = site.store_order("cart-1").await;
        let sql = "INSERT INTO outbox (id, exchange, routing_key, kind, content_type, headers, body, occurred_at) VALUES \
                   ($1, 'e', 'k', 'order.outcomes', 'application/json', $2, $3, $4)";
        let body = json!({"confirmed": [{"order_id": id}]}).to_string().into_bytes();
        let at = chrono::DateTime::UNIX_EPOCH;
        let event = model::EventId::at(at).as_uuid();
        execute(&site, sql, vec![event.into(), json!({}).into(), body.into(), at.into()]).await;
        assert_eq!(found(&site, "cart-1").await["orders"][0]["outbox"], "waiting");
        site.close().await;
    }
}

#[tokio::test]
async fn what_was_paid_back_is_in_the_timeline() {
    for site in Site::both().await {
        let id = site.store_order("cart-1").await;
        let sql = "INSERT INTO order_refunds (order_id, sku, reference, quantity, restocked, amount_minor) VALUES \
                   ($1, 'MUG', 'return-1', 1, $2, 1450)";
        execute(&site, sql, vec![id.as_uuid().into(), true.into()]).await;
        let answer = found(&site, "cart-1").await;
        let paid = "paid back 1450 (minor units of EUR) for 1 x MUG, for sale again (refund return-1)";
        assert_eq!(words(&answer["orders"][0]).last(), Some(&paid), "{answer}");
        assert_eq!(answer["orders"][0]["timeline"][0].get("message_id"), None);
        site.close().await;
    }
}

#[tokio::test]
async fn what_a_customer_wrote_is_shown_to_who_asks_for_it_and_that_is_written_down() {
    for site in Site::both().await {
        let id = site.store_order("cart-1").await;
        let answer = found(&site, "cart-1").await;
        assert_eq!(answer["orders"][0]["customer"], "(redacted)");
        assert!(!answer.to_string().contains("cust-42"), "{answer}");
        assert_eq!(site.trail().await, [""; 0]);
        assert_eq!(found(&site, "cart-1&show_customer=true").await["orders"][0]["customer"], "cust-42");
        assert_eq!(site.trail().await, [format!("anna order.show_customer {id}")]);
        site.close().await;
    }
}

#[tokio::test]
async fn an_order_that_is_not_stored_is_told_to_be_parked_or_known_to_the_queue_alone() {
    for site in Site::both().await {
        let id = order_id("cart-9");
        let answer = found(&site, "cart-9").await;
        assert_eq!(answer["orders"], json!([]));
        assert_eq!((&answer["missing"][0]["order_id"], &answer["missing"][0]["parked"]), (&json!(id), &json!([])));
        assert_eq!(answer["missing"][0]["queue"], "millpond.checkout.main.v1");
        assert!(answer["advice"].as_str().unwrap().contains("known to the queue only"), "{answer}");

        let sql = "INSERT INTO parked_messages (queue, message_id, own_id, digest, kind, reason, reason_key, content_type, headers, \
                   body, published_at) VALUES ($4, 'm', 'm', $2, 'order.placed', 'a wrong total', 'a wrong total', \
                   'application/json', $1, $2, $3)";
        for (key, queue) in [("cart-9", "millpond.checkout.main.v1"), ("cart-10", "millpond.unrouted")] {
            let id = order_id(key);
            let body = json!({"order_id": id}).to_string().into_bytes();
            let binds = vec![json!({}).into(), body.into(), chrono::DateTime::UNIX_EPOCH.into(), queue.into()];
            execute(&site, sql, binds).await;
            let answer = found(&site, &id.to_string()).await;
            let parked = &answer["missing"][0]["parked"][0];
            assert_eq!(parked["what"], "order.placed was parked (open now): a wrong total", "{queue}");
            let (status, shown) = site.get(&format!("/v1/parked/{queue}/m")).await;
            assert_eq!((&parked["queue"], &parked["message_id"]), (&json!(queue), &json!("m")), "{answer}");
            assert_eq!((status, &shown["state"]), (StatusCode::OK, &json!("open")), "by these it is shown: {shown}");
            assert!(answer["advice"].as_str().unwrap().contains("millpond parked"), "{answer}");
        }
        site.close().await;
    }
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused_with_what_to_write() {
    let site = Site::embedded().await;
    for (query, status) in [
        ("/v1/orders", StatusCode::BAD_REQUEST),
        ("/v1/orders?find=", StatusCode::BAD_REQUEST),
        ("/v1/orders?find=x&colour=red", StatusCode::BAD_REQUEST),
        ("/v1/audit?limit=many", StatusCode::BAD_REQUEST),
    ] {
        let (answered, problem) = site.get(query).await;
        assert_eq!(answered, status, "{query}: {problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 20, "{problem}");
    }
    // An id of a region that is not here.
    let elsewhere = model::OrderId::derive(model::RegionNumber(9), &"main".parse().unwrap(), &"k".parse().unwrap());
    let (status, problem) = site.get(&format!("/v1/orders?find={elsewhere}")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(problem["detail"].as_str().unwrap().contains("region 9"), "{problem}");
    site.close().await;
}
