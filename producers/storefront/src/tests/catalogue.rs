//! Products, edited by the shop's own servers.

use serde_json::{Value, json};
use store::Reads;
use store::catalogue::{self, Product};
use testkit::http::Response;

use super::fixture::{Fixture, both, quick, without_database};
use crate::{Catalogue, Config};

impl Fixture {
    async fn edit(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<String>) -> Response {
        self.edit_by(&self.api_keys.catalogue, (method, path), headers, body).await
    }

    async fn edit_by(
        &self,
        key: &str,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Response {
        let authorization = format!("Bearer {key}");
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend(headers);
        self.http.send(method.parse().unwrap(), &format!("{}{path}", self.base()), &all, body.into()).await.unwrap()
    }

    async fn put(&self, sku: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
        self.edit("PUT", &format!("/v1/products/{sku}"), headers, body.to_string()).await
    }

    async fn patch(&self, sku: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
        self.edit("PATCH", &format!("/v1/products/{sku}"), headers, body.to_string()).await
    }

    async fn delete(&self, sku: &str, headers: &[(&str, &str)]) -> Response {
        self.edit("DELETE", &format!("/v1/products/{sku}"), headers, "").await
    }

    async fn import(&self, key: &str, media_type: &str, body: &str) -> Response {
        let headers = [("idempotency-key", key), ("content-type", media_type)];
        self.edit_by(&self.api_keys.goods, ("POST", "/v1/products:import?currency=EUR"), &headers, body).await
    }

    async fn product(&self, sku: &str) -> Option<Product> {
        let region = self.region("main");
        let reader = region.reader_at(Reads::Listing, None);
        catalogue::product(&reader, region.number, &sku.parse().unwrap()).await.unwrap()
    }
}

fn mug() -> Value {
    json!({"title": "A mug", "price": {"minor": 1450, "currency": "EUR"}, "collections": ["kitchen"]})
}

fn refusal(response: &Response) -> (u16, String) {
    assert_eq!(response.header("content-type"), "application/problem+json");
    (response.status.as_u16(), response.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn a_product_is_put_patched_and_withdrawn_and_each_answer_names_its_version() {
    for fixture in both(quick()).await {
        let created = fixture.put("MUG", &mug(), &[]).await;
        assert_eq!((created.status.as_u16(), created.header("etag")), (201, "\"1\""));
        assert_eq!(created.header("cache-control"), "no-store");
        let expected = json!({
            "sku": "MUG", "version": 1, "title": "A mug", "description": "", "image": null,
            "collections": ["kitchen"], "price": {"minor": 1450, "currency": "EUR"},
        });
        assert_eq!(created.json(), expected);
        let again = fixture.put("MUG", &mug(), &[]).await;
        assert_eq!((again.status.as_u16(), again.header("etag")), (200, "\"1\""));

        let patch = json!({"price": {"minor": 1300}, "image": "/mug.jpg", "description": "Stoneware"});
        let patched = fixture.patch("MUG", &patch, &[("content-type", "application/merge-patch+json")]).await;
        assert_eq!((patched.status.as_u16(), patched.header("etag")), (200, "\"2\""));
        assert_eq!(patched.json()["price"], json!({"minor": 1300, "currency": "EUR"}));
        let patched = fixture.patch("MUG", &json!({"image": null, "collections": null}), &[]).await;
        assert_eq!((&patched.json()["image"], &patched.json()["collections"]), (&json!(null), &json!([])));
        let stored = fixture.product("MUG").await.unwrap();
        assert_eq!((stored.version, stored.description.as_str(), stored.price.minor), (3, "Stoneware", 1_300));

        assert_eq!(fixture.delete("MUG", &[]).await.status, 204);
        assert_eq!(fixture.delete("MUG", &[]).await.status, 204, "a repeat");
        assert_eq!(fixture.product("MUG").await, None);
        assert_eq!(refusal(&fixture.delete("PEN", &[]).await), refused(404, "unknown_product"));
        assert_eq!(refusal(&fixture.patch("MUG", &json!({}), &[]).await), refused(404, "unknown_product"));
        let back = fixture.put("MUG", &mug(), &[]).await;
        assert_eq!((back.status.as_u16(), back.header("etag")), (201, "\"5\""), "versions go on");
        // A SKU may hold what a path separates.
        assert_eq!(fixture.put("MUG%2FBLUE", &mug(), &[]).await.json()["sku"], "MUG/BLUE");
    }
}

#[tokio::test]
async fn an_edit_of_an_old_version_is_412_and_names_the_current_one() {
    for fixture in both(quick()).await {
        let none = fixture.put("MUG", &mug(), &[("if-match", "*")]).await;
        assert_eq!(refusal(&none), refused(412, "precondition_failed"));
        assert_eq!(fixture.put("MUG", &mug(), &[("if-none-match", "*")]).await.status, 201);
        let twice = fixture.put("MUG", &mug(), &[("if-none-match", "*")]).await;
        assert_eq!((refusal(&twice), twice.header("etag")), (refused(412, "precondition_failed"), "\"1\""));

        let cheaper = json!({"price": {"minor": 900}});
        let edited = fixture.patch("MUG", &cheaper, &[("if-match", "\"1\"")]).await;
        assert_eq!((edited.status.as_u16(), edited.header("etag")), (200, "\"2\""));
        let sent_again = fixture.patch("MUG", &cheaper, &[("if-match", "\"1\"")]).await;
        assert_eq!((sent_again.status.as_u16(), sent_again.header("etag")), (200, "\"2\""));
        for lost in [
            fixture.patch("MUG", &json!({"price": {"minor": 800}}), &[("if-match", "\"1\"")]).await,
            fixture.put("MUG", &mug(), &[("if-match", "\"1\", \"7\"")]).await,
            fixture.delete("MUG", &[("if-match", "\"1\"")]).await,
            fixture.delete("MUG", &[("if-match", "\"the tag of a page\"")]).await,
        ] {
            assert_eq!((refusal(&lost), lost.header("etag")), (refused(412, "precondition_failed"), "\"2\""));
            assert!(lost.json()["detail"].as_str().unwrap().contains("version 2"), "{}", lost.json());
        }
        let unreadable = fixture.delete("MUG", &[("if-match", "1")]).await;
        assert_eq!(refusal(&unreadable), refused(400, "invalid_condition"));
        assert_eq!(fixture.delete("MUG", &[("if-match", "\"2\"")]).await.status, 204);
        assert_eq!(fixture.delete("MUG", &[("if-match", "\"2\"")]).await.status, 204, "sent again");
    }
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let [fixture, _] = both(quick()).await;
    for (body, wrong) in [
        (json!({}), vec!["/title", "/price"]),
        (
            json!({
                "sku": "PEN", "title": "", "price": {"minor": -1, "currency": "EURO", "x": 1}, "image": "javascript:x",
                "collections": ["A B"], "description": 5, "colour": "red",
            }),
            vec![
                "/sku",
                "/title",
                "/description",
                "/image",
                "/collections",
                "/price/minor",
                "/price/currency",
                "/price/x",
                "/colour",
            ],
        ),
        (json!({"title": "x", "price": 5}), vec!["/price"]),
        (json!([]), vec![""]),
    ] {
        let answer = fixture.put("MUG", &body, &[]).await;
        assert_eq!(refusal(&answer), refused(400, "invalid_product"));
        let errors = answer.json()["errors"].clone();
        let named: Vec<&str> =
            errors.as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(named, wrong, "{body}");
    }
    assert_eq!(fixture.put("MUG", &mug(), &[]).await.status, 201);
    let answer = fixture.patch("MUG", &json!({"title": null, "price": null, "version": 3}), &[]).await;
    assert_eq!(refusal(&answer), refused(400, "invalid_product"));
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 3);
    let other = fixture.patch("MUG", &json!([]), &[("content-type", "application/json-patch+json")]).await;
    assert_eq!(refusal(&other), refused(415, "unsupported_media_type"));
    assert_eq!(refusal(&fixture.put("two%20words", &mug(), &[]).await), refused(400, "invalid_product"));
    assert_eq!(refusal(&fixture.edit("PUT", "/v1/products/MUG", &[], "{").await), refused(400, "not_json"));
    let large = json!({"title": "x".repeat(200_000)});
    assert_eq!(refusal(&fixture.put("MUG", &large, &[]).await), refused(413, "too_large"));
    assert_eq!(fixture.product("MUG").await.unwrap().version, 1);
}

#[tokio::test]
async fn only_a_server_key_with_the_scope_may_edit() {
    let [fixture, _] = both(quick()).await;
    let url = |path: &str| format!("{}{path}", fixture.base());
    let keys = &fixture.api_keys;
    for (key, status) in [(&keys.server, 403), (&keys.orders_only, 403), (&keys.browser, 403), (&"x".to_owned(), 401)] {
        let authorization = format!("Bearer {key}");
        let headers =
            [("authorization", authorization.as_str()), ("idempotency-key", "k"), ("content-type", "text/csv")];
        for (method, path) in [
            ("PUT", "/v1/products/MUG"),
            ("PATCH", "/v1/products/MUG"),
            ("DELETE", "/v1/products/MUG"),
            ("POST", "/v1/products:import"),
        ] {
            let answer =
                fixture.http.send(method.parse().unwrap(), &url(path), &headers, mug().to_string()).await.unwrap();
            assert_eq!(answer.status.as_u16(), status, "{method} {}", answer.json());
        }
    }
    assert_eq!(fixture.product("MUG").await, None);
}

#[tokio::test]
async fn an_import_is_made_once_whole_in_either_format() {
    for fixture in both(quick()).await {
        let lines = "sku,title,price,on_hand,collections\nMUG,A mug,12.50,5,kitchen\nPEN,A pen,1,,\n";
        let first = fixture.import("k-1", "text/csv; charset=utf-8", lines).await;
        assert_eq!(first.status, 200, "{}", first.json());
        assert_eq!(first.json(), json!({"created": 2, "changed": 0, "unchanged": 0, "shortfalls": []}));
        assert_eq!(first.header("idempotency-replayed"), "");
        fixture.put("MUG", &mug(), &[]).await;
        let repeat = fixture.import("k-1", "text/csv", lines).await;
        assert_eq!((repeat.json(), repeat.header("idempotency-replayed")), (first.json(), "true"));
        assert_eq!(fixture.product("MUG").await.unwrap().price.minor, 1_450, "the repeat did nothing");
        let other = fixture.import("k-1", "text/csv", &lines.replace("12.50", "13")).await;
        assert_eq!(refusal(&other), refused(422, "idempotency_conflict"));

        fixture.execute("UPDATE stock SET reserved = 4", []).await;
        let objects = "{\"sku\": \"MUG\", \"title\": \"A mug\", \"price\": {\"minor\": 1500, \"currency\": \"EUR\"}, \
                       \"on_hand\": 1}\n{\"sku\": \"CUP\", \"title\": \"A cup\", \"price\": {\"minor\": 900, \"currency\": \
                       \"EUR\"}}\n";
        let second = fixture.import("k-2", "application/x-ndjson", objects).await;
        let shortfalls = json!([{"sku": "MUG", "missing": 3}]);
        assert_eq!(second.json(), json!({"created": 1, "changed": 1, "unchanged": 0, "shortfalls": shortfalls}));
        assert_eq!(fixture.product("MUG").await.unwrap().price.minor, 1_500);
    }
}

#[tokio::test]
async fn an_import_counts_stock_only_with_a_key_for_stock() {
    for fixture in both(quick()).await {
        let import = async |key: &str, body: &str| {
            let headers = [("idempotency-key", key), ("content-type", "text/csv")];
            fixture.edit("POST", "/v1/products:import?currency=EUR", &headers, body).await
        };
        let counted = import("k-1", "sku,title,price,on_hand\nMUG,A mug,12.50,5\nPEN,A pen,1,\n").await;
        assert_eq!(refusal(&counted), refused(403, "forbidden"));
        assert!(fixture.product("PEN").await.is_none(), "all of it, or nothing");
        assert_eq!(import("k-1", "sku,title,price\nMUG,A mug,12.50\n").await.status, 200);
    }
}

#[tokio::test]
async fn an_import_with_a_bad_line_changes_nothing_and_names_it() {
    let config = Config {
        catalogue: Catalogue { body_bytes: 100, import_products: 3, import_body_bytes: 500, ..Catalogue::default() },
        ..quick()
    };
    let [fixture, _] = both(config).await;
    let lines = "sku,title,price,on_hand\nMUG,A mug,12.50,5\nPEN,,free,-1\nMUG,A mug,1,1\n";
    let bad = fixture.import("k", "text/csv", lines).await;
    assert_eq!(refusal(&bad), refused(400, "invalid_import"));
    let errors = bad.json()["errors"].clone();
    let named: Vec<&str> = errors.as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(named, ["/3/title", "/3/price", "/3/on_hand", "/4/sku"]);
    assert_eq!(fixture.product("MUG").await, None);
    let mended = fixture.import("k", "text/csv", "sku,title,price\nMUG,A mug,12.50\n").await;
    assert_eq!(mended.status, 200, "a file that was refused does not use the key up: {}", mended.json());

    let many = "sku,title,price\nA,a,1\nB,b,1\nC,c,1\nD,d,1\n";
    assert_eq!(refusal(&fixture.import("k-2", "text/csv", many).await), refused(400, "invalid_import"));
    let long = format!("{{\"sku\": \"A\", \"title\": \"{}\"}}\n", "a".repeat(100));
    let long = fixture.import("k-2", "application/x-ndjson", &long).await;
    assert_eq!(refusal(&long), refused(400, "invalid_import"));
    assert!(long.json()["detail"].as_str().unwrap().ends_with("a line has at most 100"), "{}", long.json());
    let large = format!("sku,title,price\nA,{},1\n", "a".repeat(600));
    assert_eq!(refusal(&fixture.import("k-3", "text/csv", &large).await), refused(413, "too_large"));
    let other = fixture.import("k-4", "application/xml", many).await;
    assert_eq!(refusal(&other), refused(415, "unsupported_media_type"));
    let keyless = fixture.edit("POST", "/v1/products:import", &[("content-type", "text/csv")], many).await;
    assert_eq!(refusal(&keyless), refused(400, "idempotency_key_required"));
    assert_eq!(fixture.product("A").await, None);
}

#[tokio::test]
async fn without_its_database_or_a_place_an_edit_is_503_and_safe_to_send_again() {
    let away = without_database(quick()).await;
    for answer in [
        away.put("MUG", &mug(), &[]).await,
        away.delete("MUG", &[]).await,
        away.import("k", "text/csv", "sku,title,price\nA,a,1\n").await,
    ] {
        assert_eq!(refusal(&answer), refused(503, "database_unavailable"));
        assert!(answer.json()["detail"].as_str().unwrap().contains("send it again"), "{}", answer.json());
    }
    let full = Catalogue { max_in_flight: 0, imports_in_flight: 0, ..Catalogue::default() };
    let [full, _] = both(Config { catalogue: full, ..quick() }).await;
    let busy = refused(503, "temporary_reduced_capacity");
    assert_eq!(refusal(&full.put("MUG", &mug(), &[]).await), busy);
    assert_eq!(refusal(&full.import("k", "text/csv", "sku,title,price\nA,a,1\n").await), busy);
}
