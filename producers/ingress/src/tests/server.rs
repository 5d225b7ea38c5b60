//! The role on its own port.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use broker::BrokerState;
use service::Tasks;
use service::http;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{App, mugs};

#[tokio::test]
async fn it_is_ready_once_its_queues_are_declared_and_while_its_brokers_take_publishes() {
    let app = App::starting();
    assert!(!app.readiness.report().ready, "nothing is declared yet");
    let test = async {
        while !app.readiness.report().ready {
            tokio::task::yield_now().await;
        }
        app.orders.is(BrokerState::Blocked);
        let report = app.readiness.report();
        assert!(!report.ready && report.conditions["ingress.orders_broker"].contains("alarm"));
        app.orders.is(BrokerState::Ready);
        app.events.is(BrokerState::Disconnected);
        assert!(!app.readiness.report().ready);
        app.events.is(BrokerState::Ready);
        assert!(app.readiness.report().ready);
        app.shutdown.request();
    };
    let both = async { tokio::join!(app.ingress.maintain(app.shutdown.clone()), test) };
    let (maintained, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    maintained.unwrap();
    assert!(!app.readiness.report().ready, "a process that stops is not ready");
}

#[tokio::test]
async fn nothing_is_taken_before_its_queues_are_declared_and_orders_do_not_wait_for_those_of_events() {
    let app = App::starting();
    let event = serde_json::json!({"userId": "u", "event": "Clicked"});
    app.send(app.order("k", &mugs())).await.is_problem(503, "starting");
    app.send(app.post_events("/v1/track", &event)).await.is_problem(503, "starting");
    assert!(app.orders.stored().is_empty() && app.events.stored().is_empty());

    app.events.declares(false);
    let mut declaring = Box::pin(app.ingress.declare_queues());
    assert!(futures::poll!(declaring.as_mut()).is_pending());
    assert_eq!(app.send(app.order("k", &mugs())).await.status, 202);
    app.send(app.post_events("/v1/track", &event)).await.is_problem(503, "starting");

    app.events.declares(true);
    declaring.await.unwrap();
    assert_eq!(app.send(app.post_events("/v1/track", &event)).await.status, 200);
}

/// A request cut after half of its body: the server drops the handler, nothing reaches the broker, and the next request
/// with the key is a fresh order.
#[tokio::test]
async fn half_a_request_over_the_wire_is_no_order_and_a_whole_one_is() {
    let app = Arc::new(App::new());
    let config = http::Config { bind: ([127, 0, 0, 1], 0).into(), ..http::Config::default() };
    let server = http::Server::bind(config).await.unwrap();
    let address = server.local_addr();
    let tasks = Tasks::new();
    tasks.spawn("server", server.serve(app.router.clone(), app.shutdown.clone()));

    let body = mugs().to_string();
    let head = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        app.server_key,
        body.len()
    );
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    drop(half);

    let mut whole = TcpStream::connect(address).await.unwrap();
    whole.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    whole.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(!answer.contains("idempotency-replayed: true"), "{answer}");
    assert_eq!(app.orders.stored().len(), 1);
    app.shutdown.request();
    tasks.join().await;
}

/// The guarantee that a kill -9 of the client, or a load balancer that gives up, must not break.
#[tokio::test]
async fn a_client_that_leaves_the_wire_before_the_confirm_still_has_its_order() {
    let app = Arc::new(App::new());
    app.orders.hold();
    let config = http::Config { bind: ([127, 0, 0, 1], 0).into(), ..http::Config::default() };
    let server = http::Server::bind(config).await.unwrap();
    let address = server.local_addr();
    let tasks = Tasks::new();
    tasks.spawn("server", server.serve(app.router.clone(), app.shutdown.clone()));

    let body = mugs().to_string();
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\n\
         content-length: {}\r\n\r\n{body}",
        app.server_key,
        body.len()
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    app.orders.begun(1).await;
    drop(client);
    app.shutdown.request();
    tasks.join().await;
    app.orders.release();
    app.orders.stored_count(1).await;
    let again = app.send(app.order("k", &mugs())).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
}

#[tokio::test]
async fn the_router_leaves_unknown_paths_to_the_server() {
    let app = App::new();
    let request = Request::get("/v1/nothing").body(Body::empty()).unwrap();
    assert_eq!(app.send(request).await.status, 404);
}
