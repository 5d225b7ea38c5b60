//! Buying: with script and without, and while the shop is away.

use anyhow::{Context as _, Result, bail};
use fantoccini::Locator;
use testkit::wait;

use super::driver::{Browser, Look};
use super::{PRODUCTS, open, pause, resume};
use crate::shop::Shop;

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

/// Orders until the queue is full; how many it took.
async fn fill(shop: &Shop) -> Result<u64> {
    for taken in 0..100 {
        let answer = shop.post_order(&format!("fill-{taken}"), "MUG-BLUE", 1).await?;
        match answer.status.as_u16() {
            202 => {}
            503 if answer.json()["code"] == "queue_full" => return Ok(taken),
            _ => bail!("{}: {}", answer.status, answer.json()),
        }
    }
    bail!("the queue took a hundred orders, and was to hold fifty")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_answered_503_is_sent_again_when_it_was_asked_to_be_and_placed_once() -> Result<()> {
    let settings = "[broker.embedded]\nmax_queue_messages = 50\n";
    let mut shop = Shop::open_to_browsers_with(PRODUCTS, settings).await?;
    pause(&shop).await?;
    let taken = fill(&shop).await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/products/TOWEL")).await?;
    browser.click(".buy button").await?;
    browser.until_says(".note", "placed only once").await?;
    // Of its own accord the script would come back within two seconds at first.
    let seconds = browser.evaluate("+document.querySelector('[data-mp-seconds]').textContent").await?;
    assert!(seconds.as_f64().is_some_and(|seconds| seconds >= 5.0), "as Retry-After has it: {seconds}");
    resume(&shop).await?;
    browser.until_at("/orders/").await?;
    browser.until_says(".told", "Confirmed").await?;
    shop.until_decided(taken + 1).await?;
    assert_eq!((shop.orders_in("confirmed").await?, shop.stock("TOWEL").await?), (taken + 1, (200, 1)));
    browser.close().await?;
    shop.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_line_shows_how_long_it_takes_which_falls_until_it_is_late() -> Result<()> {
    let mut shop = open().await?;
    pause(&shop).await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/products/MUG-BLUE")).await?;
    browser.until_says("h1", "Blue mug").await?;
    // The order is a real one. How long it waits is told while workers take orders, and here nobody does.
    let told = "(window.fetch = ((real) => async (...asked) => { const answer = await real(...asked); \
        const { status, ok, headers } = answer, told = await answer.json(); \
        return { status, ok, headers, json: async () => ({ ...told, wait_s: 40 }) } })(window.fetch), true)";
    assert_eq!(browser.evaluate(told).await?, true);
    browser.click(".buy button").await?;
    let order = browser.until_at("/orders/").await?;
    assert!(order.ends_with("&w=40"), "{order}");
    browser.until_says(".wait", "About").await?;
    browser.screenshot("order-waits").await?;
    let first = seconds_left(&browser).await?;
    wait::until("there are fewer seconds left", || async {
        seconds_left(&browser).await.ok().filter(|left| *left < first)
    })
    .await?;

    // Twelve seconds from now: as many more as it has waited already.
    let expected = browser.evaluate("+document.querySelector('[data-mp-wait]').dataset.mpWait").await?;
    let waited = browser.evaluate("Math.ceil(performance.now() / 1000)").await?;
    let (Some(expected), Some(waited)) = (expected.as_u64(), waited.as_u64()) else {
        bail!("{expected} and {waited} are seconds")
    };
    let soon = order.replace("&w=40", &format!("&w={}", 40_u64.saturating_sub(expected) + waited + 12));
    browser.client.goto(&shop.storefront(&soon)).await?;
    let at_first = browser.evaluate("+document.querySelector('[data-mp-wait]').dataset.mpWait > 0").await?;
    assert_eq!(at_first, true, "it is not late yet when it is loaded");
    browser.until_says("[data-mp-late]", "a little longer than expected").await?;
    browser.until_says(".told", "In line").await?;
    resume(&shop).await?;
    browser.until_says(".told", "Confirmed").await?;
    shop.until_decided(1).await?;
    browser.close().await?;
    shop.stop().await
}

/// What the page of an order in line says.
async fn seconds_left(browser: &Browser) -> Result<f64> {
    let left = browser.evaluate("+document.querySelector('.wait b').textContent").await?;
    left.as_f64().filter(|left| *left > 0.0).context("the seconds that are left")
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
