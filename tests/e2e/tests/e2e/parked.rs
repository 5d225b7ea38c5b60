//! What nobody could handle, through the verb, beside a shop that runs.

use anyhow::{Context as _, Result, ensure};
use broker::{Publish, QueueName, layout};
use model::{Message, OrderId, RegionNumber, headers};
use serde_json::Value;
use testkit::process::run;
use testkit::wait;

use crate::bad_input::{BROKEN, by_hand, placed, to_checkout};
use crate::shop::{Parts, Shop, verb};

fn queue() -> Result<QueueName> {
    Ok(layout::checkout_queue(&"main".parse()?))
}

async fn shown(shop: &Shop, id: &str) -> Option<Value> {
    let queue = queue().ok()?;
    let printed = verb(shop.folder(), &["parked", "--json", "show", queue.as_str(), id]).await.ok()?;
    serde_json::from_str(&printed).ok()
}

async fn until(shop: &Shop, id: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(what, || async { shown(shop, id).await.filter(&holds) }).await.with_context(|| shop.logs())
}

/// Parks b-1 and b-2, which can't be read, and the order k-good, which an earlier release is supposed to have parked. Gives
/// the id of its message.
async fn park_three(shop: &mut Shop) -> Result<String> {
    shop.stop().await?;
    let unreadable =
        |id: &str| -> Result<Message> { Ok(Message { id: id.parse()?, body: BROKEN.into(), ..placed("k-x")? }) };
    let mut good = placed("k-good")?;
    let good_id = good.id.to_string();
    good.headers.insert(headers::REASON.to_owned(), "failed 8 times, at last later: no".to_owned());
    let broker = by_hand(shop).await?;
    let batch = vec![
        to_checkout(unreadable("b-1")?),
        to_checkout(unreadable("b-2")?),
        Publish::to_queue(&queue()?.parked(), good),
    ];
    for outcome in broker.publish(batch).await {
        outcome?;
    }
    broker.close().await;
    shop.reopen().await?;
    for id in ["b-1", "b-2", &good_id] {
        until(shop, id, "it is parked", |message| message["state"] == "open").await?;
    }
    Ok(good_id)
}

pub(crate) async fn a_parked_order_is_found_by_its_id_and_what_was_discarded_by_mistake_is_brought_back(
    parts: Parts,
) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let good_id = park_three(&mut shop).await?;
    let queue = queue()?;

    // An id is of a message, and not of an order: the order leads to it.
    let order = OrderId::derive(RegionNumber(1), &"main".parse()?, &"k-good".parse()?).to_string();
    let (_, found) =
        run(shop.folder(), &["--config", "millpond.toml", "orders", "--json", "find", order.as_str()]).await?;
    let found: Value = serde_json::from_str(&found).with_context(|| found.clone())?;
    let as_parked = &found["missing"][0]["parked"][0];
    let names = [&as_parked["queue"], &as_parked["message_id"]].map(|name| name.as_str().unwrap_or_default());
    assert_eq!(names, [queue.as_str(), good_id.as_str()], "{found}");
    let replayed = verb(shop.folder(), &["parked", "replay", names[0], names[1]]).await?;
    ensure!(replayed.contains("1 messages"), "{replayed}");
    until(&shop, &good_id, "it has closed", |message| message["state"] == "closed").await?;

    // A group's messages, page by page.
    let page = verb(shop.folder(), &["parked", "list", "--messages", "--limit", "1"]).await?;
    ensure!(page.contains(&format!("{queue}  b-1")) && !page.contains("b-2"), "{page}");
    let next = page.lines().find_map(|line| line.split_once("--after ")).context("there is a second")?.1;
    let page = verb(shop.folder(), &["parked", "list", "--messages", "--after", next]).await?;
    ensure!(page.contains(&format!("{queue}  b-2")) && !page.contains("b-1"), "{page}");

    verb(shop.folder(), &["parked", "discard", "--all", "--because", "a slip"]).await?;
    let gone = verb(shop.folder(), &["parked", "list", "--messages", "--state", "discarded"]).await?;
    ensure!(gone.contains(&format!("{queue}  b-1")) && gone.contains("a slip"), "{gone}");
    verb(shop.folder(), &["parked", "replay", queue.as_str(), "b-1"]).await?;
    until(&shop, "b-1", "it is parked again", |message| message["state"] == "open" && message["times"] == 2).await?;

    // Nothing is on its way any more.
    let (status, said) = run(shop.folder(), &["--config", "millpond.toml", "parked", "stop", "--all"]).await?;
    ensure!(!status.success() && said.contains("No such message is on its way"), "{said}");
    let audit = verb(shop.folder(), &["audit"]).await?;
    let oldest = audit.lines().last().and_then(|line| line.split_whitespace().next()).context("a time")?;
    let before = verb(shop.folder(), &["audit", "--before", oldest]).await?;
    ensure!(audit.contains("a slip") && before.trim().is_empty(), "{audit}\nbefore {oldest}:\n{before}");
    shop.stop().await
}

