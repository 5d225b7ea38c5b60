//! RFC 9110 and RFC 9111, one by one.

use cache::PagesConfig;
use testkit::http::Response;

use super::fixture::{Fixture, on_sqlite, patient, quick};
use super::shelf::edit;

const PATH: &str = "/v1/products/MUG";

async fn fixture() -> Fixture {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    fixture
}

impl Fixture {
    async fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let url = format!("{}{path}", self.base());
        self.http.send(method.parse().unwrap(), &url, headers, Vec::new()).await.unwrap()
    }

    async fn etag(&self, accept_encoding: &str) -> String {
        self.get_with(PATH, &[("accept-encoding", accept_encoding)]).await.header("etag").to_owned()
    }
}

/// Of an answer to a condition that holds: no content, and what a cache needs to go on with what it has.
fn assert_not_modified(answer: &Response, etag: &str) {
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), etag);
    assert!(answer.header("cache-control").contains("s-maxage=60"));
    assert_eq!(answer.header("vary"), "accept-encoding");
    assert!(!answer.header("date").is_empty());
    assert_eq!(answer.header("surrogate-key"), "product:main:MUG stock:main:MUG millpond");
    for absent in ["content-type", "content-encoding", "transfer-encoding"] {
        assert_eq!(answer.header(absent), "", "{absent}");
    }
    assert_ne!(answer.header("content-length"), "0", "that would speak of another body (RFC 9110, section 8.6)");
}

/// RFC 9110, sections 8.4, 8.8.3.3 and 12.5.3.
#[tokio::test]
async fn each_encoding_has_its_own_strong_validator_and_is_what_the_client_takes() {
    let fixture = fixture().await;
    let mut etags = Vec::new();
    for (accepted, encoding) in [
        ("gzip, deflate, br", "br"),
        ("br;q=0.1, gzip;q=0.9", "br"),
        ("gzip", "gzip"),
        ("gzip;q=1, br;q=0", "gzip"),
        ("*;q=0.5, br;q=0", "gzip"),
        ("identity", ""),
        ("gzip;q=0, br;q=0.000", ""),
        ("deflate", ""),
    ] {
        let answer = fixture.get_with(PATH, &[("accept-encoding", accepted)]).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{accepted}");
        assert_eq!(answer.header("vary"), "accept-encoding", "{accepted}");
        let etag = answer.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2, "{etag} is strong");
        etags.push((encoding, etag, answer.body.len()));
    }
    etags.sort();
    etags.dedup();
    assert_eq!(etags.iter().map(|(encoding, ..)| *encoding).collect::<Vec<_>>(), ["", "br", "gzip"]);
    assert!(etags[1].2 < etags[2].2 && etags[2].2 < etags[0].2, "{etags:?}");
    let mut distinct: Vec<_> = etags.iter().map(|(_, etag, _)| etag).collect();
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
    assert_eq!(fixture.get(PATH).await.header("content-encoding"), "", "nothing was asked for");
    assert_eq!(fixture.pages.stats().renders, 1);
}

/// RFC 9110, section 13.1.2: a list, compared weakly; `*`; several fields are one list.
#[tokio::test]
async fn a_client_that_has_it_already_is_told_so() {
    let fixture = fixture().await;
    let etag = fixture.etag("identity").await;
    for held in [etag.clone(), format!("W/{etag}"), format!("\"x\", W/\"y\" ,{etag}"), "*".to_owned()] {
        let answer = fixture.get_with(PATH, &[("if-none-match", &held)]).await;
        assert_not_modified(&answer, &etag);
    }
    let fields = [("if-none-match", "\"x\""), ("if-none-match", etag.as_str()), ("if-none-match", "\"y\"")];
    assert_not_modified(&fixture.get_with(PATH, &fields).await, &etag);
    for other in ["\"x\"", "", "W/\"x\", \"y\"", etag.trim_matches('"')] {
        let answer = fixture.get_with(PATH, &[("if-none-match", other)]).await;
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, etag.as_str()), "{other}");
    }
}

