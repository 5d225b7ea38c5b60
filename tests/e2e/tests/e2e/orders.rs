//! Orders, from the request to the stock.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::future::try_join_all;

use crate::shop::{Parts, Shop};

pub(crate) async fn an_order_posted_over_http_ends_confirmed_with_its_stock_moved_once(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let status = shop.accepted_order("k-1", "MUG", 3).await?;
    let outcome = shop.outcome(&status).await?;
    assert_eq!(outcome["state"], "confirmed", "{outcome}");
    assert_eq!(shop.stock("MUG").await?, (10, 3));
    assert_eq!(shop.movements("MUG").await?, 1);

    let forged = status.replace("?t=", "?t=A");
    let refused = shop.http.get(&shop.storefront(&forged)).await?;
    assert_eq!(refused.status, 403, "a forged token reads nothing");
    shop.stop().await
}

pub(crate) async fn the_same_order_posted_five_times_at_once_is_one_order(parts: Parts) -> Result<()> {
    let shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let statuses = try_join_all((0..5).map(|_| shop.accepted_order("k-1", "MUG", 1))).await?;
    let ids: Vec<_> = statuses.iter().map(|status| status.split('?').next()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    for status in &statuses {
        assert_eq!(shop.outcome(status).await?["state"], "confirmed");
    }
    // An order after it: whatever copies there were have been handled when this one is.
    let last = shop.accepted_order("k-2", "MUG", 1).await?;
    assert_eq!(shop.outcome(&last).await?["state"], "confirmed");
    assert_eq!(shop.stock("MUG").await?, (10, 2));
    assert_eq!(shop.movements("MUG").await?, 2);
    Ok(())
}

pub(crate) async fn one_key_with_another_order_is_never_a_second_order(parts: Parts) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    let first = shop.accepted_order("k-1", "MUG", 1).await?;
    assert_eq!(shop.outcome(&first).await?["state"], "confirmed");
    let known = shop.post_order("k-1", "MUG", 2).await?;
    assert_eq!(known.status, 422, "the ingress that took the first knows: {}", known.json());

    // One that has forgotten accepts it, and the outcome says what it was.
    shop.kill("ingress").await?;
    shop.restart("ingress").await?;
    let second = shop.accepted_order("k-1", "MUG", 2).await?;
    let outcome = shop.outcome(&second).await?;
    assert_eq!(outcome["reason"]["code"], "idempotency_conflict", "{outcome}");
    assert_eq!(shop.outcome(&first).await?["state"], "confirmed", "the first stands");
    assert_eq!(shop.stock("MUG").await?, (10, 1));
    Ok(())
}

pub(crate) async fn five_hundred_buyers_of_a_hundred_units_leave_exactly_a_hundred_confirmed(
    parts: Parts,
) -> Result<()> {
    let shop = Shop::open(parts, &[("MUG", 100)]).await?;
    let keys: Vec<String> = (0..500).map(|n| format!("buyer-{n}")).collect();
    let mut statuses = Vec::with_capacity(keys.len());
    for fifty in keys.chunks(50) {
        statuses.extend(try_join_all(fifty.iter().map(|key| shop.accepted_order(key, "MUG", 1))).await?);
    }
    shop.until_decided(500).await?;
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for status in &statuses {
        let outcome = shop.outcome(status).await?;
        let reason = outcome["reason"]["code"].as_str().unwrap_or("no reason");
        *outcomes.entry(format!("{} {reason}", outcome["state"].as_str().unwrap_or_default())).or_default() += 1;
    }
    let expected = [("confirmed no reason".to_owned(), 100), ("rejected out_of_stock".to_owned(), 400)];
    assert_eq!(outcomes, BTreeMap::from(expected));
    assert_eq!(shop.stock("MUG").await?, (100, 100));
    assert_eq!(shop.movements("MUG").await?, 100);
    Ok(())
}
