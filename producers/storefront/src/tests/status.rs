use events::OrderState;
use model::{OrderId, RegionNumber};
use serde_json::json;

use super::fixture::{ACCEPTED, both, order, quick, status, without_database};
use crate::Config;

#[tokio::test]
async fn a_valid_token_of_an_order_that_nobody_has_seen_is_queued() {
    for fixture in both(quick()).await {
        let answer = fixture.get(&fixture.path("a", "body", "")).await;
        assert_eq!(answer.status, 200);
        let expected = json!({
            "order_id": order("a"), "state": "queued", "terminal": false, "version": 0, "accepted_at": ACCEPTED,
        });
        assert_eq!(answer.json(), expected);
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
    }
}

#[tokio::test]
async fn a_committed_order_is_told_from_its_database_and_kept_in_the_cache() {
    for fixture in both(quick()).await {
        let reason = json!({"code": "out_of_stock", "short": [{"sku": "MUG", "requested": 2, "available": 1}]});
        fixture.commit("a", "rejected", Some(reason.clone())).await;
        fixture.commit("b", "placed", None).await;
        for _ in 0..2 {
            let answer = fixture.get(&fixture.path("a", "body", "")).await.json();
            assert_eq!(answer["state"], "rejected");
            assert_eq!(answer["reason"], reason);
            assert_eq!((&answer["terminal"], &answer["version"]), (&json!(true), &json!(1)));
        }
        assert_eq!(fixture.cache.get_status(order("a")).await.unwrap().version, 1);
        assert_eq!(fixture.get(&fixture.path("b", "body", "")).await.json()["state"], "placed");
    }
}

#[tokio::test]
async fn a_state_in_the_cache_that_is_not_the_last_is_not_trusted() {
    for fixture in both(quick()).await {
        fixture.commit("a", "placed", None).await;
        assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "placed");
        fixture.confirm("a").await;
        assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "confirmed");
    }
}

#[tokio::test]
async fn a_second_different_post_under_a_used_key_is_told_of_its_own_rejection() {
    for fixture in both(quick()).await {
        fixture.commit("a", "confirmed", None).await;
        for _ in ["from the database", "from the cache"] {
            let answer = fixture.get(&fixture.path("a", "another body", "")).await.json();
            assert_eq!(answer["state"], "rejected");
            assert_eq!(answer["reason"], json!({"code": "idempotency_conflict"}));
            assert_eq!(answer["terminal"], true);
        }
    }
}

#[tokio::test]
async fn a_missing_a_forged_and_another_orders_token_get_the_same_refusal() {
    let [fixture, _] = both(quick()).await;
    fixture.commit("a", "confirmed", None).await;
    let right = fixture.path("a", "body", "");
    let (with_id, token) = right.split_once("?t=").unwrap();
    let forged = format!("{with_id}?t={}A{}", &token[..20], &token[21..]);
    let other = fixture.path("b", "body", "");
    let other = format!("{with_id}?t={}", other.split_once("?t=").unwrap().1);
    let (unknown, _) =
        fixture.path("nobody's", "body", "").split_once("?t=").map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    let mut bodies = Vec::new();
    for path in
        [with_id.to_owned(), forged, other, unknown, "/v1/orders/17?t=x".to_owned(), format!("{with_id}/events")]
    {
        let answer = fixture.get(&path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert_eq!(answer.json()["code"], "invalid_status_token");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1);
    assert_eq!(fixture.get(&right).await.status, 200);
}

#[tokio::test]
async fn without_its_database_an_unknown_order_is_503_and_a_cached_one_is_told() {
    let fixture = without_database(Config { lookup_timeout_ms: 200, ..quick() }).await;
    let answer = fixture.get(&fixture.path("a", "body", "")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "status_unavailable");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);

    fixture.cache.put_statuses(&[status("a", 2, OrderState::Paid)]).await;
    assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "paid");
    fixture.cache.put_statuses(&[status("a", 3, OrderState::Confirmed)]).await;
    assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.json()["state"], "confirmed");
}

#[tokio::test]
async fn a_database_that_fails_is_not_taken_for_one_without_the_order() {
    for fixture in both(quick()).await {
        fixture.commit("a", "placed", None).await;
        if fixture.take_the_database_away().await {
            assert_eq!(fixture.get(&fixture.path("a", "body", "")).await.status, 503);
        }
    }
}

#[tokio::test]
async fn a_token_of_a_region_that_is_not_configured_is_503() {
    let [fixture, _] = both(quick()).await;
    let id = OrderId::derive(RegionNumber(99), &"eu".parse().unwrap(), &"a".parse().unwrap());
    assert_eq!(fixture.get(&fixture.path_of(id, "body", "")).await.status, 503);
}