/// RFC 9110, section 8.8.3.3: what is held in one encoding says nothing of another.
#[tokio::test]
async fn a_validator_holds_for_its_own_encoding_alone() {
    let fixture = fixture().await;
    for encoding in ["br", "gzip", "identity"] {
        let etag = fixture.etag(encoding).await;
        for asked in ["br", "gzip", "identity"] {
            let headers = [("accept-encoding", asked), ("if-none-match", etag.as_str())];
            let answer = fixture.get_with(PATH, &headers).await;
            if asked == encoding {
                assert_not_modified(&answer, &etag);
            } else {
                assert_eq!(answer.status, 200, "{encoding} held, {asked} asked");
            }
        }
    }
}

/// RFC 9110, section 9.3.2: the headers of the GET, no content.
#[tokio::test]
async fn head_is_get_without_a_body() {
    let fixture = fixture().await;
    for path in [PATH, "/v1/products", "/v1/stock/MUG", "/v1/products/NONE", "/v1/products?page=wrong"] {
        for encoding in ["br", "identity"] {
            let headers = [("accept-encoding", encoding)];
            let (get, head) = (fixture.get_with(path, &headers).await, fixture.ask_as("HEAD", path, &headers).await);
            assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
            for name in ["etag", "vary", "cache-control", "content-type", "content-encoding", "surrogate-key", "link"] {
                assert_eq!(head.header(name), get.header(name), "{path}: {name}");
            }
        }
    }
    let etag = fixture.etag("gzip").await;
    let headers = [("accept-encoding", "gzip"), ("if-none-match", etag.as_str())];
    assert_not_modified(&fixture.ask_as("HEAD", PATH, &headers).await, &etag);
}

/// RFC 9111, section 5.1: time since the render, so that a shared cache does not begin to count anew.
#[tokio::test]
async fn age_counts_from_the_render() {
    let fixture = fixture().await;
    let fresh = fixture.get(PATH).await;
    assert_eq!(fresh.header("age"), "");
    let aged = fixture.until(PATH, |answer| !answer.header("age").is_empty()).await;
    assert!(aged.header("age").parse::<u32>().unwrap() >= 1);
    let etag = fresh.header("etag").to_owned();
    let revalidated = fixture.get_with(PATH, &[("if-none-match", &etag)]).await;
    assert!(!revalidated.header("age").is_empty());
    assert_eq!(fixture.pages.stats().renders, 1);
}

/// RFC 9111, section 5.2.2, and RFC 5861.
#[tokio::test]
async fn caches_are_told_how_long_and_what_it_is_purged_by() {
    let fixture = fixture().await;
    let page = "public, max-age=0, s-maxage=60, stale-while-revalidate=10, stale-if-error=60";
    for (path, tags) in [
        (PATH, "product:main:MUG stock:main:MUG millpond"),
        ("/v1/stock/MUG", "stock:main:MUG product:main:MUG millpond"),
        ("/v1/products", "catalogue:main stock:main:MUG millpond"),
        ("/v1/products?q=mug", "catalogue:main stock:main:MUG millpond"),
        ("/v1/products?collection=mugs", "collection:main:mugs stock:main:MUG millpond"),
    ] {
        let answer = fixture.get(path).await;
        assert_eq!(answer.header("cache-control"), page, "{path}");
        assert_eq!(answer.header("surrogate-key"), tags, "{path}");
        assert_eq!(answer.header("cache-tag"), tags.replace(' ', ","), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
    }
}

/// What could not be purged is not to be kept.
#[tokio::test]
async fn a_page_with_more_tags_than_a_cdn_takes_is_kept_by_none() {
    let mut config = quick();
    config.pages.max_tag_bytes = 50;
    let fixture = on_sqlite(config, patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450), edit("CUP", "Blue cup", 950)]).await;
    let list = fixture.get("/v1/products").await;
    assert_eq!((list.header("cache-control"), list.header("surrogate-key")), ("no-cache", ""));
    assert_eq!(list.header("cache-tag"), "");
    assert_ne!(fixture.get(PATH).await.header("surrogate-key"), "");
}

