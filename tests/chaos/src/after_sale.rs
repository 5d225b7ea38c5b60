//! What a shop does after the sale: some orders are cancelled, some are paid back in part, each asked for under one key until
//! it is done. Whatever was answered meanwhile, it happens once or not at all.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::Http;
use tokio::time::{sleep, timeout};

use crate::world::PRICE_MINOR;

/// Of so many orders one is cancelled and one is refunded.
const OF: u64 = 40;
const CANCELLED: u64 = 3;
const REFUNDED: u64 = 17;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries, and as much again by chance: the order may wait in its queue yet.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRIES: u32 = 60;

/// Where to ask, and who.
#[derive(Debug)]
pub(crate) struct AfterSale {
    pub(crate) storefront: String,
    pub(crate) api_key: String,
}

impl AfterSale {
    /// Does to the `n`th order, which was accepted as `order_id` for one unit of `sku`, what is to be done to it. Whether that is
    /// known to be done.
    pub(crate) async fn of(&self, http: &Http, n: u64, order_id: &str, sku: &str) -> bool {
        let (what, body) = match n % OF {
            CANCELLED => ("cancel", json!({})),
            REFUNDED => {
                let line = json!({"sku": sku, "quantity": 1, "restock": true, "amount_minor": PRICE_MINOR - 100});
                ("refunds", json!({"lines": [line]}))
            }
            _ => return false,
        };
        let url = format!("{}/v1/orders/{order_id}/{what}", self.storefront);
        for _ in 0..TRIES {
            if self.ask(http, &url, order_id, &body).await {
                return true;
            }
            sleep(AGAIN_AFTER + AGAIN_AFTER.mul_f64(rand::random())).await;
        }
        false
    }

    async fn ask(&self, http: &Http, url: &str, order_id: &str, body: &Value) -> bool {
        let key = format!("after-{order_id}");
        let headers = [("idempotency-key", key.as_str())];
        let asked = http.post(url, &self.api_key, &headers, body);
        matches!(timeout(ANSWER_WITHIN, asked).await, Ok(Ok(answer)) if answer.status.is_success())
    }
}
