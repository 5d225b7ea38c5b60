//! What operators do, and the trail that it leaves.

use axum::http::{Method, StatusCode};
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use store::{governor, pause};

use super::fixture::Site;

#[tokio::test]
async fn a_pause_is_a_row_with_its_maker_and_is_lifted_by_a_resume() {
    for site in Site::both().await {
        let reason = json!({"reason": "stock count"});
        let (status, answer) = site.send(Method::POST, "/v1/queues/checkout.main/pause", reason).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!((&answer["queue"], &answer["changed"]), (&json!("millpond.checkout.main.v1"), &json!(true)));
        let rows = pause::all(site.database()).await.unwrap();
        assert_eq!((rows.len(), rows[0].paused_by.as_str()), (1, "anna"));

        // By its whole name, and again: who made it stays.
        let path = "/v1/queues/millpond.checkout.main.v1/pause";
        let (_, again) = site.ask_anna(Method::POST, path).await;
        assert_eq!((&again["changed"], &again["paused"]["reason"]), (&json!(false), &json!("stock count")));
        let (_, view) = site.get("/v1/queues/checkout.main").await;
        assert!(view["sentence"].as_str().unwrap().starts_with("Paused by anna since "), "{view}");

        let (_, resumed) = site.ask_anna(Method::POST, "/v1/queues/checkout.main/resume").await;
        assert_eq!((&resumed["changed"], &resumed["paused"]), (&json!(true), &Value::Null));
        assert_eq!(pause::all(site.database()).await.unwrap(), []);
        let queue = "millpond.checkout.main.v1";
        let trail = ["queue.resume", "queue.pause", "queue.pause"].map(|action| format!("anna {action} {queue}"));
        assert_eq!(site.trail().await, trail);

        let (status, problem) = site.ask_anna(Method::POST, "/v1/queues/checkout.atlantis/pause").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(problem["detail"].as_str().unwrap().contains("millpond.checkout.main.v1"), "{problem}");
        site.close().await;
    }
}

#[tokio::test]
async fn an_action_whose_audit_row_can_not_be_written_is_not_done() {
    for site in Site::both().await {
        let tx = site.database().begin().await.unwrap();
        tx.execute_unprepared("DROP TABLE operator_audit").await.unwrap();
        tx.commit().await.unwrap();
        let (status, problem) = site.ask_anna(Method::POST, "/v1/queues/checkout.main/pause").await;
        assert_eq!((status, &problem["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("database_away")));
        let budget = json!({"budget": "5 rows/s"});
        assert_eq!(site.send(Method::PUT, "/v1/databases/main/budget", budget).await.0, status);
        assert_eq!(pause::all(site.database()).await.unwrap(), []);
        assert_eq!(governor::budget(site.database()).await.unwrap(), None);
        let (_, trail) = site.get("/v1/audit").await;
        assert_eq!(trail["silent"][0]["database"], "main", "a trail that can't be read is not an empty one: {trail}");
        site.close().await;
    }
}

#[tokio::test]
async fn a_budget_is_set_shown_and_taken_back_at_run_time() {
    for site in Site::both().await {
        let path = "/v1/databases/main/budget";
        assert_eq!(site.get(path).await.1["budget"], "unlimited");
        let (status, answer) = site.send(Method::PUT, path, json!({"budget": "2000 rows/s"})).await;
        assert_eq!((status, &answer["written"]), (StatusCode::OK, &json!("2000 rows/s")));
        assert_eq!(governor::budget(site.database()).await.unwrap(), "2000 rows/s".parse().ok());
        assert_eq!(site.get("/v1/databases").await.1["databases"][0]["budget"], "2000 rows/s");

        let (status, problem) = site.send(Method::PUT, path, json!({"budget": "fast"})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["detail"].as_str().unwrap().contains("2000 rows/s"), "it says what to write: {problem}");
        assert_eq!(site.send(Method::PUT, path, json!({})).await.0, StatusCode::BAD_REQUEST, "nothing is not null");
        assert_eq!(site.send(Method::PUT, "/v1/databases/x/budget", json!({"budget": null})).await.0, 404);

        let (_, answer) = site.send(Method::PUT, path, json!({"budget": null})).await;
        assert_eq!((&answer["written"], &answer["budget"]), (&Value::Null, &json!("unlimited")));
        assert_eq!(site.trail().await, ["anna budget.set main"; 2]);
        site.close().await;
    }
}

impl Site {
    /// As anna, without a body.
    async fn ask_anna(&self, method: Method, path: &str) -> (StatusCode, Value) {
        self.send(method, path, json!({})).await
    }
}