/// Kept, for a shorter time, and purged by the product's coming.
#[tokio::test]
async fn what_is_not_there_is_kept_briefly_and_told_in_the_form_that_is_asked_for() {
    let fixture = fixture().await;
    for _ in 0..2 {
        let answer = fixture.get("/v1/products/NONE").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, "application/problem+json"));
        assert_eq!(answer.json()["code"], "not_found");
        let kept = "public, max-age=0, s-maxage=10, stale-while-revalidate=10, stale-if-error=60";
        assert_eq!(answer.header("cache-control"), kept);
        assert_eq!(answer.header("surrogate-key"), "product:main:NONE stock:main:NONE millpond");
        assert_eq!((answer.header("vary"), answer.header("etag")), ("accept", ""));
    }
    let page = fixture.get_with("/v1/products/NONE", &[("accept", "text/html, */*;q=0.8")]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (404, "text/html; charset=utf-8"));
    assert_eq!(
        (page.header("vary"), page.header("surrogate-key")),
        ("accept", "product:main:NONE stock:main:NONE millpond")
    );
    assert!(page.body.starts_with(b"<!doctype html>"));
    // RFC 9110, section 13.2.1: a condition is for what would be a success.
    assert_eq!(fixture.get_with("/v1/products/NONE", &[("if-none-match", "*")]).await.status, 404);
    assert_eq!(fixture.pages.stats().renders, 1);
    for never in ["/v1/products/two%20words", "/v1/products/%FF", &format!("/v1/products/{}", "x".repeat(65))] {
        let answer = fixture.get(never).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (404, "no-store"), "{never}");
    }
    assert_eq!(fixture.pages.stats().renders, 1, "what no product can be called is looked for by nobody");
}

/// RFC 9110, section 15.5.6.
#[tokio::test]
async fn a_method_that_a_path_does_not_take_is_405_with_those_that_it_takes() {
    let fixture = fixture().await;
    for (method, path) in [("DELETE", "/v1/products"), ("TRACE", "/v1/products"), ("TRACE", PATH)] {
        let answer = fixture.ask_as(method, path, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (405, "application/problem+json"));
        assert!(answer.header("allow").contains("GET,HEAD"), "{}", answer.header("allow"));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let page = fixture.ask_as("TRACE", "/v1/products", &[("accept", "text/html")]).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (405, "text/html; charset=utf-8"));
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said_and_kept_by_nobody() {
    let fixture = fixture().await;
    for (query, said) in [
        ("page=2", "begin without it"),
        ("collection=Two%20words", "collection"),
        ("q=a&q=b", "q comes twice"),
        ("q=%00", "control character"),
        (&format!("q={}", "x".repeat(200)), "at most 128"),
        (&format!("x={}", "y".repeat(2_000)), "at most 1024"),
    ] {
        let answer = fixture.get(&format!("/v1/products?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (400, "no-store"), "{query}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_query");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    assert_eq!(fixture.pages.stats().pages, 0);
}

#[tokio::test]
async fn no_cookie_and_no_range_makes_another_answer() {
    let fixture = fixture().await;
    let plain = fixture.get(PATH).await;
    for header in [("cookie", "session=1; cart=MUG"), ("range", "bytes=0-9"), ("if-range", "\"x\"")] {
        let answer = fixture.get_with(PATH, &[header]).await;
        assert_eq!((answer.status, &answer.body), (plain.status, &plain.body), "{header:?}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.header("set-cookie"), "");
    }
}

/// A CDN is purged when everybody is told, and asks at once: what it gets within the grace is not the change yet.
#[tokio::test]
async fn a_page_from_before_a_purge_is_told_to_no_cache_as_fresh() {
    let fixture = on_sqlite(quick(), PagesConfig { grace_ms: 60_000, ..patient() }).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    assert!(fixture.get(PATH).await.header("cache-control").contains("s-maxage=60"));
    fixture.purge("MUG").await;
    let before = fixture.get(PATH).await;
    assert_eq!(before.header("cache-control"), "public, max-age=0, s-maxage=0, stale-if-error=60");
    let after = fixture.until(PATH, |answer| answer.header("cache-control").contains("s-maxage=60")).await;
    assert_eq!((after.body, fixture.pages.stats().renders), (before.body, 2));
}
