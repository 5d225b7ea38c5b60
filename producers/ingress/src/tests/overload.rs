//! What is taken and what is not when there is too much: on both brokers, with nobody who consumes.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use broker::announce::HEARTBEATS;
use broker::{Broker, BrokerState, QueueName, layout};
use broker_embedded::Embedded;
use broker_rabbit::Rabbit;
use flow::{Beat, LimitedBy};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use service::Tasks;
use testkit::rabbit::FreshVhost;
use testkit::wait;

use super::support::{Answer, App, config, mugs};
use crate::{Config, LimitsConfig, OverloadConfig};

fn click() -> Value {
    json!({"userId": "u", "event": "Clicked", "messageId": "m"})
}

/// Looks often, and sheds events by these limits alone.
fn strict(events: LimitsConfig) -> Config {
    let orders = LimitsConfig::default();
    let overload =
        OverloadConfig { look_ms: 100, heartbeat_expires_ms: 1_000, orders, events, ..OverloadConfig::default() };
    Config { overload, ..config() }
}

/// The ingress in front of `broker`, which works; `test` runs beside it.
async fn beside(broker: Arc<dyn Broker>, config: Config, test: &impl AsyncFn(Arc<App>)) {
    let app = Arc::new(App::on(broker, config));
    let (tasks, maintained) = (Tasks::new(), Arc::clone(&app));
    let shutdown = app.shutdown.clone();
    let running = tasks.spawn("ingress", async move { maintained.ingress.maintain(shutdown).await });
    wait::until("the queues are declared", || async { app.readiness.report().ready.then_some(()) }).await.unwrap();
    test(Arc::clone(&app)).await;
    app.shutdown.request();
    running.await.unwrap().unwrap();
}

async fn on_both(config: impl Fn() -> Config, test: impl AsyncFn(Arc<App>)) {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(folder.path().join("queue"), broker_embedded::Config::default()).await.unwrap();
    beside(embedded.clone(), config(), &test).await;
    embedded.close().await;

    let vhost = FreshVhost::create().await.unwrap();
    let rabbit = Rabbit::connect(vhost.url(), "ingress test", broker_rabbit::Config::default()).unwrap();
    beside(rabbit.clone(), config(), &test).await;
    rabbit.close().await;
}

/// Posts events until one is answered with `status`.
async fn events_until(app: &App, status: StatusCode) -> Answer {
    wait::until(&format!("events are answered {status}"), || async {
        let answer = app.send(app.post_events("/v1/track", &click())).await;
        (answer.status == status).then_some(answer)
    })
    .await
    .unwrap()
}

