//! What everybody may read, and what nobody is told.

use events::Band;
use serde_json::{Value, json};

use super::fixture::{Fixture, both, on_sqlite, patient, quick};
use super::shelf::{LOW, edit, name_of};
use crate::{Config, Host, PublicReads};

#[tokio::test]
async fn a_product_is_told_with_its_price_its_version_and_whether_it_is_there() {
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG/1", "Blue mug", 1_450)]).await;
        let answer = fixture.get("/v1/products/MUG%2F1").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
        let mut told = answer.json();
        assert!(told["updated_at"].take().as_str().unwrap().ends_with('Z'));
        let expected = json!({
            "sku": "MUG/1", "version": 1, "title": "Blue mug", "description": "Holds coffee. ".repeat(100), "image": null,
            "collections": ["mugs"], "price": {"minor": 1450, "currency": "EUR"}, "availability": "in", "updated_at": null,
        });
        assert_eq!(told, expected);
    }
}

#[tokio::test]
async fn a_change_is_shown_once_it_is_purged() {
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
        for path in ["/v1/products/MUG", "/v1/products", "/v1/products?collection=mugs", "/v1/products?q=blue"] {
            assert!(fixture.get(path).await.body.windows(4).any(|part| part == b"1450"), "{path}");
        }
        assert_eq!(fixture.get("/v1/products/CUP").await.status, 404);
        fixture.shelve(&[edit("MUG", "Blue mug", 1_600), edit("CUP", "Blue cup", 900)]).await;
        fixture.purge("MUG").await;
        fixture.purge("CUP").await;
        for path in ["/v1/products/MUG", "/v1/products", "/v1/products?collection=mugs", "/v1/products?q=blue"] {
            fixture.until(path, |answer| answer.body.windows(4).any(|part| part == b"1600")).await;
        }
        fixture.until("/v1/products/CUP", |answer| answer.status == 200).await;
        let list = fixture.get("/v1/products?q=blue").await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_is_sold_out_is_shown_so_wherever_it_is_listed() {
    const LISTS: [&str; 3] = ["/v1/products", "/v1/products?collection=mugs", "/v1/products?q=blue"];
    const PAGES: [&str; 3] = ["/", "/collections/mugs", "/products/MUG"];
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
        let mut before = Vec::new();
        for path in PAGES {
            before.push(fixture.get(path).await.body);
        }
        for path in LISTS {
            assert_eq!(fixture.get(path).await.json()["items"][0]["availability"], "in", "{path}");
        }
        fixture.leave("MUG", 0).await;
        fixture.purge_stock("MUG").await;
        for path in LISTS {
            fixture.until(path, |answer| answer.json()["items"][0]["availability"] == "out").await;
        }
        for (path, before) in PAGES.into_iter().zip(before) {
            fixture.until(path, |page| page.body != before).await;
        }
    }
}

#[tokio::test]
async fn a_list_leads_from_page_to_page_and_every_product_comes_once() {
    let config = Config { pages: PublicReads { page_size: 2, ..quick().pages }, ..quick() };
    for fixture in both(config).await {
        let edits: Vec<_> = (0..5).map(|n| edit(&format!("MUG-{n}"), &format!("Mug {n}"), 1_000 + n)).collect();
        fixture.shelve(&edits).await;
        let (mut path, mut seen) = ("/v1/products?q=mug&collection=mugs".to_owned(), Vec::new());
        loop {
            let answer = fixture.get(&path).await;
            let list = answer.json();
            let items = list["items"].as_array().unwrap();
            seen.extend(items.iter().map(|item| item["sku"].as_str().unwrap().to_owned()));
            let Some(next) = list["next"].as_str() else {
                assert_eq!(answer.header("link"), "");
                break;
            };
            assert_eq!(items.len(), 2);
            let link = answer.header("link");
            let target = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
            assert_eq!(target, format!("/v1/products?market=eu&collection=mugs&q=mug&page={next}"));
            path = target.to_owned();
        }
        assert_eq!(seen, ["MUG-0", "MUG-1", "MUG-2", "MUG-3", "MUG-4"]);
        let item = &fixture.get("/v1/products").await.json()["items"][0];
        let expected = json!({
            "sku": "MUG-0", "title": "Mug 0", "image": null, "price": {"minor": 1000, "currency": "EUR"}, "availability": "in",
        });
        assert_eq!(*item, expected);
        let none = fixture.get("/v1/products?collection=hats").await;
        assert_eq!((none.status.as_u16(), none.json()), (200, json!({"items": [], "next": null})));
    }
}

#[tokio::test]
async fn without_a_key_stock_is_a_band_and_with_one_it_is_exact() {
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
        for (units, band) in [(4_815_162, Band::In), (LOW, Band::Low), (0, Band::Out)] {
            fixture.leave("MUG", units).await;
            fixture.purge("MUG").await;
            let told = fixture.until("/v1/stock/MUG", |answer| answer.json()["availability"] == name_of(band)).await;
            assert_eq!(told.json(), json!({"sku": "MUG", "availability": name_of(band)}));
            assert_eq!(told.header("vary"), "accept-encoding, authorization");
        }
        let key = format!("Bearer {}", fixture.api_keys.server);
        let exact = fixture.get_with("/v1/stock/MUG", &[("authorization", &key)]).await;
        assert_eq!(exact.json()["on_hand"], 4_815_162);
        assert_eq!((exact.header("vary"), exact.header("cache-control")), ("authorization", "no-store"));
        assert_eq!(fixture.get_with("/v1/stock/MUG", &[("authorization", "Bearer wrong")]).await.status, 401);
        assert_eq!(fixture.get("/v1/stock/HAT").await.status, 404);
    }
}

