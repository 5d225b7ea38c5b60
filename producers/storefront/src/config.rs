//! Settings of the storefront.

use std::collections::BTreeMap;
use std::time::Duration;

use model::MarketId;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

/// The storefront's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The longest for one look into a database, milliseconds; then the answer is 503.
    pub lookup_timeout_ms: u64,
    /// Looks into one database at once by single requests; above it the answer is 503 at once. Below the connections of
    /// the pool there is nothing to gain, far above it requests only wait.
    pub max_lookups: usize,
    /// Event streams at once; above it the answer is 503. Below `http.max_connections`, or streams could take them all.
    pub max_streams: usize,
    /// Event streams of one order at once; above it the answer is 503. Enough for a shopper's tabs and devices, and so that
    /// whoever has one order's URL can't take every stream.
    pub max_streams_per_order: usize,
    /// The longest life of a stream, seconds; the browser then opens the next one by itself.
    pub stream_max_s: u64,
    /// Pause between two comments that keep proxies from closing a silent stream, seconds.
    pub heartbeat_s: u64,
    /// Pause between two looks for the orders that streams wait for, milliseconds: one query per database, however many
    /// wait.
    pub poll_ms: u64,
    /// How long after its acceptance an order that the cache calls confirmed is believed without a look into the database,
    /// seconds. The shop may cancel it, and the cache may not hear of that: for so long at most it is shown as confirmed.
    pub trust_confirmed_s: u32,
    /// Changes of stock and orders by the shop's own servers.
    pub changes: Changes,
    /// Edits of the catalogue by the shop's own servers.
    pub catalogue: Catalogue,
    /// What everybody may read: products, lists, availability, pages.
    pub pages: PublicReads,
    /// The sample shop in HTML.
    pub shop: Shop,
}

/// The part `[storefront.shop]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shop {
    /// The shop's name, on every page.
    pub name: String,
    /// The browser key of each market whose pages take orders and count their visitors. They stand in the pages, for everybody
    /// to read. The pages of a market without one show articles alone.
    pub keys: BTreeMap<MarketId, String>,
    /// The ingress's origin, where it is not that of the pages: `https://in.shop.example`. Empty: the same.
    pub ingress_url: String,
}

/// The part `[storefront.changes]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// A request's body at most, bytes.
    pub body_bytes: usize,
    /// How long a request's body may take to arrive, milliseconds.
    pub body_timeout_ms: u64,
    /// Changes at once; above it the answer is 503 at once. Each takes one of the database's connections for transactions.
    pub max_in_flight: usize,
    /// The longest for one change, milliseconds; then the answer is 503, and the same key tells what became of it. Below
    /// `http.request_timeout_ms`.
    pub timeout_ms: u64,
    /// How often a change that met another transaction is tried again.
    pub contention_retries: u32,
    /// The longest pause before that, milliseconds; drawn by chance.
    pub contention_pause_ms: u64,
    /// How long the answer to a change is kept for its repeats, days. A repeat of an import that comes later is another
    /// import; one of any other change is refused: it is never made a second time.
    pub keep_answers_days: u32,
    /// Pause between two looks for answers that are old enough to be thrown away, seconds.
    pub forget_every_s: u64,
    /// Answers that one look throws away at most.
    pub forget_batch: u32,
}

/// The part `[storefront.pages]`. How long pages are kept here, and how old they may be, stands in `[cache.pages]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PublicReads {
    /// The market of a read that names none and whose host is none of `hosts`. Empty: the shop's only market; where there are
    /// several, such a read is refused.
    pub market: String,
    /// Markets by the host that a read came to.
    pub hosts: Vec<Host>,
    /// Products on one page of a list, 1 to 100. Each is a tag of the page: below `cache.pages.max_tags`.
    pub page_size: u32,
    /// A query string at most, bytes as sent.
    pub max_query_bytes: usize,
    /// What is searched for at most, bytes of UTF-8.
    pub max_search_bytes: usize,
    /// Reads of pages from one database at once. They never take what status and changes are read and written by: beyond it a
    /// render waits, and its readers get the page before.
    pub max_reads: usize,
    /// Searches (`q`) among them at once, 1 or more. Below `max_reads`, or searches, which anybody can make up, could take the
    /// places of all other pages. As many as `max_reads` wait for their turn; the others are answered 503 at once.
    pub max_searches: usize,
    /// How long a read waits for its turn, milliseconds.
    pub read_wait_ms: u64,
    /// The longest for the reads of one render, milliseconds. Below `cache.pages.render_timeout_ms`.
    pub read_timeout_ms: u64,
    /// Reads in a row that a database left without an answer, while it gave none to other readers either, before it is asked by
    /// one render at a time, and the others fail at once. 1 or more.
    pub away_after: u32,
    /// `max-age`: how long a browser shows a page without asking, seconds. A purge does not reach it.
    pub browser_max_age_s: u32,
    /// `s-maxage`: how long a CDN serves a page without asking where no purge reaches it, seconds; counted, as `Age` has it,
    /// from its render here.
    pub shared_max_age_s: u32,
    /// `s-maxage` of what is not there, seconds.
    pub missing_max_age_s: u32,
    /// `stale-while-revalidate`: how long after that a cache serves it while it asks, seconds.
    pub stale_while_revalidate_s: u32,
    /// `stale-if-error`: how long after that a cache serves it where it gets no answer, or a 5xx, seconds.
    pub stale_if_error_s: u32,
    /// The values of `Surrogate-Key` and of `Cache-Tag` at most, bytes. A page with more could not be purged, so a CDN is told
    /// not to keep it. Fastly and Cloudflare take 16 KB, Varnish 8 KB for the whole line (`http_resp_hdr_len`).
    pub max_tag_bytes: usize,
}

