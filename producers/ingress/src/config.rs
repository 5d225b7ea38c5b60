//! What an operator sets.

use std::path::PathBuf;

use model::{Currency, MarketId, RegionName};
use serde::{Deserialize, Serialize};

/// The ingress's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen, with the server's limits (unused where the process serves the router itself).
    pub http: service::http::Config,
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
    /// An order's lines at most.
    pub order_lines: usize,
    /// One event at most, bytes (Segment: 32 KB).
    pub event_bytes: usize,
    /// A batch of events at most, bytes after decompression (Segment: 500 KB).
    pub batch_bytes: usize,
    /// A batch at most, events (Segment: 2,500).
    pub batch_events: usize,
    /// Orders between their first byte and their confirm, at once; more get 503 at once.
    pub max_in_flight_orders: usize,
    /// Batches between their first byte and their confirm, at once; more get 503 at once.
    pub max_in_flight_events: usize,
    /// How many accepted orders this process remembers, to recognise a replay.
    pub recent_orders: u64,
    /// How long it remembers them, seconds. (The order itself never forgets its key.)
    pub recent_orders_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: service::http::Config::default(),
            keys_file: PathBuf::from("keys.toml"),
            keys_reload_ms: 1_000,
            markets: vec![Market::default()],
            public_url: String::new(),
            body_timeout_ms: 10_000,
            order_bytes: 64 * 1024,
            order_lines: 100,
            event_bytes: 32 * 1024,
            batch_bytes: 512 * 1024,
            batch_events: 2_500,
            max_in_flight_orders: 4_096,
            max_in_flight_events: 256,
            recent_orders: 100_000,
            recent_orders_s: 3_600,
        }
    }
}

/// A market of the shop. API keys name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Market {
    /// Its id; part of every order's identity, so it never changes.
    pub id: MarketId,
    /// The region that owns its orders and stock.
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
