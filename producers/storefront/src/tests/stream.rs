use events::OrderState;
use futures::future::{join, join_all};
use testkit::http::Response;
use testkit::wait::until;

use super::fixture::{Fixture, both, order, quick, status, without_database};
use crate::Config;

/// Every event's `data`, in order.
fn told(stream: &Response) -> Vec<serde_json::Value> {
    let text = String::from_utf8(stream.body.to_vec()).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect()
}

fn states(stream: &Response) -> Vec<String> {
    told(stream).iter().map(|view| view["state"].as_str().unwrap().to_owned()).collect()
}

impl Fixture {
    async fn stream(&self, key: &str) -> Response {
        let answer = self.get(&self.path(key, "body", "/events")).await;
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert_eq!(answer.header("cache-control"), "no-store");
        answer
    }

    /// Waits until so many streams have looked the order up; a later one may find in the cache what an earlier one left.
    async fn looked_up(&self, times: u64) {
        let seen = || async {
            let stats = self.cache.stats();
            (stats.hits + stats.misses >= times).then_some(())
        };
        until("the stream looks the order up", seen).await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_tells_every_change_and_ends_after_the_last() {
    for fixture in both(quick()).await {
        let changes = async {
            fixture.looked_up(1).await;
            fixture.commit("a", "placed", None).await;
            // Another stream that begins now sees it at once, and ends with the first.
            let (second, ()) = join(fixture.stream("a"), async {
                fixture.looked_up(2).await;
                fixture.confirm("a").await;
            })
            .await;
            second
        };
        let (first, second) = join(fixture.stream("a"), changes).await;
        let first_states = states(&first);
        // It looks after it asked the cache, so the commit may come in between.
        assert!(["queued", "placed"].contains(&first_states[0].as_str()), "{first_states:?}");
        assert_eq!(first_states.last().unwrap(), "confirmed");
        assert_eq!(states(&second), ["placed", "confirmed"]);
        let text = String::from_utf8(first.body.to_vec()).unwrap();
        assert!(text.contains("event: status\n") && text.contains("id: 2\n"), "{text}");
        assert_eq!(told(&first).last().unwrap()["terminal"], true);
    }
}

#[tokio::test]
async fn the_same_url_is_a_stream_to_who_accepts_one() {
    let [fixture, _] = both(quick()).await;
    fixture.commit("a", "confirmed", None).await;
    let path = fixture.path("a", "body", "");
    let answer = fixture.get_with(&path, &[("accept", "text/event-stream")]).await;
    assert_eq!(states(&answer), ["confirmed"]);
    // A client that knows the end already is told to stop.
    let again = fixture.get_with(&path, &[("accept", "text/event-stream"), ("last-event-id", "1")]).await;
    assert_eq!(again.status, 204);
}

#[tokio::test]
async fn a_conflicting_post_is_told_at_once_and_its_stream_ends() {
    let [fixture, _] = both(quick()).await;
    fixture.commit("a", "placed", None).await;
    let answer = fixture.get(&fixture.path("a", "another body", "/events")).await;
    assert_eq!(told(&answer)[0]["reason"]["code"], "idempotency_conflict");
}

#[tokio::test]
async fn many_streams_of_many_orders_all_end_with_their_orders() {
    const ORDERS: usize = 20;
    for fixture in both(quick()).await {
        let keys: Vec<String> = (0..ORDERS).map(|n| format!("order {n}")).collect();
        let streams = join_all(keys.iter().chain(&keys).map(|key| fixture.stream(key)));
        let changes = async {
            fixture.looked_up(2 * ORDERS as u64).await;
            for key in &keys {
                fixture.commit(key, "confirmed", None).await;
            }
        };
        let (streams, ()) = join(streams, changes).await;
        assert!(streams.iter().all(|stream| states(stream).last().unwrap() == "confirmed"));
    }
}

#[tokio::test]
async fn streams_above_the_limit_are_refused_and_a_place_is_free_again_after_the_end() {
    let [fixture, _] = both(Config { max_streams: 1, ..quick() }).await;
    let refused = async {
        fixture.looked_up(1).await;
        let answer = fixture.get(&fixture.path("b", "body", "/events")).await;
        fixture.commit("a", "confirmed", None).await;
        answer
    };
    let (first, refused) = join(fixture.stream("a"), refused).await;
    assert_eq!(states(&first).last().unwrap(), "confirmed");
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (503, Some("temporary_reduced_capacity")));
    let free = || async { (fixture.get(&fixture.path("a", "body", "/events")).await.status == 200).then_some(()) };
    until("the place is free", free).await.unwrap();
}

#[tokio::test]
async fn one_orders_streams_leave_places_to_those_of_others() {
    let [fixture, _] = both(Config { max_streams_per_order: 1, ..quick() }).await;
    let meanwhile = async {
        fixture.looked_up(1).await;
        let refused = fixture.get(&fixture.path("a", "body", "/events")).await;
        fixture.commit("b", "confirmed", None).await;
        let other = fixture.stream("b").await;
        fixture.commit("a", "confirmed", None).await;
        (refused, other)
    };
    let (first, (refused, other)) = join(fixture.stream("a"), meanwhile).await;
    assert_eq!(states(&first).last().unwrap(), "confirmed");
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (503, Some("temporary_reduced_capacity")));
    assert_eq!(states(&other), ["confirmed"]);
    let free = || async { (fixture.get(&fixture.path("a", "body", "/events")).await.status == 200).then_some(()) };
    until("the place is free", free).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline_and_when_the_process_stops() {
    let [fixture, _] = both(Config { stream_max_s: 0, ..quick() }).await;
    assert_eq!(states(&fixture.stream("a").await), ["queued"]);

    let [fixture, _] = both(quick()).await;
    let (stream, ()) = join(fixture.stream("a"), async {
        fixture.looked_up(1).await;
        fixture.shutdown.request();
    })
    .await;
    assert!(states(&stream).len() <= 1);
    fixture.stopped().await;
}

#[tokio::test]
async fn a_stream_opens_without_the_database_and_tells_what_the_cache_knows() {
    let fixture = without_database(Config { lookup_timeout_ms: 100, stream_max_s: 1, ..quick() }).await;
    let silent = fixture.stream("a").await;
    assert_eq!((silent.status.as_u16(), told(&silent).len()), (200, 0));
    fixture.cache.put_statuses(&[status("a", 1, OrderState::Confirmed)]).await;
    assert_eq!(states(&fixture.stream("a").await), ["confirmed"]);
    assert!(fixture.cache.get_status(order("a")).await.is_some());
}
