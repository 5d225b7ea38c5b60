//! Pages for people, over HTTP. What stands in them is the business of `shop/tests.rs`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use service::{Problem, kinds};
use testkit::http::Response;

use super::fixture::{Fixture, both, on_sqlite, patient, quick, without_database};
use super::shelf::edit;
use crate::Config;
use crate::shop::assets;

const HTML: &str = "text/html; charset=utf-8";

fn text(answer: &Response) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

async fn shop() -> Fixture {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450), edit("CUP/1", "Red cup", 950)]).await;
    fixture
}

#[tokio::test]
async fn the_shop_is_shown_and_each_of_its_pages_is_rendered_once() {
    for fixture in both(quick()).await {
        fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
        for (path, tags) in [
            ("/", "catalogue:main stock:main:MUG millpond"),
            ("/collections/mugs", "collection:main:mugs stock:main:MUG millpond"),
            ("/products/MUG", "product:main:MUG stock:main:MUG millpond"),
        ] {
            for _ in 0..2 {
                let page = fixture.get_with(path, &[("accept-encoding", "br")]).await;
                assert_eq!((page.status.as_u16(), page.header("content-type")), (200, HTML), "{path}");
                assert_eq!((page.header("content-encoding"), page.header("vary")), ("br", "accept-encoding"));
                assert_eq!(page.header("surrogate-key"), tags);
                assert!(page.header("cache-control").contains("s-maxage=60"));
                assert!(page.header("content-security-policy").contains("default-src 'none'"));
                assert_eq!(page.header("x-content-type-options"), "nosniff");
                assert_eq!((page.header("access-control-allow-origin"), page.header("set-cookie")), ("", ""));
            }
            let page = fixture.get(path).await;
            assert!(text(&page).contains("Blue mug"), "{path}");
            let held = fixture.get_with(path, &[("if-none-match", page.header("etag"))]).await;
            assert_eq!((held.status.as_u16(), held.body.len()), (304, 0));
            // What a browser asks for, too: a path has one form.
            let browser = fixture.get_with(path, &[("accept", "application/json")]).await;
            assert_eq!(browser.header("content-type"), HTML);
        }
        assert_eq!(fixture.pages.stats().renders, 3);
    }
}

#[tokio::test]
async fn a_change_is_shown_to_people_once_it_is_purged() {
    let fixture = shop().await;
    for path in ["/", "/collections/mugs", "/products/MUG"] {
        assert!(text(&fixture.get(path).await).contains("14.50"), "{path}");
    }
    fixture.shelve(&[edit("MUG", "Blue mug", 1_600)]).await;
    fixture.purge("MUG").await;
    for path in ["/", "/collections/mugs", "/products/MUG"] {
        fixture.until(path, |page| text(page).contains("16.00") && !text(page).contains("14.50")).await;
    }
    // Few are left: told as a band.
    fixture.leave("MUG", 0).await;
    fixture.purge("MUG").await;
    fixture.until("/v1/products/MUG", |answer| answer.json()["availability"] == "out").await;
}

#[tokio::test]
async fn what_is_not_there_is_a_page_for_people_and_a_problem_for_programs() {
    let fixture = shop().await;
    let missing =
        ["/products/NONE", "/collections/hats", "/collections/No%20Such", "/products/two%20words", "/assets/x.css"];
    for path in missing {
        let page = fixture.get(path).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (404, HTML), "{path}");
        assert!(text(&page).contains("</html>") && page.header("vary").contains("accept"));
        let problem = fixture.get_with(path, &[("accept", "application/json")]).await;
        assert_eq!((problem.status.as_u16(), problem.header("content-type")), (404, "application/problem+json"));
    }
    assert_eq!(fixture.get("/collections/hats").await.header("surrogate-key"), "collection:main:hats millpond");
    // Nobody's path: programs get what they always got.
    for (accept, kind) in [("*/*", "application/problem+json"), ("text/html,*/*;q=0.8", HTML)] {
        let answer = fixture.get_with("/no/such/path", &[("accept", accept)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, kind));
    }
    let wrong = fixture.get("/collections/mugs?page=2").await;
    assert_eq!((wrong.status.as_u16(), wrong.header("content-type")), (400, HTML));
    let other = fixture.http.send("POST".parse().unwrap(), &format!("{}/", fixture.base()), &[], "").await.unwrap();
    assert_eq!((other.status.as_u16(), other.header("allow")), (405, "GET,HEAD"));
}