async fn an_order_is_taken(app: &App, key: &str) {
    let answer = app.send(app.order(key, &mugs())).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_events_are_shed_by_what_waits_while_orders_are_taken() {
    let limits = || strict(LimitsConfig { waiting_bytes: 2_000, ..LimitsConfig::default() });
    on_both(limits, async |app| {
        let shed = events_until(&app, StatusCode::SERVICE_UNAVAILABLE).await;
        shed.is_problem(503, "temporary_reduced_capacity");
        assert_eq!(shed.body["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
        for number in 0..20 {
            an_order_is_taken(&app, &format!("k-{number}")).await;
        }
        // A bad key is told so, also now, and nobody has to upload a body to hear of either.
        let never = Body::from_stream(stream::pending::<std::io::Result<bytes::Bytes>>());
        let mut unread = app.post_events("/v1/batch", &click()).map(|_| never);
        let uploading = tokio::time::timeout(Duration::from_secs(5), app.send(unread)).await;
        uploading.expect("answered before the body").is_problem(503, "temporary_reduced_capacity");
        unread = app.post_events("/v1/batch", &click());
        unread.headers_mut().insert(header::AUTHORIZATION, "Bearer nobody".parse().unwrap());
        app.send(unread).await.is_problem(401, "unauthenticated");

        let metrics = app.metrics.text();
        for series in [
            "millpond_ingress_shedding{class=\"events\",queue=\"millpond.analytics.pages.v1\"} 1.0",
            "millpond_ingress_shedding{class=\"orders\",queue=\"millpond.checkout.europe.v1\"} 0.0",
            "millpond_ingress_shed_requests_total{class=\"orders\",reason=\"waiting_bytes\"} 0",
            "millpond_ingress_requests_total{class=\"orders\",outcome=\"accepted\",reason=\"\"} 20",
        ] {
            assert!(metrics.contains(&format!("{series}\n")), "{series} in\n{metrics}");
        }
        assert!(!metrics.contains("shed_requests_total{class=\"events\",reason=\"waiting_bytes\"} 0\n"), "{metrics}");

        // Taken away by somebody, they are taken again.
        let queue = layout::analytics_pages_queue();
        let mut pages = app.broker().subscribe(&queue, 100).await.unwrap();
        let taking = async {
            while let Some(delivery) = pages.next().await {
                delivery.settle(broker::Settle::Ack).await.unwrap();
            }
        };
        let orders = async {
            let queue = layout::checkout_queue(&"europe".parse().unwrap());
            let mut orders = app.broker().subscribe(&queue, 100).await.unwrap();
            while let Some(delivery) = orders.next().await {
                delivery.settle(broker::Settle::Ack).await.unwrap();
            }
        };
        tokio::select! {
            () = taking => panic!("the subscription ended"),
            () = orders => panic!("the subscription ended"),
            _taken = events_until(&app, StatusCode::OK) => {}
        }
    })
    .await;
}

fn beat(queue: &QueueName, oldest_ms: u64) -> Beat {
    Beat {
        worker: "w".to_owned(),
        queue: queue.as_str().to_owned(),
        taken: 1,
        handled: 1,
        taken_per_s: Some(1.0),
        handled_per_s: Some(1.0),
        oldest_ms: Some(oldest_ms),
        in_hand: 0,
        paused: false,
        limited_by: LimitedBy::Busy,
    }
}

/// Says it again and again, as a worker does.
async fn beating(app: &App, beat: &Beat) -> Infallible {
    let mut due = tokio::time::interval(Duration::from_millis(50));
    loop {
        due.tick().await;
        app.broker().announce(HEARTBEATS, beat.to_bytes().into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_events_are_shed_by_age_and_a_heartbeat_that_stops_is_unknown_and_sheds_nothing() {
    let limits = || strict(LimitsConfig { oldest_s: 60, ..LimitsConfig::default() });
    on_both(limits, async |app| {
        events_until(&app, StatusCode::OK).await;
        let shed = async {
            let shed = events_until(&app, StatusCode::SERVICE_UNAVAILABLE).await;
            shed.is_problem(503, "temporary_reduced_capacity");
            an_order_is_taken(&app, "k").await;
        };
        let old = beat(&layout::analytics_pages_queue(), 61_000);
        tokio::select! {
            () = shed => {}
            never = beating(&app, &old) => match never {},
        }
        // Nobody speaks any more: not known, and not shed.
        events_until(&app, StatusCode::OK).await;
        let known = || app.metrics.text().contains("millpond_queue_oldest_age_seconds{");
        wait::until("the age is not shown any more", || async { (!known()).then_some(()) }).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_told_how_long_it_will_wait_in_line_and_nothing_where_nobody_knows() {
    on_both(
        || strict(LimitsConfig::default()),
        async |app| {
            let sent = AtomicU64::new(0);
            let order = async || {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                app.send(app.order(&format!("k-{number}"), &mugs())).await.body
            };
            for _ in 0..8 {
                assert_eq!(order().await["wait_s"], Value::Null, "nobody works yet");
            }
            // One worker, which handles two a second and holds two.
            let queue = layout::checkout_queue(&"europe".parse().unwrap());
            let busy = Beat { handled_per_s: Some(2.0), in_hand: 2, ..beat(&queue, 1_000) };
            let told = async {
                let wait = wait::until("the wait is told", async || order().await["wait_s"].as_u64()).await.unwrap();
                let most = (sent.load(Ordering::Relaxed) + 2).div_ceil(2);
                assert!((5..=most).contains(&wait), "{wait} s, of {most} at most");
            };
            tokio::select! {
                () = told => {}
                never = beating(&app, &busy) => match never {},
            }
            let unknown = async || order().await["wait_s"].is_null().then_some(());
            wait::until("nothing is told where nobody works any more", unknown).await.unwrap();
        },
    )
    .await;
}

/// A paused database is what the queue is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_nobody_takes_are_not_shed_for_the_wait() {
    on_both(
        || Config { overload: OverloadConfig { look_ms: 100, ..OverloadConfig::default() }, ..config() },
        async |app| {
            for number in 0..100 {
                an_order_is_taken(&app, &format!("k-{number}")).await;
            }
            let depth = "millpond_queue_waiting_bytes{queue=\"millpond.checkout.europe.v1\"} ";
            let looked_at = || app.metrics.text().contains(depth);
            wait::until("the queue was looked at", || async { looked_at().then_some(()) }).await.unwrap();
            an_order_is_taken(&app, "one more").await;
        },
    )
    .await;
}

#[tokio::test]
async fn an_alarm_and_a_broker_that_is_gone_shed_everything_before_the_body_is_read() {
    let app = App::new();
    let never = || Body::from_stream(stream::pending::<std::io::Result<bytes::Bytes>>());
    for (state, code) in [(BrokerState::Blocked, "broker_blocked"), (BrokerState::Disconnected, "broker_unavailable")] {
        app.orders.is(state);
        app.events.is(state);
        let begin = std::time::Instant::now();
        app.send(app.order("k", &mugs()).map(|_| never())).await.is_problem(503, code);
        app.send(app.post_events("/v1/batch", &click()).map(|_| never())).await.is_problem(503, code);
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    }
    let metrics = app.metrics.text();
    for class in ["orders", "events"] {
        for reason in ["alarm", "disconnected"] {
            let series = format!("millpond_ingress_shed_requests_total{{class=\"{class}\",reason=\"{reason}\"}} 1\n");
            assert!(metrics.contains(&series), "{series} in {metrics}");
        }
    }
    assert_eq!(app.orders.stored().len() + app.events.stored().len(), 0);
}

#[tokio::test]
async fn bodies_in_flight_are_bounded_in_bytes_for_orders_and_events_apart() {
    let limits = Config {
        order_bytes: 1_000,
        event_bytes: 1_000,
        batch_bytes: 1_000,
        max_in_flight_order_bytes: 1_000,
        max_in_flight_event_bytes: 1_000,
        ..config()
    };
    let app = Arc::new(App::with(limits));
    app.events.hold();
    let (tasks, first) = (Tasks::new(), Arc::clone(&app));
    let padded = json!({"userId": "u", "event": "Clicked", "messageId": "m", "properties": {"note": "x".repeat(600)}});
    let big = padded.clone();
    let first = tasks.spawn("first", async move { first.send(first.post_events("/v1/track", &big)).await.status });
    app.events.begun(1).await;
    assert!(app.metrics.text().contains("millpond_ingress_in_flight_bytes{class=\"events\"} 6"));

    // A second one of its size does not fit, whole or in pieces; orders have a budget of their own.
    let second = app.send(app.post_events("/v1/track", &padded)).await;
    second.is_problem(503, "temporary_reduced_capacity");
    let text = padded.to_string().into_bytes();
    let pieces: Vec<std::io::Result<Vec<u8>>> = text.chunks(100).map(|piece| Ok(piece.to_vec())).collect();
    let slow: Request<Body> =
        app.post_events("/v1/track", &padded).map(|_| Body::from_stream(stream::iter(pieces).boxed()));
    app.send(slow).await.is_problem(503, "temporary_reduced_capacity");
    an_order_is_taken(&app, "k").await;

    app.events.release();
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(app.send(app.post_events("/v1/track", &padded)).await.status, StatusCode::OK);
    assert!(app.metrics.text().contains("millpond_ingress_in_flight_bytes{class=\"events\"} 0.0\n"));
    assert!(app.metrics.text().contains("shed_requests_total{class=\"events\",reason=\"held_bytes\"} 2\n"));
}

/// Orders have the same limit as events here, on the same broker: what the events fill is not the orders'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_events_that_wait_shut_no_order_out() {
    let limits = || {
        let both = LimitsConfig { waiting_bytes: 10_000, ..LimitsConfig::default() };
        let mut config = strict(both);
        config.overload.orders = both;
        config
    };
    on_both(limits, async |app| {
        events_until(&app, StatusCode::SERVICE_UNAVAILABLE).await;
        // The look that shut the events' valve has turned the orders' too.
        an_order_is_taken(&app, "k").await;
        let text = app.metrics.text();
        let open = "millpond_ingress_shedding{class=\"orders\",queue=\"millpond.checkout.europe.v1\"} 0.0\n";
        assert!(text.contains(open), "{text}");
    })
    .await;
}

#[tokio::test]
async fn bodies_that_stall_keep_out_no_order_that_arrives_whole() {
    let app = Arc::new(App::with(Config { order_bytes: 1_000, max_in_flight_order_bytes: 4_000, ..config() }));
    let stalled = || {
        let first = stream::iter([Ok::<_, std::io::Error>(vec![b' '; 500])]);
        Body::from_stream(first.chain(stream::pending()))
    };
    let tasks = Tasks::new();
    let uploads: Vec<_> = (0..4)
        .map(|number| {
            let (app, body) = (Arc::clone(&app), stalled());
            let request = app.order(&format!("stalled-{number}"), &mugs()).map(|_| body);
            tasks.spawn("stalled", async move { app.send(request).await.status })
        })
        .collect();
    let held = "millpond_ingress_in_flight_bytes{class=\"orders\"} 2000.0\n";
    wait::until("half is taken", || async { app.metrics.text().contains(held).then_some(()) }).await.unwrap();

    app.send(app.order("one more", &mugs()).map(|_| stalled())).await.is_problem(503, "temporary_reduced_capacity");
    let mut whole = app.order("k", &mugs());
    whole.headers_mut().insert(header::CONTENT_LENGTH, mugs().to_string().len().into());
    let answer = app.send(whole).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    for upload in uploads {
        upload.abort();
    }
}