/// Nothing of an answer may change with a sale that leaves the band: else whoever asks often counts them.
#[tokio::test]
async fn no_number_of_units_and_no_count_of_sales_leaks_to_the_public() {
    const PATHS: [&str; 5] =
        ["/v1/products/MUG", "/v1/stock/MUG", "/v1/products", "/v1/products?q=mug", "/v1/products?collection=mugs"];
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
        let mut before = Vec::new();
        for path in PATHS {
            before.push(fixture.get(path).await);
        }
        let renders = fixture.pages.stats().renders;
        fixture.leave("MUG", 2_718_281).await;
        fixture.purge("MUG").await;
        for (path, before) in PATHS.into_iter().zip(before) {
            testkit::wait::until("it is rendered anew", async || {
                fixture.get(path).await;
                (fixture.pages.stats().renders > renders).then_some(())
            })
            .await
            .unwrap();
            let after = fixture.get(path).await;
            assert_eq!(after.body, before.body, "{path}");
            assert_eq!(after.header("etag"), before.header("etag"), "{path}");
            let all = format!("{:?} {}", after.headers, String::from_utf8_lossy(&after.body));
            for secret in ["4815162", "2718281", "1618033", "2096881", "on_hand", "reserved"] {
                assert!(!all.contains(secret), "{path} tells {secret}: {all}");
            }
        }
        testkit::wait::until("all are rendered anew", async || {
            for path in PATHS {
                fixture.get(path).await;
            }
            (fixture.pages.stats().renders >= renders + 5).then_some(())
        })
        .await
        .unwrap();
    }
}

async fn of_market(fixture: &Fixture, path: &str, headers: &[(&str, &str)]) -> Value {
    fixture.get_with(path, headers).await.json()["title"].take()
}

#[tokio::test]
async fn the_market_is_the_urls_and_never_the_visitors() {
    let hosts = vec![Host { name: "US.shop.example".to_owned(), market: "us".parse().unwrap() }];
    let config = Config { pages: PublicReads { hosts, ..quick().pages }, ..quick() };
    let fixture = on_sqlite(config, patient()).await;
    fixture.shelve(&[edit("MUG", "European mug", 1_450)]).await;
    fixture.shelve_in("america", &[edit("MUG", "American mug", 1_700)]).await;
    let path = "/v1/products/MUG";
    assert_eq!(of_market(&fixture, path, &[]).await, "European mug");
    assert_eq!(of_market(&fixture, path, &[("host", "us.SHOP.example:8443")]).await, "American mug");
    assert_eq!(of_market(&fixture, path, &[("host", "shop.example")]).await, "European mug");
    assert_eq!(of_market(&fixture, "/v1/products/MUG?market=us", &[]).await, "American mug");
    assert_eq!(of_market(&fixture, "/v1/products/MUG?market=eu", &[("host", "us.shop.example")]).await, "European mug");
    for header in [
        ("cf-ipcountry", "US"),
        ("x-forwarded-for", "8.8.8.8"),
        ("x-forwarded-host", "us.shop.example"),
        ("accept-language", "en-US"),
        ("cookie", "market=us"),
    ] {
        assert_eq!(of_market(&fixture, path, &[header]).await, "European mug", "{header:?}");
    }
    let unknown = fixture.get("/v1/products/MUG?market=mars").await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["code"]), (400, &json!("invalid_query")));
    assert!(unknown.json()["detail"].as_str().unwrap().contains("eu, us"));
    // Named either way it is one page.
    assert_eq!(fixture.pages.stats().renders, 2);
}

#[tokio::test]
async fn a_shop_with_several_markets_and_none_by_default_has_to_be_told() {
    let config = Config { pages: PublicReads { market: String::new(), ..quick().pages }, ..quick() };
    let fixture = on_sqlite(config, patient()).await;
    fixture.shelve(&[edit("MUG", "European mug", 1_450)]).await;
    let answer = fixture.get("/v1/products/MUG").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (400, &json!("invalid_query")));
    assert_eq!(fixture.get("/v1/products/MUG?market=eu").await.status, 200);
}

#[tokio::test]
async fn what_does_not_matter_in_a_url_makes_no_new_page() {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    for path in [
        "/v1/products?q=blue+mug&collection=mugs",
        "/v1/products?collection=mugs&q=Blue%20%20MUG&utm_source=newsletter",
        "/v1/products?fbclid=1&collection=mugs&q=+blue+mug+&page=",
        "/v1/products?market=eu&collection=mugs&q=blue+mug",
    ] {
        assert_eq!(fixture.get(path).await.json()["items"][0]["sku"], "MUG", "{path}");
    }
    assert_eq!((fixture.pages.stats().renders, fixture.pages.stats().pages), (1, 1));
}

#[tokio::test]
async fn pages_that_are_known_to_be_old_are_rendered_before_anybody_asks() {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    for _ in 0..64 {
        for path in ["/v1/products/MUG", "/products/MUG", "/", "/v1/products?q=mug"] {
            assert_eq!(fixture.get(path).await.status, 200, "{path}");
        }
    }
    let renders = fixture.pages.stats().renders;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_600)]).await;
    fixture.purge("MUG").await;
    let tags = [cache::Tag::product(&fixture.region("main").name, &"MUG".parse().unwrap())];
    let hot = fixture.pages.hot_with(&tags, 10);
    assert_eq!(hot.len(), 2, "{hot:?}");
    fixture.refresh(hot).await;
    let rendered = async || (fixture.pages.stats().renders >= renders + 2).then_some(());
    testkit::wait::until("both are rendered", rendered).await.unwrap();
    assert_eq!(fixture.get("/v1/products/MUG").await.json()["price"]["minor"], 1_600);
}
