//! What a shop does after the sale: some orders are cancelled, some are paid back in part, each asked for under one key until
//! it is done. Whatever was answered meanwhile, it happens once or not at all. What is asked is noted before it is, and the
//! oracle holds it against the databases.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::http::Http;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::oracle::{Asked, Change};
use crate::world::PRICE_MINOR;

/// Of so many orders one is cancelled and one is refunded.
const OF: u64 = 40;
const CANCELLED: u64 = 3;
const REFUNDED: u64 = 17;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries, and as much again by chance: the order may wait in its queue yet.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const TRIES: u32 = 60;
/// Begins the path of an order's status.
const ORDERS: &str = "/v1/orders/";

/// Where to ask, and who; and what was asked so far.
#[derive(Debug)]
pub(crate) struct AfterSale {
    storefront: String,
    api_key: String,
    asked: Mutex<Vec<Asked>>,
}

/// An order of one article that was accepted.
#[derive(Debug)]
pub struct Sold<'a> {
    /// Which.
    pub id: Uuid,
    /// The path of its status, with its token.
    pub status_path: String,
    sku: &'a str,
}

impl<'a> Sold<'a> {
    /// What the answer to its post says of it.
    pub fn of(answer: &Value, sku: &'a str) -> Option<Self> {
        let (_, rest) = answer["status_url"].as_str()?.split_once(ORDERS)?;
        Some(Self { id: answer["order_id"].as_str()?.parse().ok()?, status_path: format!("{ORDERS}{rest}"), sku })
    }
}

impl AfterSale {
    pub(crate) fn new(storefront: String, api_key: &str) -> Self {
        Self { storefront, api_key: api_key.to_owned(), asked: Mutex::default() }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does to the `n`th order what is to be done to it. Whether that is known to be done.
    pub(crate) async fn of(&self, http: &Http, n: u64, order: &Sold<'_>) -> bool {
        let change = match n % OF {
            CANCELLED => Change::Cancel,
            REFUNDED => Change::Refund { sku: order.sku.to_owned(), units: 1, amount_minor: PRICE_MINOR - 100 },
            _ => return false,
        };
        let (what, body) = request(&change);
        let (url, key) = (format!("{}{ORDERS}{}/{what}", self.storefront, order.id), format!("after-{}", order.id));
        let status_path = order.status_path.clone();
        let place = self.note(Asked { order: order.id, status_path, key: key.clone(), change, answered: false });
        for _ in 0..TRIES {
            if self.ask(http, &url, &key, &body).await {
                self.answered(place);
                return true;
            }
            sleep(AGAIN_AFTER + AGAIN_AFTER.mul_f64(rand::random())).await;
        }
        false
    }

    async fn ask(&self, http: &Http, url: &str, key: &str, body: &Value) -> bool {
        let headers = [("idempotency-key", key)];
        let asked = http.post(url, &self.api_key, &headers, body);
        matches!(timeout(ANSWER_WITHIN, asked).await, Ok(Ok(answer)) if answer.status.is_success())
    }

    /// Notes it; its place.
    fn note(&self, asked: Asked) -> usize {
        let mut all = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked);
        all.len() - 1
    }

    fn answered(&self, place: usize) {
        if let Some(asked) = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            asked.answered = true;
        }
    }
}

/// How a change is asked for: the last part of the URL, and the body.
pub fn request(change: &Change) -> (&'static str, Value) {
    match change {
        Change::Cancel => ("cancel", json!({})),
        Change::Refund { sku, units, amount_minor } => {
            let line = json!({"sku": sku, "quantity": units, "restock": true, "amount_minor": amount_minor});
            ("refunds", json!({"lines": [line]}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_order_is_known_by_its_id_and_its_status() {
        let id = Uuid::from_u128(7);
        let answer = |url: &str| json!({"order_id": id.to_string(), "status_url": url});
        let sold = answer(&format!("http://shop.example/v1/orders/{id}?t=a.b"));
        let sold = Sold::of(&sold, "MUG").unwrap();
        assert_eq!((sold.id, sold.status_path), (id, format!("/v1/orders/{id}?t=a.b")));
        assert!(Sold::of(&answer("elsewhere"), "MUG").is_none() && Sold::of(&Value::Null, "MUG").is_none());
    }
}