/// Which market a host is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// As browsers know it, without a port: `us.shop.example`.
    pub name: String,
    /// Its market.
    pub market: MarketId,
}

/// The part `[storefront.catalogue]`. What is not said here (how long a body and an edit may take, how often one that met another is
/// tried again) is as it is for changes of stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Catalogue {
    /// The body of an edit of one product at most, and a line of an import as NDJSON, bytes.
    pub body_bytes: usize,
    /// Edits of products at once; above it the answer is 503 at once. Each takes one of the database's connections for
    /// transactions.
    pub max_in_flight: usize,
    /// The body of an import at most, bytes.
    pub import_body_bytes: usize,
    /// Products of one import at most. They are written in one transaction, which on SQLite stops every other writer meanwhile.
    pub import_products: usize,
    /// Imports at once, their bodies in memory; above it the answer is 503 at once.
    pub imports_in_flight: usize,
    /// The longest for one import once its body is there, milliseconds; then the answer is 503 while it goes on, and the same key
    /// tells what became of it. Below `http.request_timeout_ms`.
    pub import_timeout_ms: u64,
    /// How long a price that was replaced is kept, days: far above `checkout.price_grace_s` and above any time that an order may
    /// wait in its queue.
    pub keep_prices_days: u32,
    /// Pause between two looks for prices that are old enough to be thrown away, seconds.
    pub forget_prices_every_s: u64,
    /// Prices that one look throws away at most.
    pub forget_prices_batch: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lookup_timeout_ms: 2_000,
            max_lookups: 64,
            max_streams: 5_000,
            max_streams_per_order: 8,
            stream_max_s: 600,
            heartbeat_s: 15,
            poll_ms: 500,
            trust_confirmed_s: 300,
            changes: Changes::default(),
            shop: Shop::default(),
            pages: PublicReads::default(),
            catalogue: Catalogue::default(),
        }
    }
}

impl Default for Shop {
    fn default() -> Self {
        Self { name: "Millpond".to_owned(), keys: BTreeMap::new(), ingress_url: String::new() }
    }
}

impl Default for PublicReads {
    fn default() -> Self {
        Self {
            market: String::new(),
            hosts: Vec::new(),
            page_size: 24,
            max_query_bytes: 1_024,
            max_search_bytes: 128,
            max_reads: 8,
            max_searches: 2,
            read_wait_ms: 1_000,
            read_timeout_ms: 2_000,
            away_after: 3,
            browser_max_age_s: 0,
            shared_max_age_s: 60,
            missing_max_age_s: 10,
            stale_while_revalidate_s: 10,
            stale_if_error_s: 60,
            max_tag_bytes: 7_168,
        }
    }
}

impl PublicReads {
    pub(crate) fn read_wait(&self) -> Duration {
        Duration::from_millis(self.read_wait_ms)
    }

    pub(crate) fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms.max(1))
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            body_bytes: 64 * 1024,
            body_timeout_ms: 10_000,
            max_in_flight: 64,
            timeout_ms: 10_000,
            contention_retries: 5,
            contention_pause_ms: 100,
            keep_answers_days: 7,
            forget_every_s: 60,
            forget_batch: 1_000,
        }
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            body_bytes: 128 * 1024,
            max_in_flight: 16,
            import_body_bytes: 16 * 1024 * 1024,
            import_products: 20_000,
            imports_in_flight: 1,
            import_timeout_ms: 12_000,
            keep_prices_days: 30,
            forget_prices_every_s: 60,
            forget_prices_batch: 1_000,
        }
    }
}

impl Catalogue {
    pub(crate) fn import_timeout(&self) -> Duration {
        Duration::from_millis(self.import_timeout_ms)
    }

    pub(crate) fn keep_prices(&self) -> Duration {
        Duration::from_hours(u64::from(self.keep_prices_days) * 24)
    }
}

impl Changes {
    /// Before a change that met another transaction is tried again.
    pub(crate) async fn contention_pause(&self) {
        let pause = rand::rng().random_range(1..=self.contention_pause_ms.max(1));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(crate) fn keep_answers(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_answers_days) * 24 * 3_600)
    }
}

impl Config {
    pub(crate) fn lookup_timeout(&self) -> Duration {
        Duration::from_millis(self.lookup_timeout_ms)
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.max(1))
    }
}
