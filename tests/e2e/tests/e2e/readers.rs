//! Readers and buyers at once.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use futures::future::try_join_all;
use testkit::wait;

use crate::shop::{Parts, Shop};

const READERS: usize = 32;
/// Orders that are posted at once, and how often.
const BUYERS: usize = 5;
const ORDERS_EACH: usize = 20;

pub(crate) async fn while_readers_flood_the_pages_every_order_is_accepted_and_confirmed(parts: Parts) -> Result<()> {
    let shop = Shop::open(parts, &[("MUG", 1_000)]).await?;
    let answered = AtomicU64::new(0);
    tokio::select! {
        ended = try_join_all((0..READERS).map(|reader| read_on(&shop, reader, &answered))) => {
            bail!("they read for ever: {ended:?}")
        }
        bought = buy(&shop, &answered) => bought?,
    }
    let orders = u64::try_from(BUYERS * ORDERS_EACH)?;
    shop.until_decided(orders).await?;
    assert_eq!(shop.orders_in("confirmed").await?, orders);
    Ok(())
}

/// Reads without a pause: what is kept for everybody, and pages that nobody asked for before.
async fn read_on(shop: &Shop, reader: usize, answered: &AtomicU64) -> Result<()> {
    for n in 0_u64.. {
        let path = match n % 3 {
            0 => "/products/MUG".to_owned(),
            1 => format!("/products/FLOOD-{reader}-{n}"),
            _ => format!("/v1/products?q=flood{reader}x{n}"),
        };
        let status = shop.http.get(&shop.storefront(&path)).await?.status.as_u16();
        // A reader beyond what the pages' room takes is told so.
        ensure!([200, 404, 503].contains(&status), "{path}: {status}");
        answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Posts orders while pages are read; each must be accepted at once.
async fn buy(shop: &Shop, answered: &AtomicU64) -> Result<()> {
    let read = || answered.load(Ordering::Relaxed);
    wait::until("every reader is at it", async || (read() >= READERS as u64).then_some(())).await?;
    let before = read();
    let buyers = (0..BUYERS).map(async |buyer| {
        for n in 0..ORDERS_EACH {
            shop.accepted_order(&format!("order-{buyer}-{n}"), "MUG", 1).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(buyers).await?;
    ensure!(read() > before, "nobody read meanwhile");
    Ok(())
}
