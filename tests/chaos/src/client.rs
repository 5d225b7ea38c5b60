//! A client as the README asks for: who does not know the outcome asks again with the same key, until there is one. It is
//! the probe of the run, too: its accepted orders say when the shop takes orders again.
//!
//! It keeps a journal in the form of `millpond load`, written before a request is sent. After a 202 the key has its answer;
//! every tenth order is posted once more then, and has to get the same one. What else is done to some of them stands in
//! `after_sale.rs`.

use std::path::Path;
use std::sync::{Arc, Mutex as Records, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use capacity::{Attempt, Entry};
use serde_json::json;
use testkit::http::Http;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::after_sale::{AfterSale, Sold};
use crate::oracle::Asked;
use crate::world::{PRICE_MINOR, SKUS};

/// Between two new orders: twenty a second.
const EVERY: Duration = Duration::from_millis(50);
/// Orders that still wait for their answer; beyond it there are no new ones.
const MOST: usize = 300;
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Between two tries of an order, and as much again by chance.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
/// How long orders without an answer go on once there are no new ones.
const LAST_CHANCE: Duration = Duration::from_mins(1);
/// Attempts below it may have been sent: more than any run has.
const RESERVED: u64 = 100_000_000;

/// What the client has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// When orders were answered 202, from the start; ascending.
    pub accepted: Vec<Duration>,
    /// Requests that were sent again because the outcome was unknown or a 503.
    pub again: u64,
    /// Orders that were answered with a refusal for good, which none of them deserves.
    pub refused: u64,
    /// Orders that were cancelled or refunded, for certain.
    pub taken_back: u64,
}

/// The client.
#[derive(Debug)]
pub struct Client {
    url: String,
    api_key: String,
    run: String,
    http: Http,
    after_sale: AfterSale,
    journal: Mutex<File>,
    begun: Instant,
    seen: Records<Seen>,
}

impl Client {
    /// A client that posts to `ingress`, takes back at `storefront`, and writes a new journal.
    ///
    /// # Errors
    /// Where the journal can't be written.
    pub async fn new(
        [ingress, storefront]: [String; 2],
        api_key: &str,
        seed: u64,
        journal: &Path,
        begun: Instant,
    ) -> Result<Self> {
        let file = File::create_new(journal).await.with_context(|| format!("{} is written", journal.display()))?;
        let client = Self {
            url: format!("{ingress}/v1/orders"),
            api_key: api_key.to_owned(),
            run: format!("client-{seed:016x}"),
            http: Http::new(),
            after_sale: AfterSale::new(storefront, api_key),
            journal: Mutex::new(file),
            begun,
            seen: Records::default(),
        };
        client.write(&Entry::Run { run: client.run.clone(), seed }).await?;
        client.write(&Entry::Reserved { to: RESERVED }).await?;
        Ok(client)
    }

    /// Posts until `stop`, then gives what has no answer a last chance.
    ///
    /// # Errors
    /// The journal's: a run without it proves nothing.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<()> {
        let (mut orders, mut n) = (JoinSet::<Result<()>>::new(), 0);
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = orders.join_next() => ended??,
                _ = tick.tick() => if orders.len() < MOST {
                    let client = Arc::clone(&self);
                    orders.spawn(async move { client.order(n).await });
                    n += 1;
                },
            }
        }
        let rest = async {
            while let Some(ended) = orders.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        // Whoever has no answer even then is unknown, and the journal says so.
        timeout(LAST_CHANCE, rest).await.unwrap_or(Ok(()))?;
        self.write(&Entry::Ended).await
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has asked of orders after their sale so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.after_sale.asked()
    }

    async fn order(&self, n: u64) -> Result<()> {
        let (key, sku) = (format!("{}-{n}", self.run), format!("SKU-{}", n % u64::from(SKUS) + 1));
        self.write(&Entry::Attempt(Attempt { n, key: key.clone(), sku: sku.clone(), quantity: 1 })).await?;
        let taken = loop {
            let (status, answer) = self.post(&key, &sku).await;
            self.write(&answer_of(n, status, &answer)?).await?;
            match status {
                Some(202) => break answer,
                Some(status) if status < 500 && status != 429 => {
                    self.note(|seen| seen.refused += 1);
                    return Ok(());
                }
                _ => {
                    self.note(|seen| seen.again += 1);
                    sleep(AGAIN_AFTER + AGAIN_AFTER.mul_f64(rand::random())).await;
                }
            }
        };
        self.note(|seen| seen.accepted.push(self.begun.elapsed()));
        if n.is_multiple_of(10)
            && let (Some(202), answer) = self.post(&key, &sku).await
        {
            self.write(&answer_of(n, Some(202), &answer)?).await?;
        }
        if let Some(order) = Sold::of(&taken, &sku)
            && self.after_sale.of(&self.http, n, &order).await
        {
            self.note(|seen| seen.taken_back += 1);
        }
        Ok(())
    }

    async fn post(&self, key: &str, sku: &str) -> (Option<u16>, serde_json::Value) {
        let line = json!({"sku": sku, "quantity": 1, "unit_price_minor": PRICE_MINOR});
        let body = json!({"currency": "EUR", "total_minor": PRICE_MINOR, "lines": [line]});
        let headers = [("idempotency-key", key)];
        let posted = self.http.post(&self.url, &self.api_key, &headers, &body);
        match timeout(ANSWER_WITHIN, posted).await {
            Ok(Ok(answer)) => (Some(answer.status.as_u16()), answer.json()),
            _ => (None, serde_json::Value::Null),
        }
    }

    async fn write(&self, entry: &Entry) -> Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        let mut file = self.journal.lock().await;
        file.write_all(line.as_bytes()).await?;
        Ok(file.flush().await?)
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn answer_of(n: u64, status: Option<u16>, answer: &serde_json::Value) -> Result<Entry> {
    let order_id = answer["order_id"].as_str().map(str::parse).transpose()?;
    Ok(Entry::Answer { n, status, order_id, latency_us: 0 })
}
