//! Buying: with script and without, and while the shop is away.

use anyhow::Result;
use fantoccini::Locator;
use testkit::wait;

use super::driver::{Browser, Look};
use super::open;
use crate::shop::{Shop, verb};

/// Nothing is taken from the queue from now on, so that orders stay in line.
async fn pause(shop: &Shop) -> Result<()> {
    verb(shop.folder(), &["queues", "pause", "checkout.main", "--reason", "a look at the line"]).await?;
    wait::until("checkout takes nothing", || async {
        let queues = verb(shop.folder(), &["queues", "--json"]).await.ok()?;
        queues.contains("\"paused_workers\":1").then_some(())
    })
    .await
}

async fn resume(shop: &Shop) -> Result<()> {
    verb(shop.folder(), &["queues", "resume", "checkout.main"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_article_is_bought_and_its_page_turns_from_in_line_to_confirmed_without_loading_again() -> Result<()> {
    let mut shop = open().await?;
    pause(&shop).await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/?utm_campaign=autumn")).await?;
    browser.click(".card[href='/products/MUG-BLUE']").await?;
    browser.until_at("/products/MUG-BLUE").await?;
    browser.client.find(Locator::Css("select[name=quantity] option:nth-child(2)")).await?.click().await?;
    browser.click(".buy button").await?;

    browser.until_at("/orders/").await?;
    browser.until_says(".told", "In line").await?;
    browser.screenshot("order-queued").await?;
    browser.evaluate("window.neverLoadedAgain = true").await?;
    resume(&shop).await?;
    browser.until_says(".told", "Confirmed").await?;
    assert_eq!(browser.evaluate("window.neverLoadedAgain").await?, true);
    browser.screenshot("order-confirmed").await?;
    shop.until_decided(1).await?;
    assert_eq!((shop.orders_in("confirmed").await?, shop.stock("MUG-BLUE").await?), (1, (500, 2)));

    // Loaded again it is what the server says, and nothing more is asked for.
    browser.client.refresh().await?;
    browser.until_says(".told", "Confirmed").await?;
    // The pages told of their visitor.
    wait::until("the views are counted", || async {
        (shop.views("/products/MUG-BLUE").await.ok()? == 1).then_some(())
    })
    .await?;
    browser.close().await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_an_article_is_shown_and_ordered_once_however_often_it_is_sent() -> Result<()> {
    let mut shop = open().await?;
    pause(&shop).await?;
    let browser = Browser::open(Look::WITHOUT_SCRIPT).await?;
    browser.client.goto(&shop.storefront("/products/MUG-BLUE")).await?;
    browser.until_says("h1", "Blue mug").await?;
    browser.until_says(".facts .price", "€12.00").await?;
    browser.client.find(Locator::Css("select[name=quantity] option:nth-child(3)")).await?.click().await?;
    browser.click(".buy button").await?;

    let review = browser.until_at("/order/review?sku=MUG-BLUE&quantity=3&key=").await?;
    browser.until_says("tfoot", "€36.00").await?;
    browser.screenshot("review").await?;
    browser.click(".buy button").await?;
    let order = browser.until_at("/orders/").await?;
    browser.until_says(".told", "In line").await?;

    // Loaded again, and gone back to and sent again: the same order.
    browser.client.refresh().await?;
    browser.until_says(".told", "In line").await?;
    browser.client.goto(&shop.storefront(&review)).await?;
    browser.click(".buy button").await?;
    assert_eq!(browser.until_at("/orders/").await?.split('?').next(), order.split('?').next());

    resume(&shop).await?;
    // The page loads itself again until then.
    browser.until_says(".told", "Confirmed").await?;
    shop.until_decided(1).await?;
    assert_eq!((shop.orders_in("confirmed").await?, shop.stock("MUG-BLUE").await?), (1, (500, 3)));
    browser.close().await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_sent_while_the_shop_is_away_is_sent_again_and_placed_once() -> Result<()> {
    let mut shop = open().await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/products/TOWEL")).await?;
    browser.until_says("h1", "Linen towel").await?;
    shop.stop().await?;
    browser.click(".buy button").await?;
    browser.until_says(".note", "placed only once").await?;
    browser.screenshot("product-away").await?;
    shop.reopen().await?;
    browser.until_at("/orders/").await?;
    browser.until_says(".told", "Confirmed").await?;
    shop.until_decided(1).await?;
    assert_eq!((shop.orders_in("confirmed").await?, shop.stock("TOWEL").await?), (1, (200, 1)));
    // The key was kept until then, and no longer.
    assert_eq!(browser.evaluate("sessionStorage.getItem('mp.order.TOWEL')").await?, serde_json::Value::Null);
    browser.close().await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sold_out_meanwhile_is_told_on_the_orders_page() -> Result<()> {
    let mut shop = open().await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/products/BOWL-S")).await?;
    browser.until_says(".facts", "Only a few left").await?;
    browser.client.find(Locator::Css("select[name=quantity] option:nth-child(9)")).await?.click().await?;
    browser.click(".buy button").await?;
    browser.until_says(".told", "there are not enough pieces left").await?;
    browser.screenshot("order-rejected").await?;
    assert_eq!(shop.orders_in("rejected").await?, 1);
    browser.close().await?;
    shop.stop().await
}
