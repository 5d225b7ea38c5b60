//! Requests as bytes, formatted without an allocation of their own.

use std::io::Write as _;

use serde_json::json;

use crate::mix::{Mix, What};

/// Paths that page events name, so that rollups have more than one row to keep.
const PATHS: u64 = 50;
/// Visitors that page events name.
const VISITORS: u64 = 10_000;

/// Which of the paths event `i` of request `n` names. The oracle counts by it, so it stays as it is: journals are kept.
pub(crate) fn path(n: u64, i: u64) -> u64 {
    i.wrapping_add(n) % PATHS
}

/// Everything about requests that is the same for all of them.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Up to and with the name of the key's header, then the key, then `after_key`.
    order_head: Vec<u8>,
    events_head: Vec<u8>,
    /// By article.
    order_bodies: Vec<Vec<u8>>,
    run: String,
    single: bool,
}

impl Requests {
    pub(crate) fn new(mix: &Mix, authority: &str, api_key: &str) -> Self {
        let head = |path: &str| {
            format!(
                "POST {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {api_key}\r\n\
                 content-type: application/json\r\n"
            )
        };
        let order_bodies = mix
            .articles()
            .iter()
            .map(|article| {
                let price = article.unit_price_minor;
                let body = json!({
                    "currency": mix.currency(),
                    "lines": [{"sku": article.sku, "quantity": 1, "unit_price_minor": price}],
                    "total_minor": price,
                });
                body.to_string().into_bytes()
            })
            .collect();
        let single = mix.sends_single_events();
        Self {
            order_head: (head("/v1/orders") + "idempotency-key: ").into_bytes(),
            events_head: head(if single { "/v1/page" } else { "/v1/batch" }).into_bytes(),
            order_bodies,
            run: mix.run().to_owned(),
            single,
        }
    }

    /// Appends request `n` to `out`. `scratch` is reused from call to call.
    pub(crate) fn write(&self, n: u64, what: What, out: &mut Vec<u8>, scratch: &mut Vec<u8>) {
        // Writing to a vector can't fail.
        let _ = match what {
            What::Order { article } => {
                let body = self.order_bodies.get(article as usize).map_or(&[][..], Vec::as_slice);
                out.extend_from_slice(&self.order_head);
                write!(out, "{}-{n}\r\ncontent-length: {}\r\n\r\n", self.run, body.len())
                    .and_then(|()| out.write_all(body))
            }
            What::Events { count } => {
                scratch.clear();
                self.events(n, count, scratch);
                out.extend_from_slice(&self.events_head);
                write!(out, "content-length: {}\r\n\r\n", scratch.len()).and_then(|()| out.write_all(scratch))
            }
        };
    }

    fn events(&self, n: u64, count: u32, body: &mut Vec<u8>) {
        if self.single {
            return self.event(n, 0, body);
        }
        body.extend_from_slice(b"{\"batch\":[");
        for i in 0..count {
            if i > 0 {
                body.push(b',');
            }
            self.event(n, i, body);
        }
        body.extend_from_slice(b"]}");
    }

    fn event(&self, n: u64, i: u32, body: &mut Vec<u8>) {
        let run = &self.run;
        let (visitor, path) = (n.wrapping_add(u64::from(i)) % VISITORS, path(n, u64::from(i)));
        let _ = write!(
            body,
            "{{\"type\":\"page\",\"messageId\":\"{run}-{n}-{i}\",\"anonymousId\":\"{run}-{visitor}\",\
             \"properties\":{{\"path\":\"/load/{run}/{path}\"}}}}"
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::mix::{Article, Events, Popularity};

    fn parts(mix: &Mix, n: u64) -> (String, Value) {
        let requests = Requests::new(mix, "127.0.0.1:80", "mp_key");
        let (mut out, mut scratch) = (Vec::new(), b"left over".to_vec());
        requests.write(n, mix.pick(n), &mut out, &mut scratch);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        (head.to_owned(), serde_json::from_str(body).unwrap())
    }

    #[test]
    fn an_order_is_of_one_unit_at_the_articles_price() {
        let article = Article { sku: "a\"b".to_owned(), unit_price_minor: 1_450 };
        let mix = Mix::orders("run", "EUR", vec![article], Popularity::InTurn, 1).unwrap();
        let (head, body) = parts(&mix, 7);
        assert!(head.starts_with("POST /v1/orders HTTP/1.1\r\nhost: 127.0.0.1:80\r\n"), "{head}");
        assert!(head.contains("idempotency-key: run-7\r\n") && head.contains("Bearer mp_key"), "{head}");
        assert_eq!(body["total_minor"], 1_450);
        assert_eq!(body["lines"][0]["sku"], "a\"b");
    }

    #[test]
    fn every_event_of_a_batch_has_an_id_of_its_own() {
        let (head, body) = parts(&Mix::events("run", Events::Batch(3), 1).unwrap(), 2);
        assert!(head.starts_with("POST /v1/batch "), "{head}");
        let ids: Vec<&str> = body["batch"].as_array().unwrap().iter().filter_map(|e| e["messageId"].as_str()).collect();
        assert_eq!(ids, ["run-2-0", "run-2-1", "run-2-2"]);
        let (head, body) = parts(&Mix::events("run", Events::Single, 1).unwrap(), 2);
        assert!(head.starts_with("POST /v1/page "), "{head}");
        assert_eq!(body["properties"]["path"], "/load/run/2");
    }
}
