//! Processes that are killed in the middle of their work.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures::future::join_all;
use testkit::wait;

use crate::shop::{Parts, Shop};

const ORDERS: u64 = 300;

pub(crate) async fn a_checkout_killed_in_mid_batch_loses_nothing_and_doubles_nothing(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10_000)]).await?;
    let mut kills = 0;
    let mut posted = 0;
    // A kill counts when orders were taken and not all were done; more orders are posted until two did.
    while kills < 2 {
        ensure!(posted < 50 * ORDERS, "no kill met a batch in the middle");
        let keys: Vec<String> = (posted..posted + ORDERS).map(|n| format!("k-{n}")).collect();
        for some in keys.chunks(100) {
            for status in join_all(some.iter().map(|key| shop.accepted_order(key, "MUG", 1))).await {
                status?;
            }
        }
        let before = posted;
        posted += ORDERS;
        wait::until("checkout is at work", || async {
            (shop.orders_in("confirmed").await.ok()? > before).then_some(())
        })
        .await?;
        shop.kill("checkout").await?;
        kills += u32::from(shop.orders_in("confirmed").await? < posted);
        shop.restart("checkout").await?;
        shop.until_decided(posted).await?;
    }
    assert_eq!(shop.orders_in("confirmed").await?, posted);
    assert_eq!(shop.stock("MUG").await?, (10_000, i64::try_from(posted)?));
    assert_eq!(shop.movements("MUG").await?, posted);
    Ok(())
}

/// The relay's process also has analytics, which counts each outcome once: so the count says what arrived.
pub(crate) async fn a_relay_killed_in_mid_batch_loses_no_outcome_and_tells_none_twice(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 100_000)]).await?;
    let (mut posted, mut kills) = (0, 0);
    // A kill counts when messages waited in the outbox; more orders are posted until three did.
    while kills < 3 {
        ensure!(posted < 50 * ORDERS, "no kill met a message in the outbox");
        let keys: Vec<String> = (posted..posted + ORDERS).map(|n| format!("k-{n}")).collect();
        for some in keys.chunks(100) {
            for status in join_all(some.iter().map(|key| shop.accepted_order(key, "MUG", 1))).await {
                status?;
            }
        }
        posted += ORDERS;
        shop.kill("rest").await?;
        kills += u32::from(parts == Parts::Embedded || shop.waiting_in_outbox().await? > 0);
        shop.restart("rest").await?;
    }
    shop.until_decided(posted).await?;
    let counted = || async { (shop.outcomes_counted().await.ok()? >= i64::try_from(posted).ok()?).then_some(()) };
    wait::until("every outcome is counted", counted).await.with_context(|| shop.logs())?;
    assert_eq!(shop.outcomes_counted().await?, i64::try_from(posted)?, "none twice");
    Ok(())
}

pub(crate) async fn an_ingress_killed_in_mid_request_loses_nothing_that_it_accepted(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10_000)]).await?;
    let keys: Vec<String> = (0..ORDERS).map(|n| format!("k-{n}")).collect();
    let mut accepted = BTreeSet::new();
    let mut unanswered = 0_usize;
    for some in keys.chunks(100) {
        let (url, http, api_key) = (shop.ingress("/v1/orders"), shop.http.clone(), shop.api_key.clone());
        let body = crate::shop::order_body("MUG", 1);
        let posts = some.iter().map(|key| {
            let (url, http, api_key, body) = (url.clone(), http.clone(), api_key.clone(), body.clone());
            let key = key.clone();
            async move {
                let answer = http.post(&url, &api_key, &[("idempotency-key", key.as_str())], &body).await;
                (key, answer.is_ok_and(|answer| answer.status == 202))
            }
        });
        let mut requests: tokio::task::JoinSet<_> = posts.collect();
        // The first answer says that requests are on their way; most of the others are in the middle.
        let first = requests.join_next().await.context("a request was sent")??;
        shop.kill("ingress").await?;
        for (key, was_accepted) in std::iter::once(first).chain(requests.join_all().await) {
            if was_accepted {
                accepted.insert(key);
            } else {
                unanswered += 1;
            }
        }
        shop.restart("ingress").await?;
    }
    ensure!(unanswered > 0, "every request was answered: no kill met one in the middle");

    // What was accepted is there, with nobody asking again.
    shop.until_decided(u64::try_from(accepted.len())?).await?;
    // And the answer to "I don't know" is to ask again with the same key: every order is there once.
    for key in &keys {
        shop.accepted_order(key, "MUG", 1).await?;
    }
    let last = shop.accepted_order("last", "MUG", 1).await?;
    assert_eq!(shop.outcome(&last).await?["state"], "confirmed");
    shop.until_decided(ORDERS + 1).await?;
    assert_eq!(shop.orders_in("confirmed").await?, ORDERS + 1);
    assert_eq!(shop.stock("MUG").await?, (10_000, i64::try_from(ORDERS + 1)?));
    assert_eq!(shop.movements("MUG").await?, ORDERS + 1);
    Ok(())
}
