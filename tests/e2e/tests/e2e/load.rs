//! The load generator against a running shop, and the oracle over what it left behind.

use anyhow::{Context as _, Result};
use sea_orm::ConnectionTrait as _;
use serde_json::Value;
use testkit::process::run;

use crate::shop::{Parts, Shop, verb};

/// Orders of three articles and batches of page events, two seconds long; the report.
async fn loaded(shop: &Shop) -> Result<Value> {
    let url = shop.ingress("");
    let args = [
        ["load", "--url", &url, "--key", &shop.api_key],
        ["--rate", "100", "--for", "2s", "--connections=8"],
        ["--skus", "3", "--price", "1000", "--seed=7"],
        ["--events", "batch", "--events-per-request", "10", "--orders-share=0.8"],
        ["--journal", "run.jsonl", "--report", "report.json", "--html=report.html"],
    ];
    verb(shop.folder(), args.as_flattened()).await?;
    Ok(serde_json::from_slice(&std::fs::read(shop.folder().join("report.json"))?)?)
}

/// What `load verify` finds, and whether it ended with success.
async fn verified(shop: &Shop, wait: &str) -> Result<(bool, Value)> {
    let args = ["--config", "millpond.toml", "load", "verify", "--journal", "run.jsonl", "--report", "found.json"];
    let (status, printed) = run(shop.folder(), &[args.as_slice(), &["--wait", wait]].concat()).await?;
    let found = std::fs::read(shop.folder().join("found.json")).with_context(|| printed)?;
    Ok((status.success(), serde_json::from_slice(&found)?))
}

pub(crate) async fn a_load_run_is_reported_and_its_journal_agrees_with_the_databases(parts: Parts) -> Result<()> {
    // The rarest article sells out: an order that is rejected is kept as well.
    let shop = Shop::open(parts, &[("SKU-1", 1_000), ("SKU-2", 1_000), ("SKU-3", 5)]).await?;
    let report = loaded(&shop).await?;
    let number = |field: &str| report[field].as_u64().with_context(|| format!("{field} in {report}"));
    assert_eq!((number("planned")?, number("sent")?, number("accepted")?), (200, 200, 200), "{report}");
    let (orders, events) = (number("orders_accepted")?, number("events_accepted")?);
    assert_eq!(orders + events / 10, 200, "{report}");
    assert_eq!((number("stored")?, number("events_counted")?), (orders, events), "{report}");
    assert!(report["drained_in_s"].is_number() && report["latency_ms"]["p99"].is_number(), "{report}");
    let page = std::fs::read_to_string(shop.folder().join("report.html"))?;
    assert!(page.contains("Queue depth") && page.contains("Latency"), "the page has its pictures");

    let (clean, found) = verified(&shop, "20s").await?;
    assert!(clean, "{found}");
    assert_eq!((&found["accepted"], &found["events_counted"]), (&orders.into(), &events.into()), "{found}");
    assert_eq!(found["states"]["confirmed"], shop.orders_in("confirmed").await?, "{found}");
    assert_eq!(found["states"]["rejected: out_of_stock"], shop.orders_in("rejected").await?, "{found}");
    Ok(())
}

pub(crate) async fn what_was_lost_or_sold_twice_is_found_and_is_an_exit_status(parts: Parts) -> Result<()> {
    let shop = Shop::open(parts, &[("SKU-1", 1_000), ("SKU-2", 1_000), ("SKU-3", 1_000)]).await?;
    loaded(&shop).await?;
    let database = &shop.databases.databases()[0];
    let change = async |sql: &str| {
        let tx = database.begin().await?;
        tx.execute_unprepared(sql).await?;
        tx.commit().await
    };
    // A movement goes: its units will be sold again. Then an order goes, and another one's units are taken again.
    change("DELETE FROM stock_movements WHERE reference = (SELECT min(reference) FROM stock_movements)").await?;
    let (clean, found) = verified(&shop, "20s").await?;
    assert!(!clean && found["oversold"] == 1 && found["lost"] == 0, "{found}");
    for (table, id) in [("order_lines", "order_id"), ("orders", "id")] {
        change(&format!("DELETE FROM {table} WHERE {id} IN (SELECT id FROM orders ORDER BY id DESC LIMIT 1)")).await?;
    }
    let (clean, found) = verified(&shop, "1s").await?;
    assert!(!clean && found["lost"] == 1, "{found}");
    // A confirmed order of which nothing but its row is left: no line, no movement, and its units are free again.
    let first = "(SELECT min(reference) FROM stock_movements WHERE kind = 'order')";
    let sku = format!("(SELECT sku FROM stock_movements WHERE reference = {first})");
    let order = format!("(SELECT order_id FROM stock_movements WHERE reference = {first})");
    change(&format!("UPDATE stock SET reserved = reserved - 1 WHERE sku = {sku}")).await?;
    change(&format!("DELETE FROM order_lines WHERE order_id = {order}")).await?;
    change(&format!("DELETE FROM stock_movements WHERE reference = {first}")).await?;
    let (clean, mut hollow) = verified(&shop, "1s").await?;
    assert!(!clean && hollow["lost"] == 2, "{hollow}");
    let kept = |found: &Value| found["breaches"]["counts"]["kept"].clone();
    assert_eq!((kept(&found), kept(&hollow)), (1.into(), 2.into()), "each is named: {hollow}");
    hollow["lost"] = found["lost"].clone();
    hollow["breaches"] = found["breaches"].clone();
    assert_eq!(hollow, found, "its stock and its ledger agree: the missing line alone gives it away");
    Ok(())
}

#[tokio::test]
async fn nonsense_is_refused_before_anything_is_sent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("rates.csv"), "offset_s,rate_per_s\n0,1\nlater,2\n")?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let nobody = format!("http://127.0.0.1:{free}");
    let elsewhere = "http://192.0.2.1".to_owned();
    for (url, args, said) in [
        (&nobody, &["--sku", "MUG"][..], "nobody answers at 127.0.0.1"),
        (&elsewhere, &["--sku", "MUG"], "is not this machine"),
        (&nobody, &[], "say what to send"),
        (&nobody, &["--sku", "MUG", "--rate=-5"], "--rate"),
        (&nobody, &["--sku", "MUG", "--rate", "NaN"], "--rate"),
        (&nobody, &["--sku", "MUG", "--for", "soon"], "write a time as 30s"),
        (&nobody, &["--sku", "MUG", "--connections", "0"], "--connections 0"),
        (&nobody, &["--sku", "two words"], "two words"),
        (&nobody, &["--skus", "5", "--sku-pattern", "X"], "has no {}"),
        (&nobody, &["--sku", "MUG", "--rates", "rates.csv"], "line 3: offset_s"),
        (&nobody, &["--events", "batch", "--events-per-request", "3000"], "--events-per-request"),
        (&nobody, &["--sku", "MUG", "--saturate", "--spike", "10x"], "cannot be used with"),
    ] {
        let args = [&["load", "--url", url, "--key", "k"], args].concat();
        let (status, printed) = run(folder.path(), &args).await?;
        assert!(!status.success() && printed.contains(said), "{args:?} should say {said:?}, and says:\n{printed}");
    }
    Ok(())
}
