use std::io::Write as _;

use axum::body::Body;
use axum::http::{HeaderValue, Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker::{PublishError, layout};
use events::{Envelope, PageBatch, PageEventKind};
use flate2::Compression;
use flate2::write::GzEncoder;
use model::headers::EVENT_COUNT;
use serde_json::{Value, json};

use super::support::{App, ORIGIN, start_of_time};

/// The only batch that was published.
fn published(app: &App) -> PageBatch {
    let [stored] = &app.events.stored()[..] else { panic!("one message, not {}", app.events.stored().len()) };
    assert_eq!(stored.exchange, layout::pages_exchange());
    assert_eq!(stored.routing_key, layout::PAGE_BATCH_KEY);
    let batch = Envelope::<PageBatch>::from_message(&stored.message).unwrap().data;
    assert_eq!(stored.message.headers[EVENT_COUNT], batch.events.len().to_string());
    batch
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_batch_is_one_message_with_what_millpond_counts() {
    let app = App::new();
    let body = json!({
        "context": {"campaign": {"name": "autumn"}, "library": {"name": "analytics.js"}},
        "sentAt": "2026-11-27T09:00:00Z",
        "batch": [
            {
                "type": "page", "messageId": "m1", "anonymousId": "v1", "name": "Mugs",
                "timestamp": "2026-11-27T08:59:58+01:00",
                "properties": {"path": "/mugs", "title": "All mugs", "price": {"odd": []}},
            },
            {
                "type": "track", "messageId": "m2", "userId": 17, "event": "Product Added",
                "properties": {"product_id": "MUG", "quantity": 2, "url": "https://shop.example/mugs/red?x=1"},
                "context": {"campaign": {"name": "winter"}},
            },
            {
                "type": "track", "messageId": "m3", "userId": "", "anonymousId": "v3", "event": "Order Completed",
                "properties": {"products": [{"sku": "A", "quantity": 1}, {"sku": "B"}, "odd", {"name": "none"}]},
                "context": {"campaign": null, "page": {"path": "/thanks", "search": "?utm_campaign=x"}},
            },
            {"type": "identify", "messageId": "m4", "userId": "u4", "traits": {"email": "a@b.example"}},
        ],
    });
    let answer = app.send(app.post_events("/v1/batch", &body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"success": true}));

    let batch = published(&app);
    assert_eq!(batch.market.as_str(), "eu");
    assert_eq!((batch.source.as_str(), batch.received_at), ("backend", start_of_time()));
    let [page, added, completed, identify] = &batch.events[..] else { panic!("four events") };
    assert_eq!(page.kind, PageEventKind::Page);
    assert_eq!((page.visitor.as_str(), page.path.as_deref()), ("v1", Some("/mugs")));
    assert_eq!((page.name.as_deref(), page.campaign.as_deref()), (Some("Mugs"), Some("autumn")));
    assert_eq!(page.client_time, "2026-11-27T07:59:58Z".parse().ok());
    assert_eq!((added.visitor.as_str(), added.path.as_deref()), ("17", Some("/mugs/red")));
    assert_eq!(added.campaign.as_deref(), Some("winter"), "an item's own context wins");
    assert_eq!((added.products[0].sku.as_str(), added.products[0].quantity), ("MUG", Some(2)));
    assert_eq!((completed.visitor.as_str(), completed.products.len()), ("v3", 2));
    assert_eq!(completed.path.as_deref(), Some("/thanks"));
    assert_eq!((identify.visitor.as_str(), &identify.name), ("u4", &None));
    let text = String::from_utf8(app.events.stored()[0].message.body.to_vec()).unwrap();
    assert!(!text.contains("a@b.example"), "traits are not kept");
}

#[tokio::test]
async fn each_single_call_is_a_batch_of_one() {
    for (path, kind) in [
        ("/v1/track", PageEventKind::Track),
        ("/v1/page", PageEventKind::Page),
        ("/v1/identify", PageEventKind::Identify),
        ("/v1/screen", PageEventKind::Screen),
        ("/v1/group", PageEventKind::Group),
        ("/v1/alias", PageEventKind::Alias),
    ] {
        let app = App::new();
        let body = json!({"anonymousId": "v", "event": "Clicked", "context": {"page": {"url": "https://a.example/p?utm_campaign=c"}}});
        let answer = app.send(app.post_events(path, &body)).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({"success": true})), "{path}");
        let [event] = &published(&app).events[..] else { panic!("one event") };
        assert_eq!(event.kind, kind);
        assert_eq!((event.path.as_deref(), event.campaign.as_deref()), (Some("/p"), Some("c")));
        assert!(!event.message_id.as_str().is_empty(), "an id is made where there is none");
    }
}

#[tokio::test]
async fn a_key_comes_as_basic_user_as_bearer_or_in_the_body() {
    let app = App::new();
    let event = json!({"userId": "u", "event": "Clicked"});
    let post = |authorization: Option<String>, path: &str, body: &Value| {
        let mut request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        request
    };
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:", app.server_key)));
    assert_eq!(app.send(post(Some(basic), "/v1/track", &event)).await.status, 200);

    let mut keyed = event.clone();
    keyed["writeKey"] = json!(app.server_key);
    assert_eq!(app.send(post(None, "/v1/track", &keyed)).await.status, 200);
    let batch = json!({"writeKey": app.server_key, "batch": [{"type": "track", "userId": "u", "event": "Clicked"}]});
    assert_eq!(app.send(post(None, "/v1/batch", &batch)).await.status, 200);

    keyed["writeKey"] = json!("mp_live_other");
    app.send(post(None, "/v1/track", &keyed)).await.is_problem(401, "unauthenticated");
    app.send(post(None, "/v1/track", &event)).await.is_problem(401, "unauthenticated");
    assert_eq!(app.events.stored().len(), 3);
}

