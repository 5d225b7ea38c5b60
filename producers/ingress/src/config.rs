//! What an operator sets.

use std::path::PathBuf;

use model::{Currency, MarketId, RegionName};
use serde::{Deserialize, Serialize};

use crate::overload::OverloadConfig;

/// The ingress's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The API keys' file (`millpond keys create` writes it).
    pub keys_file: PathBuf,
    /// How often the keys' file is looked at, milliseconds.
    pub keys_reload_ms: u64,
    /// The shop's markets; at least one.
    #[serde(rename = "market")]
    pub markets: Vec<Market>,
    /// In front of `/v1/orders/…` in status URLs: `https://shop.example`. Empty: the URL is relative.
    pub public_url: String,
    /// How long a request's body may take to arrive, milliseconds.
    pub body_timeout_ms: u64,
    /// An order's body at most, bytes.
    pub order_bytes: usize,
    /// An order's body at most, bytes, where it is a form; never more than `order_bytes`.
    pub form_bytes: usize,
    /// An order's lines at most.
    pub order_lines: usize,
    /// One event at most, bytes (Segment: 32 KB).
    pub event_bytes: usize,
    /// A batch of events at most, bytes after decompression (Segment: 500 KB).
    pub batch_bytes: usize,
    /// A batch at most, events (Segment: 2,500).
    pub batch_events: usize,
    /// Orders from body read to confirm, at once; more get 503 at once. A body that is still on its way takes no place,
    /// but its bytes count below.
    pub max_in_flight_orders: usize,
    /// Batches from body read to confirm, at once; more get 503 at once. A body that is still on its way takes no place,
    /// but its bytes count below.
    pub max_in_flight_events: usize,
    /// Bytes of orders' bodies, from the first that arrives to the confirm, over all requests; more get 503 at once. At
    /// least `order_bytes`. Bodies that are still on their way take half of it at most (one always fits).
    pub max_in_flight_order_bytes: usize,
    /// Bytes of events' bodies, from the first that arrives to the confirm, over all requests; more get 503 at once. At
    /// least `batch_bytes`. Bodies that are still on their way take half of it at most (one always fits).
    pub max_in_flight_event_bytes: usize,
    /// How many accepted orders this process remembers, to recognise a replay.
    pub recent_orders: u64,
    /// How long it remembers them, seconds. (The order itself never forgets its key.)
    pub recent_orders_s: u64,
    /// When requests are not taken any more although there is room for them here.
    pub overload: OverloadConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys_file: PathBuf::from("keys.toml"),
            keys_reload_ms: 1_000,
            markets: vec![Market::default()],
            public_url: String::new(),
            body_timeout_ms: 10_000,
            order_bytes: 64 * 1024,
            form_bytes: 4 * 1024,
            order_lines: 100,
            event_bytes: 32 * 1024,
            batch_bytes: 512 * 1024,
            batch_events: 2_500,
            max_in_flight_orders: 4_096,
            max_in_flight_events: 256,
            max_in_flight_order_bytes: 64 << 20,
            max_in_flight_event_bytes: 64 << 20,
            recent_orders: 30_000,
            recent_orders_s: 3_600,
            overload: OverloadConfig::default(),
        }
    }
}

impl Config {
    /// What can't work, in words: the setting and what it must be.
    pub(crate) fn fault(&self) -> Option<String> {
        let positive = [
            ("keys_reload_ms", self.keys_reload_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("order_bytes", self.order_bytes as u64),
            ("form_bytes", self.form_bytes as u64),
            ("order_lines", self.order_lines as u64),
            ("event_bytes", self.event_bytes as u64),
            ("batch_bytes", self.batch_bytes as u64),
            ("batch_events", self.batch_events as u64),
            ("max_in_flight_orders", self.max_in_flight_orders as u64),
            ("max_in_flight_events", self.max_in_flight_events as u64),
            ("max_in_flight_order_bytes", self.max_in_flight_order_bytes as u64),
            ("max_in_flight_event_bytes", self.max_in_flight_event_bytes as u64),
        ];
        // The bound of u32 keeps the semaphores within what tokio can count.
        if let Some((name, _)) = positive.iter().find(|(_, value)| !(1..=u64::from(u32::MAX)).contains(value)) {
            return Some(format!("{name} must be 1 to {}", u32::MAX));
        }
        let least = [
            ("max_in_flight_order_bytes", self.max_in_flight_order_bytes, "order_bytes", self.order_bytes),
            ("max_in_flight_event_bytes", self.max_in_flight_event_bytes, "batch_bytes", self.batch_bytes),
        ];
        if let Some((name, _, least, bytes)) = least.iter().find(|(_, value, _, least)| value < least) {
            return Some(format!("{name} must be at least {least}, which is {bytes}: a single body must fit"));
        }
        if let Err(fault) = self.overload.policy() {
            return Some(fault);
        }
        let url = &self.public_url;
        let is_url = url.starts_with("https://") || url.starts_with("http://");
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains(['?', '#']);
        if url.is_empty() || (is_url && is_plain) {
            return None;
        }
        Some(format!(
            "public_url must be empty, or start with https:// and hold no query, as in https://shop.example; it is {url:?}"
        ))
    }
}

/// A market of the shop. API keys name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Market {
    /// Its id; part of every order's identity, so it never changes.
    pub id: MarketId,
    /// The region that owns its orders and stock. Its number is part of every order's id, so it must not be changed while
    /// retries may still come: the same key would then be another id, and the retry a second order. Drain first (keep
    /// orders away until every client has given up its retries), or make a new market with a new id.
    pub region: RegionName,
    /// The one currency of its orders.
    pub currency: Currency,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            id: "main".parse().expect("a valid market id"),
            region: "main".parse().expect("a valid region name"),
            currency: Currency::from_code("EUR").expect("an ISO 4217 code"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_works_and_a_setting_that_can_not_is_named() {
        assert_eq!(Config::default().fault(), None);
        let fault = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.fault().unwrap()
        };
        assert!(fault(|config| config.max_in_flight_orders = 0).starts_with("max_in_flight_orders must be 1 to"));
        for url in ["shop.example", "https://shop.example/?a=1", "https://shop .example"] {
            let config = Config { public_url: url.to_owned(), ..Config::default() };
            assert!(config.fault().unwrap().contains("public_url"), "{url}");
        }
        let config = Config { public_url: "https://shop.example".to_owned(), ..Config::default() };
        assert_eq!(config.fault(), None);
    }

    #[test]
    fn a_configuration_is_read_with_its_defaults_and_an_unknown_setting_is_an_error() {
        let text = "max_in_flight_orders = 7\n[[market]]\nid = \"us\"\nregion = \"america\"\ncurrency = \"USD\"\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!((config.max_in_flight_orders, config.markets.len()), (7, 1));
        assert_eq!(config.markets[0].currency.code(), "USD");
        let error = toml::from_str::<Config>("max_inflight = 7").unwrap_err().to_string();
        assert!(error.contains("max_inflight"), "{error}");
    }
}
