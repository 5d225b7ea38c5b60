use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, header};
use broker::{PublishError, layout};
use chrono::TimeDelta;
use events::{Envelope, OrderPlaced, Pricing};
use model::{OrderId, RegionNumber, StatusToken};
use serde_json::json;
use tokio::task::JoinSet;

use super::support::{App, ORIGIN, config, mugs, start_of_time, token_key};

#[tokio::test]
async fn an_order_is_published_for_its_region_and_answered_with_a_signed_status_url() {
    let app = App::new();
    let mut request = app.order("\"order-17\"", &mugs());
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    let answer = app.send(request).await;
    assert_eq!(answer.status, 202, "{}", answer.body);

    let expected = OrderId::derive(RegionNumber(258), &"eu".parse().unwrap(), &"order-17".parse().unwrap());
    assert_eq!(answer.body["order_id"], expected.to_string());
    assert_eq!(answer.body["status"], "queued");
    assert!(!answer.headers.contains_key("idempotency-replayed"));
    let location = answer.headers[header::LOCATION].to_str().unwrap();
    assert_eq!(answer.body["status_url"], location);
    let token = location.strip_prefix(&format!("/v1/orders/{expected}?t=")).unwrap();
    let token = StatusToken::verify(token, &token_key()).unwrap();

    let [stored] = &app.orders.stored()[..] else { panic!("one message") };
    assert_eq!(stored.exchange, layout::orders_exchange());
    assert_eq!(stored.routing_key, "order.placed.europe");
    let event = Envelope::<OrderPlaced>::from_message(&stored.message).unwrap();
    assert_eq!(event.traceparent.as_deref(), Some(trace));
    let order = event.data;
    assert_eq!(token.fingerprint, order.fingerprint);
    assert_eq!(token.accepted_at, start_of_time());
    assert_eq!((order.order_id, order.accepted_at), (expected, start_of_time()));
    assert_eq!((order.total_minor, order.lines[0].quantity.get()), (3200, 2));
    assert_eq!(order.computed_total().unwrap().minor, 3200);
    assert_eq!(order.reference.as_deref(), Some("A-17"));
    assert_eq!(order.attribution.campaign.as_deref(), Some("autumn"));
    assert_eq!(order.pricing, Pricing::Shop);
}

#[tokio::test]
async fn nothing_is_accepted_before_the_broker_has_confirmed() {
    let app = Arc::new(App::new());
    app.orders.hold();
    let mut asking = JoinSet::new();
    let asked = Arc::clone(&app);
    asking.spawn(async move { asked.send(asked.order("k", &mugs())).await });
    app.orders.begun(1).await;
    // Everything that could answer early gets its turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(asking.try_join_next().is_none(), "answered before the confirm");
    app.orders.answers(Err(PublishError::Unknown));
    app.orders.release();
    asking.join_next().await.unwrap().unwrap().is_problem(503, "outcome_unknown");
}