#[tokio::test]
async fn a_browsers_beacon_is_plain_text_with_the_key_in_its_body() {
    let app = App::new();
    let body = json!({"writeKey": app.browser_key, "anonymousId": "v", "properties": {"path": "/"}});
    let beacon = |origin: &'static str| {
        Request::post("/v1/page")
            .header(header::CONTENT_TYPE, "text/plain;charset=UTF-8")
            .header(header::ORIGIN, origin)
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let answer = app.send(beacon(ORIGIN)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    app.send(beacon("https://evil.example")).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn a_compressed_batch_is_read_and_a_compressed_bomb_stops_at_the_limit() {
    let app = App::new();
    let compressed = |bytes: &[u8]| {
        let mut request = app.post_events("/v1/batch", &json!({})).map(|_| Body::from(gzip(bytes)));
        request.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        request
    };
    let batch = json!({"batch": [{"type": "track", "userId": "u", "event": "Clicked"}]});
    assert_eq!(app.send(compressed(batch.to_string().as_bytes())).await.status, 200);
    assert_eq!(published(&app).events.len(), 1);

    let bomb = vec![b' '; 64 << 20];
    app.send(compressed(&bomb)).await.is_problem(413, "too_large");
    let mut broken = compressed(b"{}");
    *broken.body_mut() = Body::from("not gzip at all");
    app.send(broken).await.is_problem(400, "broken_body");
}

#[tokio::test]
async fn every_wrong_event_is_named_and_none_of_its_batch_is_taken() {
    let app = App::new();
    let good = json!({"type": "track", "userId": "u", "event": "Clicked"});
    let changed = |change: fn(&mut Value)| {
        let mut event = good.clone();
        change(&mut event);
        event
    };
    let cases = [
        (json!(5), ""),
        (json!([]), ""),
        (json!({"userId": "u"}), "/type"),
        (changed(|event| event["type"] = json!("delete")), "/type"),
        (changed(|event| event["userId"] = json!("")), "/userId"),
        (changed(|event| event["userId"] = json!({"id": 1})), "/userId"),
        (changed(|event| event["userId"] = json!("u".repeat(257))), "/userId"),
        (changed(|event| event["event"] = Value::Null), "/event"),
        (changed(|event| event["messageId"] = json!("m".repeat(129))), "/messageId"),
        (changed(|event| event["messageId"] = json!([])), "/messageId"),
        (changed(|event| event["messageId"] = json!("")), "/messageId"),
        (changed(|event| event["properties"] = json!({"x": "x".repeat(32 * 1024)})), ""),
    ];
    let mut all = vec![good.clone()];
    let mut pointers = Vec::new();
    for (event, pointer) in cases {
        pointers.push(format!("/batch/{}{pointer}", all.len()));
        all.push(event);
    }
    let answer = app.send(app.post_events("/v1/batch", &json!({"batch": all}))).await;
    answer.is_problem(400, "invalid_events");
    assert_eq!(answer.pointers(), pointers);

    let answer = app.send(app.post_events("/v1/track", &json!({"event": "Clicked"}))).await;
    answer.is_problem(400, "invalid_events");
    assert_eq!(answer.pointers(), ["/userId"]);
    assert!(app.events.stored().is_empty());
}

#[tokio::test]
async fn a_batch_holds_1_to_2500_events_and_at_most_512_kib() {
    let app = App::new();
    let batch = |count: usize| json!({"batch": vec![json!({"type": "page", "userId": "u"}); count]});
    for (body, ok) in [
        (batch(0), false),
        (batch(2_500), true),
        (batch(2_501), false),
        (json!({}), false),
        (json!({"batch": "all"}), false),
        (json!([]), false),
    ] {
        let answer = app.send(app.post_events("/v1/batch", &body)).await;
        if ok {
            assert_eq!(answer.status, 200);
        } else {
            answer.is_problem(400, "invalid_events");
            assert_eq!(answer.pointers(), ["/batch"]);
        }
    }
    let large = app.post_events("/v1/batch", &json!({"batch": [], "x": "x".repeat(512 * 1024)}));
    app.send(large).await.is_problem(413, "too_large");
    let large = app.post_events("/v1/track", &json!({"userId": "u", "event": "x".repeat(32 * 1024)}));
    app.send(large).await.is_problem(413, "too_large");
    let broken = app.post_events("/v1/batch", &json!({})).map(|_| Body::from("{\"batch\": [}"));
    app.send(broken).await.is_problem(400, "not_json");
}

#[tokio::test]
async fn events_that_the_broker_does_not_confirm_are_503() {
    let app = App::new();
    app.events.answers(Err(PublishError::Blocked("memory".to_owned())));
    let event = json!({"userId": "u", "event": "Clicked"});
    let answer = app.send(app.post_events("/v1/track", &event)).await;
    answer.is_problem(503, "broker_blocked");
}
