//! Pages that are answered without the router: as it answers them, and nothing else.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Uri, header};

use super::fixture::{Fixture, on_sqlite, patient, quick};
use super::shelf::edit;

const PATHS: [(&str, &str); 8] = [
    ("/", "/"),
    ("/collections/mugs", "/collections/{name}"),
    ("/products/MUG", "/products/{sku}"),
    ("/v1/products", "/v1/products"),
    ("/v1/products?q=Blue&collection=mugs&utm_source=x", "/v1/products"),
    ("/v1/products/MUG", "/v1/products/{sku}"),
    ("/v1/products/MUG?market=us", "/v1/products/{sku}"),
    ("/v1/stock/MUG", "/v1/stock/{sku}"),
];

fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
}

/// By the router, which alone knows `HEAD`.
async fn by_the_router(
    fixture: &Fixture,
    path: &str,
    fields: &[(&'static str, &str)],
) -> (u16, BTreeMap<String, String>) {
    let url = format!("{}{path}", fixture.base());
    let answer = fixture.http.send("HEAD".parse().unwrap(), &url, fields, Vec::new()).await.unwrap();
    (answer.status.as_u16(), told(&answer.headers))
}

/// What two answers to one request have in common. The length is the server's to tell.
fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    const OF_ONE: [&str; 5] = ["date", "x-request-id", "age", "content-length", "connection"];
    let told = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    told.filter(|(name, _)| !OF_ONE.contains(&name.as_str())).collect()
}

#[tokio::test]
async fn a_fresh_page_at_hand_is_the_one_that_the_router_answers_with() {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    fixture.shelve_in("america", &[edit("MUG", "Blue mug", 1_700)]).await;
    for (path, route) in PATHS {
        let uri: Uri = path.parse().unwrap();
        assert!((fixture.at_hand)(&uri, &HeaderMap::new()).is_none(), "nobody has read {path} yet");
        let first = fixture.get(path).await;
        for accepted in ["identity", "gzip", "br, gzip"] {
            let fields = [("accept-encoding", accepted)];
            let (named, answer) = (fixture.at_hand)(&uri, &head(&fields)).unwrap();
            let status = answer.status().as_u16();
            assert_eq!(named, route);
            assert_eq!(
                (status, told(answer.headers())),
                by_the_router(&fixture, path, &fields).await,
                "{path} {accepted}"
            );
        }
        let fields = [("if-none-match", first.header("etag"))];
        let (_, answer) = (fixture.at_hand)(&uri, &head(&fields)).unwrap();
        assert_eq!((304, told(answer.headers())), by_the_router(&fixture, path, &fields).await, "{path}");
        assert_eq!(fixture.get(path).await.body, first.body, "{path}");
    }
}

#[tokio::test]
async fn whatever_is_not_plainly_a_fresh_page_is_left_to_the_router() {
    let fixture = on_sqlite(quick(), patient()).await;
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    let none = head(&[]);
    let with_key = head(&[("authorization", "Bearer x")]);
    let at_hand = |path: &str, headers: &HeaderMap| (fixture.at_hand)(&path.parse().unwrap(), headers).is_some();
    for path in ["/v1/products/MUG", "/v1/stock/MUG", "/v1/products/HAT", "/v1/products"] {
        fixture.get(path).await;
    }
    assert!(at_hand("/v1/stock/MUG", &none) && !at_hand("/v1/stock/MUG", &with_key), "exact numbers are for a key");
    assert!(at_hand("/v1/products/MUG", &with_key), "which key is sent decides nothing else");
    for path in [
        "/v1/products/HAT",
        "/v1/products/M%55G",
        "/v1/products/MUG?market=mars",
        "/v1/products/MUG?market=eu&market=us",
        "/v1/products?page=x",
        "/v1/products/MUG/",
        "/v1/products/",
        "/orders/new",
    ] {
        assert!(!at_hand(path, &none), "{path}");
    }
    fixture.purge("MUG").await;
    assert!(!at_hand("/v1/products/MUG", &none), "it was purged");
}