#[tokio::test]
async fn every_failure_to_publish_is_a_problem_of_its_own_that_is_safe_to_retry() {
    let app = App::new();
    for (error, code) in [
        (PublishError::Unavailable, "broker_unavailable"),
        (PublishError::Blocked("memory".to_owned()), "broker_blocked"),
        (PublishError::Saturated, "broker_saturated"),
        (PublishError::Refused("full".to_owned()), "queue_full"),
        (PublishError::Unknown, "outcome_unknown"),
        (PublishError::Unroutable, "unroutable"),
    ] {
        app.orders.answers(Err(error));
        let answer = app.send(app.order("k", &mugs())).await;
        answer.is_problem(503, code);
        assert!(answer.body["detail"].as_str().unwrap().contains("the same Idempotency-Key"));
    }
    app.orders.answers(Err(PublishError::TooLarge("1 MB".to_owned())));
    app.send(app.order("k", &mugs())).await.is_problem(413, "too_large");

    // None of them was remembered as accepted.
    app.orders.answers(Ok(()));
    let answer = app.send(app.order("k", &mugs())).await;
    assert_eq!(answer.status, 202);
    assert!(!answer.headers.contains_key("idempotency-replayed"));
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_cancel_its_publish() {
    let app = App::new();
    app.orders.hold();
    {
        let asking = app.send(app.order("k", &mugs()));
        tokio::pin!(asking);
        tokio::select! {
            _ = &mut asking => panic!("answered before the confirm"),
            () = app.orders.begun(1) => {}
        }
        // Dropped here, as the server drops a handler whose client is gone.
    }
    app.orders.release();
    app.orders.stored_count(1).await;
}

#[tokio::test]
async fn the_same_key_five_times_at_once_is_one_order() {
    let app = Arc::new(App::new());
    app.orders.hold();
    let mut asking = JoinSet::new();
    for _ in 0..5 {
        let app = Arc::clone(&app);
        asking.spawn(async move { app.send(app.order("k", &mugs())).await });
    }
    app.orders.begun(1).await;
    app.orders.release();
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 202));
    assert!(answers.windows(2).all(|two| two[0].body == two[1].body), "one id, one token");
    let replayed = answers.iter().filter(|answer| answer.headers.contains_key("idempotency-replayed"));
    assert_eq!(replayed.count(), 4);
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn a_replay_is_said_to_be_one_and_keeps_its_time_of_acceptance() {
    let app = App::new();
    let first = app.send(app.order("k", &mugs())).await;
    app.clock.advance(TimeDelta::seconds(60));
    // Quoted or bare, and with another attribution, it is the same order.
    let mut again = mugs();
    again["attribution"]["campaign"] = json!("winter");
    let second = app.send(app.order("\"k\"", &again)).await;
    assert_eq!(second.status, 202);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!(first.body, second.body);
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_conflict_and_no_second_order() {
    let app = App::new();
    app.send(app.order("k", &mugs())).await;
    let mut other = mugs();
    other["reference"] = json!("A-18");
    let answer = app.send(app.order("k", &other)).await;
    answer.is_problem(422, "idempotency_conflict");
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn above_the_bound_of_orders_in_flight_the_answer_is_503_at_once() {
    let app = Arc::new(App::with(crate::Config { max_in_flight_orders: 1, ..config() }));
    app.orders.hold();
    let mut asking = JoinSet::new();
    let first = Arc::clone(&app);
    asking.spawn(async move { first.send(first.order("one", &mugs())).await });
    app.orders.begun(1).await;
    let refused = app.send(app.order("two", &mugs())).await;
    refused.is_problem(503, "temporary_reduced_capacity");
    // Events have a bound of their own.
    let events = json!({"userId": "u", "event": "Clicked"});
    assert_eq!(app.send(app.post_events("/v1/track", &events)).await.status, 200);
    app.orders.release();
    assert_eq!(asking.join_next().await.unwrap().unwrap().status, 202);
    assert_eq!(app.send(app.order("two", &mugs())).await.status, 202);
}

#[tokio::test]
async fn bodies_that_never_end_close_neither_intake() {
    let app = App::with(crate::Config { max_in_flight_orders: 1, max_in_flight_events: 1, ..config() });
    let never = || Body::from_stream(futures::stream::pending::<std::io::Result<bytes::Bytes>>());
    let event = json!({"userId": "u", "event": "Clicked"});
    let slow_order = app.send(app.order("slow", &mugs()).map(|_| never()));
    let slow_event = app.send(app.post_events("/v1/track", &event).map(|_| never()));
    let (mut slow_order, mut slow_event) = (Box::pin(slow_order), Box::pin(slow_event));
    assert!(futures::poll!(slow_order.as_mut()).is_pending());
    assert!(futures::poll!(slow_event.as_mut()).is_pending());
    assert_eq!(app.send(app.order("k", &mugs())).await.status, 202);
    assert_eq!(app.send(app.post_events("/v1/track", &event)).await.status, 200);
}

/// The place is looked for before the body, and taken after it.
#[tokio::test]
async fn where_no_place_is_free_a_body_is_not_waited_for() {
    let app = Arc::new(App::with(crate::Config { max_in_flight_orders: 1, ..config() }));
    app.orders.hold();
    let mut asking = JoinSet::new();
    let first = Arc::clone(&app);
    asking.spawn(async move { first.send(first.order("one", &mugs())).await });
    app.orders.begun(1).await;
    let never = Body::from_stream(futures::stream::pending::<std::io::Result<bytes::Bytes>>());
    let refused = app.send(app.order("two", &mugs()).map(|_| never)).await;
    refused.is_problem(503, "temporary_reduced_capacity");
    app.orders.release();
    assert_eq!(asking.join_next().await.unwrap().unwrap().status, 202);
}

fn from_browser(app: &App, origin: Option<&str>, body: &serde_json::Value) -> Request<Body> {
    let mut request = app.order("k", body);
    let headers = request.headers_mut();
    headers.insert(header::AUTHORIZATION, format!("Bearer {}", app.browser_key).parse().unwrap());
    if let Some(origin) = origin {
        headers.insert(header::ORIGIN, origin.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_browser_key_is_priced_by_the_catalogue_as_of_the_acceptance() {
    let app = App::new();
    let body = json!({
        "currency": "EUR",
        "lines": [{"sku": "MUG", "quantity": 1, "unit_price_minor": 1250}],
        "total_minor": 1250,
    });
    let answer = app.send(from_browser(&app, Some(ORIGIN), &body)).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    let stored = &app.orders.stored()[0].message;
    let order = Envelope::<OrderPlaced>::from_message(stored).unwrap().data;
    assert_eq!(order.pricing, Pricing::Catalogue { shown_at: start_of_time() });
}

#[tokio::test]
async fn a_browser_key_sets_neither_shipping_nor_tax_nor_discount() {
    let app = App::new();
    let answer = app.send(from_browser(&app, Some(ORIGIN), &mugs())).await;
    answer.is_problem(400, "invalid_order");
    assert_eq!(answer.pointers(), ["/shipping_minor", "/tax_minor", "/discount_minor"]);
}

#[tokio::test]
async fn a_browser_key_works_from_its_origins_alone() {
    let app = App::new();
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let answer = app.send(from_browser(&app, origin, &mugs())).await;
        answer.is_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_for_known_origins() {
    let app = App::new();
    let preflight = |origin: &str| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri("/v1/orders")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,idempotency-key")
            .body(Body::empty())
            .unwrap()
    };
    let known = app.send(preflight(ORIGIN)).await;
    assert_eq!(known.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    let allowed = known.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
    assert!(allowed.contains("idempotency-key"), "{allowed}");
    let unknown = app.send(preflight("https://evil.example")).await;
    assert!(!unknown.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}
