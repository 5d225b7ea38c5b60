//! The way to an order without JavaScript.

use std::time::Duration;

use super::fixture::{Fixture, both, on_sqlite, patient, quick, without_database};
use super::shelf::edit;
use crate::{Config, Shop};

const HTML: &[(&str, &str)] = &[("accept", "text/html")];

fn selling() -> Config {
    let keys = [("eu".parse().unwrap(), "mp_live_public".to_owned())].into();
    Config { shop: Shop { keys, ..Shop::default() }, ..quick() }
}

async fn page(fixture: &Fixture, path: &str) -> (u16, String) {
    let answer = fixture.get_with(path, HTML).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

#[tokio::test]
async fn each_new_order_gets_a_key_of_its_own_and_its_review_keeps_it() {
    for fixture in both(selling()).await {
        fixture.shelve(&[edit("MUG/1", "Blue <mug>", 1_450)]).await;
        let mut reviews = Vec::new();
        for _ in 0..2 {
            let answer = fixture.get("/order/new?sku=MUG%2F1&quantity=3").await;
            assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (303, "no-store"));
            reviews.push(answer.header("location").to_owned());
        }
        assert_ne!(reviews[0], reviews[1]);
        let key = reviews[0].strip_prefix("/order/review?sku=MUG%2F1&quantity=3&key=").unwrap();
        assert_eq!(key.len(), 32, "{key}");

        let answer = fixture.get_with(&reviews[0], HTML).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
        // A stricter one would make the form's origin null, which no key allows.
        assert_eq!(answer.header("referrer-policy"), "strict-origin");
        assert!(answer.header("content-security-policy").contains("form-action 'self';"));
        let html = String::from_utf8(answer.body.to_vec()).unwrap();
        for field in [
            "action=\"/v1/orders\"",
            "name=\"api_key\" value=\"mp_live_public\"",
            &format!("name=\"idempotency_key\" value=\"{key}\""),
            "name=\"sku\" value=\"MUG/1\"",
            "name=\"quantity\" value=\"3\"",
            "name=\"unit_price_minor\" value=\"1450\"",
            "name=\"currency\" value=\"EUR\"",
            "Blue &#60;mug&#62;",
            "€43.50",
        ] {
            assert!(html.contains(field), "{field} in {html}");
        }
        let (_, again) = page(&fixture, &format!("{}&busy=7", reviews[0])).await;
        assert!(again.contains("in about 7 s") && again.contains(key), "{again}");
        let (_, used) = page(&fixture, &format!("{}&used=1", reviews[0])).await;
        assert!(used.contains("href=\"/order/new?sku=MUG%2F1&#38;quantity=3\""), "{used}");
    }
}

#[tokio::test]
async fn what_can_not_be_ordered_is_told_as_a_page() {
    let fixture = on_sqlite(selling(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    for (path, status) in [
        ("/order/new", 400),
        ("/order/new?sku=MUG&quantity=0", 400),
        ("/order/new?sku=MUG&quantity=many", 400),
        ("/order/new?sku=MUG&sku=CUP", 400),
        ("/order/review?sku=MUG", 400),
        ("/order/review?sku=CUP&key=k", 404),
        ("/order/new?sku=MUG&market=mars", 400),
    ] {
        let (found, html) = page(&fixture, path).await;
        assert!(found == status && html.starts_with("<!doctype html>"), "{path}: {found} {html}");
    }
    fixture.leave("MUG", 0).await;
    let (status, html) = page(&fixture, "/order/review?sku=MUG&key=k").await;
    assert!(status == 200 && !html.contains("<form") && html.contains("can't be ordered now"), "{html}");
}

#[tokio::test]
async fn a_database_that_is_away_is_told_and_a_key_is_made_all_the_same() {
    let fixture = without_database(selling()).await;
    assert_eq!(fixture.get("/order/new?sku=MUG").await.status, 303);
    let asked = tokio::time::timeout(Duration::from_secs(20), page(&fixture, "/order/review?sku=MUG&key=k"));
    let (status, html) = asked.await.unwrap();
    assert!(status == 503 && html.contains("ask again"), "{status} {html}");
}