pub(crate) async fn what_is_parked_is_listed_shown_replayed_and_discarded_by_the_verb(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let nothing = verb(shop.folder(), &["parked", "list"]).await?;
    ensure!(nothing.contains("Nothing is parked."), "{nothing}");
    let good_id = park_three(&mut shop).await?;
    let queue = queue()?;

    let printed = verb(shop.folder(), &["parked", "--json", "list"]).await?;
    let listing: Value = serde_json::from_str(&printed)?;
    let groups = listing["groups"].as_array().context("a list of groups")?;
    let group = groups.iter().find(|group| group["open"] == 2).context("the group of the two")?;
    ensure!(group["reason"].as_str().is_some_and(|reason| reason.starts_with("malformed: ")), "{group}");
    let words = verb(shop.folder(), &["parked", "list"]).await?;
    ensure!(words.contains("open 2") && !words.contains("of a kind that nobody knows"), "{words}");

    // Its cause is mended: it has its effect, and closes.
    let replayed = verb(shop.folder(), &["parked", "replay", queue.as_str(), &good_id]).await?;
    ensure!(replayed.contains("1 messages"), "{replayed}");
    until(&shop, &good_id, "it has closed", |message| message["state"] == "closed").await?;
    assert_eq!((shop.orders_in("confirmed").await?, shop.stock("MUG").await?), (1, (10, 1)));

    // The cause of these is not mended: they come back, and are given up.
    let reason = group["reason"].as_str().unwrap_or_default();
    verb(shop.folder(), &["parked", "replay", "--reason", reason, "--rate", "50"]).await?;
    for id in ["b-1", "b-2"] {
        until(&shop, id, "it is parked again", |message| message["state"] == "open" && message["times"] == 2).await?;
    }
    let because = ["parked", "discard", queue.as_str(), "b-1", "--because", "made by a test"];
    verb(shop.folder(), &because).await?;
    let gone = shown(&shop, "b-1").await.context("what is discarded can be looked at")?;
    assert_eq!((&gone["state"], &gone["note"]), (&Value::from("discarded"), &Value::from("made by a test")));
    verb(shop.folder(), &["parked", "discard", "--all", "--because", "made by a test"]).await?;
    let nothing = verb(shop.folder(), &["parked", "list"]).await?;
    ensure!(nothing.contains("Nothing is parked."), "{nothing}");

    let audit = verb(shop.folder(), &["audit"]).await?;
    for action in ["parked.replay", "parked.discard", &format!("{queue}/b-1")] {
        ensure!(audit.contains(action), "{action} is in the trail: {audit}");
    }
    for wrong in [
        vec!["parked", "replay"],
        vec!["parked", "replay", "--all", "--rate", "0"],
        vec!["parked", "replay", "q"],
        vec!["parked", "list", "--queue", "checkout.mian"],
        vec!["parked", "list", "--state", "discarded"],
        vec!["parked", "stop"],
        vec!["audit", "--before", "yesterday"],
    ] {
        let args: Vec<&str> = ["--config", "millpond.toml"].into_iter().chain(wrong).collect();
        let (status, said) = run(shop.folder(), &args).await?;
        ensure!(!status.success() && !said.contains("panicked"), "{args:?}: {said}");
    }
    Ok(())
}
