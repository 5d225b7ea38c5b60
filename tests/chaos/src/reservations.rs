//! Orders of a market that holds units for a payment: some are paid at once, some about when their time is up, and some never.
//! Each is posted under one key until it is accepted, and paid under one key until that is answered. The oracle holds what was
//! answered against what became of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::http::Http;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::after_sale::Sold;
use crate::oracle::{Held, Payment, Posted};
use crate::server::Server;
use crate::world::{HELD_SKU, PRICE_MINOR, RESERVE};

/// Between two new orders.
const EVERY: Duration = Duration::from_millis(400);
/// Orders that are not done with; beyond it there are no new ones.
const MOST: usize = 100;
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two tries of an order, and as much again by chance.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
/// The latest that a payment is asked for: some of them come after the time is up.
const LATEST: Duration = RESERVE.saturating_add(Duration::from_secs(2));
/// How long orders and payments without an answer go on once there are no new ones.
const LAST_CHANCE: Duration = Duration::from_mins(1);

/// Whoever orders, and pays or does not.
#[derive(Debug)]
pub(crate) struct Reservations {
    url: String,
    api_key: String,
    http: Http,
    server: Server,
    seed: u64,
    posted: Mutex<Vec<Posted>>,
    held: Mutex<Vec<Held>>,
}

impl Reservations {
    /// Orders at `ingress` under a key of the market, whose `server` says what was paid.
    pub(crate) fn new(ingress: &str, api_key: &str, server: Server, seed: u64) -> Self {
        Self {
            url: format!("{ingress}/v1/orders"),
            api_key: api_key.to_owned(),
            http: Http::new(),
            server,
            seed,
            posted: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// Orders until `stop`; then what waits to be paid is paid, and what has no answer gets a last chance.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (mut orders, mut n) = (JoinSet::new(), 0);
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_ended) = orders.join_next() => {}
                _ = tick.tick() => if orders.len() < MOST {
                    let (client, stopped) = (Arc::clone(&self), stop.clone());
                    orders.spawn(async move { client.order(n, &stopped).await });
                    n += 1;
                },
            }
        }
        // Whoever has no answer even then is unknown: the oracle takes either.
        let rest = async { while orders.join_next().await.is_some() {} };
        let _ = timeout(LAST_CHANCE, rest).await;
    }

    /// Every order that was posted so far.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that were accepted, and what was asked and answered of their payment.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn order(&self, n: u64, stop: &CancellationToken) {
        let key = format!("held-{:016x}-{n}", self.seed);
        let place = note(&self.posted, Posted { key: key.clone(), accepted: None });
        let Some(answer) = self.accepted(&key).await else { return };
        let Some(Sold { id, status_path, .. }) = Sold::of(&answer, HELD_SKU) else { return };
        change(&self.posted, place, |posted| posted.accepted = Some(id));
        let place = note(&self.held, Held { order: id, status_path, payment: Payment::None });
        match n % 3 {
            0 => {}
            1 => {
                stop.run_until_cancelled(sleep(LATEST.mul_f64(rand::random()))).await;
            }
            _ => return,
        }
        change(&self.held, place, |held| held.payment = Payment::Open);
        let (path, key) = (format!("/v1/orders/{id}/pay"), format!("pay-{id}"));
        if let Some(answer) = self.server.ask(&Method::POST, &path, &key, &json!({})).await {
            let payment = if answer.status.is_success() { Payment::Made } else { Payment::Refused };
            change(&self.held, place, |held| held.payment = payment);
        }
    }

    /// Posts until it is accepted; none where it is refused for good, which none of them deserves.
    async fn accepted(&self, key: &str) -> Option<Value> {
        let line = json!({"sku": HELD_SKU, "quantity": 1, "unit_price_minor": PRICE_MINOR});
        let body = json!({"currency": "EUR", "total_minor": PRICE_MINOR, "lines": [line]});
        loop {
            let headers = [("idempotency-key", key)];
            let posted = self.http.post(&self.url, &self.api_key, &headers, &body);
            if let Ok(Ok(answer)) = timeout(ANSWER_WITHIN, posted).await {
                match answer.status.as_u16() {
                    202 => return Some(answer.json()),
                    status if status < 500 && status != 429 => return None,
                    _ => {}
                }
            }
            sleep(AGAIN_AFTER + AGAIN_AFTER.mul_f64(rand::random())).await;
        }
    }
}

/// Notes it; its place.
fn note<T>(all: &Mutex<Vec<T>>, one: T) -> usize {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.push(one);
    all.len() - 1
}

fn change<T>(all: &Mutex<Vec<T>>, place: usize, change: impl FnOnce(&mut T)) {
    if let Some(one) = all.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
        change(one);
    }
}
