//! `/metrics` of a shop that runs, against the table that documents it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::wait;

use crate::shop::{Parts, Shop};

/// What one scrape told.
struct Scrape {
    /// Full name (with `_total` for a counter) to type and help.
    families: BTreeMap<String, (String, String)>,
    /// Series with their labels to value.
    series: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(shop: &Shop, url: &str) -> Result<Self> {
        let response = shop.http.get(url).await?;
        ensure!(response.status == 200, "{}", response.status);
        ensure!(response.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
        Self::parse(&String::from_utf8(response.body.to_vec())?)
    }

    /// Fails where the text is not what a Prometheus server reads: a family announced twice, a series twice, a series of
    /// no family, a value that is no number, no end.
    fn parse(text: &str) -> Result<Self> {
        let mut this = Self { families: BTreeMap::new(), series: BTreeMap::new() };
        let (mut help, mut stem) = ("", String::new());
        let body = text.strip_suffix("# EOF\n").context("the text ends with # EOF")?;
        for line in body.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                (_, help) = rest.split_once(' ').context("a help text")?;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').context("a type")?;
                name.clone_into(&mut stem);
                let full = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
                let twice = this.families.insert(full, (kind.to_owned(), help.to_owned()));
                ensure!(twice.is_none(), "{name} is announced twice");
            } else {
                let (series, value) = line.rsplit_once(' ').with_context(|| format!("a series: {line}"))?;
                ensure!(series.starts_with(&stem), "{series} stands below {stem}");
                let value = value.parse().with_context(|| format!("a number: {line}"))?;
                ensure!(this.series.insert(series.to_owned(), value).is_none(), "{series} is told twice");
            }
        }
        Ok(this)
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }
}

/// The table of `infra/metrics.md`: full name to type.
fn documented() -> Result<BTreeMap<String, String>> {
    let page = include_str!("../../../../infra/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` | ").context("a name in backquotes")?;
        let (kind, _) = rest.split_once(" |").context("a type")?;
        Ok((name.to_owned(), kind.to_owned()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_served_and_every_served_one_is_documented() -> Result<()> {
    let mut shop = Shop::open(Parts::Embedded, &[("MUG", 10)]).await?;
    let scrape = Scrape::of(&shop, &shop.ingress("/metrics")).await?;
    let documented = documented()?;
    let served: BTreeMap<String, String> =
        scrape.families.iter().map(|(name, (kind, _))| (name.clone(), kind.clone())).collect();
    let names = |map: &BTreeMap<String, String>| -> BTreeSet<String> { map.keys().cloned().collect() };
    let (known, there) = (names(&documented), names(&served));
    ensure!(known == there, "only documented: {:?}\nonly served: {:?}", &known - &there, &there - &known);
    ensure!(documented == served, "the types differ: {documented:?} {served:?}");
    for (name, (kind, help)) in &scrape.families {
        ensure!(name.starts_with("millpond_") && !name.contains("__"), "{name}");
        ensure!((kind == "counter") == name.ends_with("_total"), "{name} is a {kind}");
        ensure!(!name.contains("_ms") && !name.contains("_kib") && !name.contains("_percent"), "{name}: base units");
        ensure!(help.len() > 15 && !help.ends_with('.') && help.starts_with(char::is_uppercase), "{name}: {help}");
    }
    shop.stop().await
}

/// Orders, events and what was wrong with them are counted where they belong, in every process that has a part in it.
pub(crate) async fn what_a_shop_does_is_counted_in_every_role(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let status = shop.accepted_order("k-1", "MUG", 1).await?;
    shop.outcome(&status).await?;
    let wrong = shop.http.post(&shop.ingress("/v1/orders"), &shop.api_key, &[], &json!({})).await?;
    ensure!(wrong.status == 400);
    let unknown = shop.http.get(&shop.ingress("/nothing/here")).await?;
    ensure!(unknown.status == 404);
    let batch = json!({"batch": [
        {"type": "track", "event": "A", "userId": "u", "messageId": "m-1"},
        {"type": "track", "event": "B", "userId": "u", "messageId": "m-2"},
    ]});
    ensure!(shop.http.post(&shop.ingress("/v1/batch"), &shop.api_key, &[], &batch).await?.status == 200);

    let scrape = Scrape::of(&shop, &shop.ingress("/metrics")).await?;
    let expect = |series: &str, value: f64| {
        let found = scrape.value(series);
        ensure!(found == Some(value), "{series} is {found:?}, not {value}");
        Ok(())
    };
    expect("millpond_ingress_requests_total{class=\"orders\",outcome=\"accepted\",reason=\"\"}", 1.0)?;
    let reason =
        "millpond_ingress_requests_total{class=\"orders\",outcome=\"refused\",reason=\"idempotency_key_required\"}";
    expect(reason, 1.0)?;
    expect("millpond_ingress_accepted_events_total", 2.0)?;
    let by_route = |route: &str, method: &str, status: u16| {
        format!(
            "millpond_http_server_request_duration_seconds_count{{http_route=\"{route}\",\
             http_request_method=\"{method}\",http_response_status_code=\"{status}\"}}"
        )
    };
    expect(&by_route("/v1/orders", "POST", 202), 1.0)?;
    expect(&by_route("/v1/orders", "POST", 400), 1.0)?;
    expect(&by_route("none", "GET", 404), 1.0)?;
    expect("millpond_broker_state{broker=\"orders\",state=\"ready\"}", 1.0)?;

    let handled = "millpond_worker_settled_messages_total{queue=\"millpond.checkout.main.v1\",outcome=\"handled\"}";
    wait::until("checkout counts its order", || async {
        let mut total = 0.0;
        for role in ["checkout", "checkout-2"] {
            let Ok(scrape) = Scrape::of(&shop, &shop.at(role, "/metrics")).await else { continue };
            total += scrape.value(handled).unwrap_or_default();
            if parts == Parts::Embedded {
                break;
            }
        }
        (total >= 1.0).then_some(())
    })
    .await?;
    wait::until("the outbox and the depths are known where they are looked at", || async {
        let scrape = Scrape::of(&shop, &shop.at("rest", "/metrics")).await.ok()?;
        scrape.value("millpond_outbox_waiting_messages{database=\"main\"}")?;
        scrape.value("millpond_outbox_oldest_age_seconds{database=\"main\"}")?;
        scrape.value("millpond_queue_ready_messages{broker=\"orders\",queue=\"millpond.invalidation.v1\"}")
    })
    .await?;
    shop.stop().await
}
