//! What operators ask and do, through the verbs, beside a shop that runs.

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use serde_json::Value;
use testkit::process::run;
use testkit::wait;

use crate::shop::{Parts, Shop, verb};

const QUEUE: &str = "millpond.checkout.main.v1";

async fn queue(shop: &Shop) -> Result<Value> {
    let all: Value = serde_json::from_str(&verb(shop.folder(), &["queues", "--json"]).await?)?;
    let queues = all["queues"].as_array().context("a list of queues")?;
    queues.iter().find(|queue| queue["queue"] == QUEUE).cloned().context("the checkout queue")
}

async fn until_queue(shop: &Shop, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(what, || async { queue(shop).await.ok().filter(&holds) }).await.with_context(|| shop.logs())
}

async fn accept(shop: &Shop, keys: std::ops::Range<u64>) -> Result<()> {
    let keys: Vec<String> = keys.map(|n| format!("p-{n}")).collect();
    join_all(keys.iter().map(|key| shop.accepted_order(key, "MUG", 1)))
        .await
        .into_iter()
        .try_for_each(|it| it.map(drop))
}

/// Every worker that was heard of obeys, and the broker has no consumer.
fn obeyed(queue: &Value) -> bool {
    queue["workers"].as_u64() > Some(0) && queue["workers"] == queue["paused_workers"] && queue["consumers"] == 0
}

pub(crate) async fn a_paused_queue_keeps_what_comes_in_through_a_restart_and_does_each_once_when_resumed(
    parts: Parts,
) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10_000)]).await?;
    accept(&shop, 0..50).await?;
    // With orders on their way.
    let printed =
        verb(shop.folder(), &["queues", "pause", "checkout.main", "--reason", "stock count", "--json"]).await?;
    assert!(printed.contains(QUEUE) && printed.contains("\"changed\":true"), "{printed}");
    accept(&shop, 50..100).await?;
    until_queue(&shop, "every worker obeys", obeyed).await?;
    let stored = shop.orders_in("confirmed").await?;
    accept(&shop, 100..200).await?;
    let waits = until_queue(&shop, "the orders wait", |queue| queue["ready"] == 200 - stored).await?;
    assert_eq!((&waits["in_hand"], &waits["retrying"].as_u64().unwrap_or(0)), (&Value::from(0), &0));
    let sentence = waits["sentence"].as_str().unwrap_or_default();
    assert!(sentence.starts_with("Paused by local since "), "{sentence}");
    assert!(
        waits["oldest_s"].is_number() && sentence.contains(", oldest "),
        "while nobody takes it has an age: {waits}"
    );

    // A worker that starts while it is paused takes nothing.
    shop.kill("checkout").await?;
    shop.restart("checkout").await?;
    until_queue(&shop, "the worker that started obeys", |queue| obeyed(queue) && queue["ready"] == 200 - stored)
        .await?;
    assert_eq!(shop.orders_in("confirmed").await?, stored);

    let printed = verb(shop.folder(), &["queues", "resume", QUEUE]).await?;
    assert!(printed.contains("is resumed"), "{printed}");
    shop.until_decided(200).await?;
    assert_eq!(shop.orders_in("confirmed").await?, 200);
    assert_eq!((shop.movements("MUG").await?, shop.stock("MUG").await?), (200, (10_000, 200)));
    let end = until_queue(&shop, "nothing waits", |queue| queue["ready"] == 0 && queue["in_hand"] == 0).await?;
    assert_eq!((&end["parked"], &end["parked_rows"]), (&Value::from(0), &Value::from(0)));

    let audit = verb(shop.folder(), &["audit"]).await?;
    let actions: Vec<&str> = audit.lines().collect();
    assert_eq!(actions.len(), 2, "{audit}");
    assert!(actions[0].contains("local  queue.resume") && actions[1].contains("stock count"), "{audit}");
    shop.stop().await
}

pub(crate) async fn verbs_find_orders_set_budgets_and_say_what_keeps_them_from_it(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let path = shop.accepted_order("cart-1", "MUG", 2).await?;
    shop.outcome(&path).await?;
    shop.until_decided(1).await?;
    let found = verb(shop.folder(), &["orders", "find", "cart-1"]).await?;
    for said in ["confirmed", "2 x MUG at 1000", "accepted by the ingress", "reserved +2", "no event of it waits"] {
        assert!(found.contains(said), "{said:?} in:\n{found}");
    }
    let id = found.split(':').next().unwrap_or_default();
    assert!(verb(shop.folder(), &["orders", "find", id]).await?.contains("key cart-1"));
    let (status, printed) = run(shop.folder(), &["--config", "millpond.toml", "orders", "find", "cart-9"]).await?;
    assert!(!status.success() && printed.contains("known to the queue only"), "{printed}");

    let printed = verb(shop.folder(), &["budget", "set", "main", "900 rows/s"]).await?;
    assert!(printed.contains("main: 900 rows/s (written into the database"), "{printed}");
    assert!(verb(shop.folder(), &["budget", "unset", "main"]).await?.contains("unlimited"));

    std::fs::write(shop.folder().join("wrong.token"), "mp_ops_wrong")?;
    refused(&shop, &["queues", "--token-file", "wrong.token"], "millpond keys operator --name").await?;
    refused(&shop, &["budget", "set", "main", "fast"], "\"2000 rows/s\"").await?;
    refused(&shop, &["queues", "pause", "checkout.atlantis"], QUEUE).await?;
    let token = verb(shop.folder(), &["keys", "operator", "--name", "anna"]).await?;
    let token = token.split_whitespace().find(|word| word.starts_with("mp_ops_")).context("a token is printed")?;
    std::fs::write(shop.folder().join("anna.token"), token)?;
    wait::until("the new operator is known", || async {
        verb(shop.folder(), &["queues", "--token-file", "anna.token"]).await.ok()
    })
    .await?;
    shop.stop().await?;
    refused(&shop, &["queues"], "millpond run ops").await
}

/// The verb fails, and says `what`.
async fn refused(shop: &Shop, args: &[&str], what: &str) -> Result<()> {
    let args: Vec<&str> = ["--config", "millpond.toml"].iter().chain(args).copied().collect();
    let (status, printed) = run(shop.folder(), &args).await?;
    ensure!(!status.success() && printed.contains(what), "{args:?} should say {what:?}, and says:\n{printed}");
    Ok(())
}
