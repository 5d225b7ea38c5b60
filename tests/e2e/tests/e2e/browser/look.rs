//! What pages are like: accessible, steady and small.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::driver::{Browser, Look};
use super::{open, pause};
use crate::shop::Shop;

/// See the README beside it.
const AXE: &str = include_str!("../../../vendor/axe-core/axe.min.js");

/// What is looked at on the pages of orders, lest they show another state than they are there for.
const SAID: [(&str, &str); 4] = [
    ("order", "Confirmed"),
    ("order-rejected", "there are not enough pieces left"),
    ("order-in-line", "s to go"),
    ("order-late", "a little longer than expected"),
];

/// Every kind of page, with a name for its picture. Nothing is taken from the queue any more, so that an order stays in line.
async fn pages(shop: &Shop) -> Result<Vec<(&'static str, String)>> {
    let page = async |key: &str, sku: &str, quantity: u32| {
        let status = shop.accepted_order(key, sku, quantity).await?;
        anyhow::Ok((status.replace("/v1/orders/", "/orders/"), status))
    };
    let (confirmed, its_status) = page("look", "MUG-BLUE", 1).await?;
    ensure!(shop.outcome(&its_status).await?["state"] == "confirmed");
    let (rejected, its_status) = page("greedy", "BOWL-S", 9).await?;
    ensure!(shop.outcome(&its_status).await?["state"] == "rejected");
    pause(shop).await?;
    let (in_line, _) = page("waits", "MUG-BLUE", 1).await?;
    Ok([
        ("home", "/"),
        ("collection", "/collections/kitchen"),
        ("product", "/products/MUG-BLUE"),
        ("product-low", "/products/BOWL-S"),
        ("product-out", "/products/BOARD"),
        ("missing", "/products/NOTHING"),
        ("review", "/order/review?sku=MUG-BLUE&quantity=2&key=look"),
        ("review-busy", "/order/review?sku=MUG-BLUE&quantity=2&key=look&busy=7"),
        ("order", &confirmed),
        ("order-rejected", &rejected),
        // An hour, so that it is the same page for every look.
        ("order-in-line", &format!("{in_line}&w=3600")),
        ("order-late", &format!("{in_line}&w=1")),
    ]
    .map(|(name, path)| (name, shop.storefront(path)))
    .into())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_an_accessibility_violation_or_moves_while_it_loads() -> Result<()> {
    let mut shop = open().await?;
    let pages = pages(&shop).await?;
    let mut wrong = Vec::new();
    for (dark, phone) in [(false, false), (true, false), (false, true), (true, true)] {
        let look = Look { dark, phone, ..Look::DESKTOP };
        let browser = Browser::open(look).await?;
        for (name, url) in &pages {
            browser.client.goto(url).await?;
            ensure!(browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches").await? == dark);
            if let Some((_, said)) = SAID.iter().find(|(page, _)| page == name) {
                browser.until_says(".status", said).await?;
            }
            browser.screenshot(name).await?;
            for fault in [violations(&browser).await?, shifts(&browser).await?, overflow(&browser).await?] {
                wrong.extend(fault.map(|fault| format!("{name}, {}: {fault}", look.name())));
            }
        }
        browser.close().await?;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    shop.stop().await
}

/// What axe-core finds.
async fn violations(browser: &Browser) -> Result<Option<String>> {
    browser.client.execute(AXE, Vec::new()).await?;
    let script = "const done = arguments[0]; axe.run().then((found) => done({passed: found.passes.length, \
        wrong: found.violations.map((one) => one.id + ': ' + one.nodes.map((node) => node.html + ' ' + \
        node.failureSummary).join('; '))}))";
    let found = browser.client.execute_async(script, Vec::new()).await?;
    ensure!(found["passed"].as_u64() > Some(5), "it looked at nothing: {found}");
    let wrong: Vec<&str> = found["wrong"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    Ok((!wrong.is_empty()).then(|| wrong.join("\n")))
}

/// Layout shifts since the page began to load: how much each was, and what moved from where to where.
async fn shifts(browser: &Browser) -> Result<Option<String>> {
    let script = "const done = arguments[0]; const seen = []; \
        const place = (rect) => [rect.x, rect.y, rect.width, rect.height].map(Math.round).join(' '); \
        const name = (node) => node ? node.nodeName + '.' + (node.className || '') : 'gone'; \
        const watch = new PerformanceObserver((list) => { for (const entry of list.getEntries()) seen.push({ \
            value: entry.value, moved: entry.sources.map((one) => name(one.node) + ' ' + place(one.previousRect) + \
            ' to ' + place(one.currentRect)) }) }); \
        watch.observe({type: 'layout-shift', buffered: true}); \
        requestAnimationFrame(() => setTimeout(() => done(seen), 100))";
    let seen = browser.client.execute_async(script, Vec::new()).await?;
    let seen = seen.as_array().context("no list of shifts")?;
    Ok((!seen.is_empty()).then(|| format!("the layout shifted: {}", Value::from(seen.clone()))))
}

/// A page that is wider than the window, less the room of its scroll bar: so wide is a body without margins.
async fn overflow(browser: &Browser) -> Result<Option<String>> {
    let wider = browser.evaluate("document.documentElement.scrollWidth - document.body.offsetWidth").await?;
    Ok((wider != 0).then(|| format!("{wider} pixels wider than the window")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_of_a_visitor_is_below_fifty_kilobytes() -> Result<()> {
    let mut shop = open().await?;
    let browser = Browser::open(Look::DESKTOP).await?;
    browser.client.goto(&shop.storefront("/")).await?;
    let script = "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))\
        .map((entry) => [entry.name, entry.transferSize, entry.decodedBodySize])";
    let loaded = browser.evaluate(script).await?;
    let entries = loaded.as_array().map_or(&[][..], Vec::as_slice);
    assert!(entries.len() >= 3, "page, style and script: {loaded}");
    let bytes: u64 = entries.iter().filter_map(|entry| entry[1].as_u64()).sum();
    eprintln!("the first page took {bytes} bytes: {loaded}");
    assert!((1..50_000).contains(&bytes), "{loaded}");
    browser.close().await?;
    shop.stop().await
}