#[tokio::test]
async fn an_orders_page_is_for_whoever_holds_its_url_and_kept_by_nobody() {
    for fixture in both(quick()).await {
        fixture.commit("a", "confirmed", None).await;
        let path = fixture.path("a", "body", "").replacen("/v1", "", 1);
        let page = fixture.get(&path).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, HTML));
        assert_eq!((page.header("cache-control"), page.header("referrer-policy")), ("no-store", "no-referrer"));
        assert!(page.header("content-security-policy").contains("connect-src 'self'"));
        assert!(text(&page).contains("data-state=\"confirmed\""));
        let queued = fixture.path("b", "body", "").replacen("/v1", "", 1);
        assert!(text(&fixture.get(&format!("{queued}&w=40")).await).contains("data-mp-wait=\"40\""));
        let (without, _) = path.split_once("?t=").unwrap();
        for forged in [without.to_owned(), format!("{without}?t=x"), "/orders/17?t=x".to_owned()] {
            let answer = fixture.get(&forged).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (403, HTML), "{forged}");
            assert_eq!((answer.header("cache-control"), answer.header("referrer-policy")), ("no-store", "no-referrer"));
        }
        assert_eq!(fixture.pages.stats().renders, 0);
    }
}

#[tokio::test]
async fn without_a_database_an_accepted_order_has_its_page_and_a_cold_page_says_when_to_come_back() {
    let fixture = without_database(Config { lookup_timeout_ms: 200, ..quick() }).await;
    let path = fixture.path("a", "body", "").replacen("/v1", "", 1);
    assert_eq!(fixture.get(&path).await.status, 200);
    let page = fixture.get("/products/MUG").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (503, HTML));
    assert!(page.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(page.header("cache-control"), "no-store");
}

#[tokio::test]
async fn files_are_kept_for_ever_under_the_name_of_their_content_and_briefly_under_another() {
    let fixture = shop().await;
    let url = assets::url("shop.css");
    let asset = assets::find(url).unwrap();
    let mut etags = Vec::new();
    for (encoding, body) in [("br", asset.brotli), ("gzip", asset.gzip), ("identity", asset.body)] {
        let answer = fixture.get_with(url, &[("accept-encoding", encoding)]).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_ref()), (200, body));
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("content-encoding"), if encoding == "identity" { "" } else { encoding });
        assert_eq!((answer.header("content-type"), answer.header("vary")), (asset.content_type, "accept-encoding"));
        let etag = answer.header("etag").to_owned();
        let held = fixture.get_with(url, &[("accept-encoding", encoding), ("if-none-match", &etag)]).await;
        assert_eq!((held.status.as_u16(), held.body.len()), (304, 0));
        etags.push(etag);
    }
    etags.dedup();
    assert_eq!(etags.len(), 3);
    let other = fixture.get("/assets/shop-0123456789abcdef.css").await;
    assert_eq!((other.status.as_u16(), other.body.as_ref()), (200, asset.body));
    assert_eq!(other.header("cache-control"), "public, max-age=60");
    assert_eq!(fixture.get("/assets/other-0123456789abcdef.css").await.status, 404);
}

#[tokio::test]
async fn a_fault_of_the_server_is_a_page_for_a_browser_and_a_problem_for_everybody_else() {
    let fixture = shop().await;
    for (accept, form) in [
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), HTML),
        (Some("*/*"), "application/problem+json"),
        (Some("application/json"), "application/problem+json"),
        (None, "application/problem+json"),
    ] {
        let headers: HeaderMap =
            accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept))).into_iter().collect();
        let answer = (fixture.problems)(Problem::new(kinds::TIMEOUT, "it took too long").retry_after(1), &headers);
        let said = |name: HeaderName| answer.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!((answer.status().as_u16(), said(header::CONTENT_TYPE)), (503, form), "{accept:?}");
        assert_eq!((said(header::VARY), said(header::CACHE_CONTROL)), ("accept", "no-store"));
        assert!(said(header::RETRY_AFTER).parse::<u32>().unwrap() >= 1);
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
