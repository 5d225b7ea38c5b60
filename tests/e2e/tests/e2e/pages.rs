//! Page events, from the request to the rollup.

use anyhow::Result;
use serde_json::json;
use testkit::wait;

use crate::shop::{Parts, Shop};

pub(crate) async fn a_page_event_batch_posted_twice_counts_once(parts: Parts) -> Result<()> {
    let shop = Shop::open(parts, &[("MUG", 1)]).await?;
    let page = |id: &str, path: &str| {
        json!({
            "type": "page", "messageId": id, "anonymousId": "a-1",
            "properties": {"path": path}, "context": {"campaign": {"name": "noon"}},
        })
    };
    let batch = json!({"batch": [page("m-1", "/mug"), page("m-2", "/mug"), page("m-3", "/pen")]});
    for _ in 0..2 {
        let response = shop.http.post(&shop.ingress("/v1/batch"), &shop.api_key, &[], &batch).await?;
        assert_eq!(response.status, 200, "{}", response.json());
    }
    // A third batch after them: when it is counted, the two before it have been handled.
    let last = json!({"batch": [page("m-4", "/last")]});
    shop.http.post(&shop.ingress("/v1/batch"), &shop.api_key, &[], &last).await?;
    wait::until("the last event is counted", || async { (shop.views("/last").await.ok()? == 1).then_some(()) }).await?;
    assert_eq!(shop.views("/mug").await?, 2);
    assert_eq!(shop.views("/pen").await?, 1);
    Ok(())
}
