use axum::body::Body;
use axum::http::{Request, header};
use broker::PublishError;
use events::{Envelope, OrderPlaced, Pricing};
use model::{OrderId, RegionNumber, StatusToken};

use super::support::{Answer, App, ORIGIN, config, start_of_time, token_key};
use crate::Config;

const FIELDS: &str = "idempotency_key=form-1&sku=MUG%2FRED&quantity=2&unit_price_minor=1250&currency=EUR";

fn form(api_key: &str, fields: &str) -> Request<Body> {
    Request::post("/v1/orders")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ORIGIN, ORIGIN)
        .body(Body::from(format!("api_key={api_key}&{fields}")))
        .unwrap()
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.body);
    assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
    answer.headers[header::LOCATION].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_form_orders_as_json_does_and_leads_to_the_orders_page() {
    let app = App::new();
    let page = location(&app.send(form(&app.browser_key, FIELDS)).await);
    let id = OrderId::derive(RegionNumber(258), &"eu".parse().unwrap(), &"form-1".parse().unwrap());
    let token = page.strip_prefix(&format!("/orders/{id}?t=")).unwrap();
    assert_eq!(StatusToken::verify(token, &token_key()).unwrap().order_id, id);

    let [stored] = &app.orders.stored()[..] else { panic!("one message") };
    let order = Envelope::<OrderPlaced>::from_message(&stored.message).unwrap().data;
    assert_eq!((order.order_id, order.total_minor, order.lines.len()), (id, 2_500, 1));
    assert_eq!((order.lines[0].sku.as_str(), order.lines[0].quantity.get()), ("MUG/RED", 2));
    assert_eq!(order.pricing, Pricing::Catalogue { shown_at: start_of_time() });

    let config = Config { public_url: "https://shop.example/".to_owned(), ..config() };
    let public = App::with(config);
    let page = location(&public.send(form(&public.browser_key, FIELDS)).await);
    assert!(page.starts_with(&format!("https://shop.example/orders/{id}?t=")), "{page}");
}

#[tokio::test]
async fn a_form_that_is_sent_again_is_the_same_order() {
    let app = App::new();
    let first = location(&app.send(form(&app.browser_key, FIELDS)).await);
    assert_eq!(location(&app.send(form(&app.browser_key, FIELDS)).await), first);
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn a_form_that_was_not_taken_leads_back_with_its_key_and_says_when_to_send_it_again() {
    let app = App::new();
    app.orders.answers(Err(PublishError::Unknown));
    // The key's market, whatever the form says of it: with another one it would be another order.
    let fields = format!("{FIELDS}&market=us");
    let back = location(&app.send(form(&app.browser_key, &fields)).await);
    let seconds = back.strip_prefix("/order/review?sku=MUG%2FRED&quantity=2&key=form-1&market=eu&busy=").unwrap();
    assert!((1..=60).contains(&seconds.parse::<u32>().unwrap()), "{back}");

    app.orders.answers(Ok(()));
    assert!(location(&app.send(form(&app.browser_key, &fields)).await).starts_with("/orders/"));
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn a_form_whose_key_another_order_has_leads_back_and_orders_nothing() {
    let app = App::new();
    location(&app.send(form(&app.browser_key, FIELDS)).await);
    let other = FIELDS.replace("quantity=2", "quantity=3");
    let back = location(&app.send(form(&app.browser_key, &other)).await);
    assert_eq!(back, "/order/review?sku=MUG%2FRED&quantity=3&key=form-1&market=eu&used=1");
    assert_eq!(app.orders.stored().len(), 1);
}

#[tokio::test]
async fn a_form_keeps_the_rules_of_keys_origins_and_orders() {
    let app = App::new();
    app.send(form(&app.server_key, FIELDS)).await.is_problem(403, "forbidden");
    app.send(form("mp_live_unknown", FIELDS)).await.is_problem(401, "unauthenticated");
    let mut elsewhere = form(&app.browser_key, FIELDS);
    elsewhere.headers_mut().insert(header::ORIGIN, "https://evil.example".parse().unwrap());
    app.send(elsewhere).await.is_problem(403, "forbidden");
    let wrong = app.send(form(&app.browser_key, &FIELDS.replace("quantity=2", "quantity=0"))).await;
    wrong.is_problem(400, "invalid_order");
    let dollars = app.send(form(&app.browser_key, &FIELDS.replace("EUR", "USD"))).await;
    dollars.is_problem(400, "invalid_order");
    let huge = format!("{FIELDS}&market={}", "x".repeat(5_000));
    app.send(form(&app.browser_key, &huge)).await.is_problem(413, "too_large");
    assert!(app.orders.stored().is_empty());
}
