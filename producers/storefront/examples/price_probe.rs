//! How long an old price is served after its change was answered: the last of all replicas, and whoever stands in front.
//!
//! ```text
//! price_probe API_KEY SKU EDITS URL…
//! ```
//!
//! The first URL takes the edits; all are asked for the product as quickly as they answer. Prints `name value` lines:
//! milliseconds from the answer to an edit until no URL serves an older price, and how often one went back to an older price.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::{join_all, try_join_all};
use serde_json::json;
use testkit::http::Http;
use tokio::sync::watch;

/// No longer is waited for a price.
const DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks at one URL.
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key, sku, edits, urls @ ..] = &arguments[..] else { bail!("usage: price_probe API_KEY SKU EDITS URL...") };
    let edits: i64 = edits.parse().context("EDITS is a whole number")?;
    ensure!(edits >= 1 && !urls.is_empty(), "at least one edit and one URL");
    let http = Http::new();
    let (stop, stopped) = watch::channel(false);
    let eyes: Vec<Eye> = urls.iter().map(|url| Eye::new(http.clone(), format!("{url}/v1/products/{sku}"))).collect();
    let looking = join_all(eyes.iter().map(|eye| eye.look(stopped.clone())));
    let editing = async {
        let outcome = edit_all(&http, key, &format!("{}/v1/products/{sku}", urls[0]), edits, &eyes).await;
        let _ = stop.send(true);
        outcome
    };
    let (backs, took) = tokio::join!(looking, editing);
    let mut took = took?;
    took.sort();
    let backs: u64 = backs.into_iter().sum();
    let at = |percent: usize| took[((took.len() * percent).div_ceil(100)).clamp(1, took.len()) - 1].as_secs_f64() * 1e3;
    let mut out = std::io::stdout();
    writeln!(out, "p50_ms {:.1}\np99_ms {:.1}\nmax_ms {:.1}\nwent_back {backs}", at(50), at(99), at(100))?;
    Ok(())
}

/// Makes the edits, and says for each how long it took until everybody served it.
async fn edit_all(http: &Http, key: &str, url: &str, edits: i64, eyes: &[Eye]) -> Result<Vec<Duration>> {
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/merge-patch+json")];
    // Each edit is a higher price, also after an earlier run.
    let first = http.get(url).await?.json()["price"]["minor"].as_i64().context("the product has a price")? + 1;
    let mut took = Vec::new();
    for edit in 0..edits {
        let minor = first + edit;
        let body = json!({ "price": { "minor": minor, "currency": "EUR" } }).to_string();
        let answer = http.send("PATCH".parse()?, url, &headers, body).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        let answered = Instant::now();
        let seen = try_join_all(eyes.iter().map(|eye| eye.until(minor)));
        tokio::time::timeout(DEADLINE, seen).await.context("an old price is served for a minute")??;
        took.push(answered.elapsed());
        // Now and then soon after the one before, whose purge is then still fresh.
        tokio::time::sleep(Duration::from_millis(100 + 397 * u64::try_from(edit)? % 1_300)).await;
    }
    Ok(took)
}

/// Looks at one URL.
struct Eye {
    http: Http,
    url: String,
    seen: watch::Sender<i64>,
}

impl Eye {
    fn new(http: Http, url: String) -> Self {
        Self { http, url, seen: watch::Sender::new(0) }
    }

    /// Until the stop; says how often an older price was served after a newer one.
    async fn look(&self, stopped: watch::Receiver<bool>) -> u64 {
        let mut backs = 0;
        while !*stopped.borrow() {
            if let Ok(answer) = self.http.get(&self.url).await
                && let Some(minor) = answer.json()["price"]["minor"].as_i64()
            {
                let before = self.seen.send_replace(minor);
                backs += u64::from(minor < before);
            }
            tokio::time::sleep(PAUSE).await;
        }
        backs
    }

    async fn until(&self, minor: i64) -> Result<()> {
        self.seen.subscribe().wait_for(|seen| *seen >= minor).await?;
        Ok(())
    }
}
