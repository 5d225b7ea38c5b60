//! What each page shows.

use std::sync::Arc;

use askama::Template;
use chrono::{DateTime, Utc};
use events::Band;
use model::{CollectionName, MarketId, Money, Sku, StatusToken};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use store::catalogue::{Listing, Product};

use super::{art, assets};
use crate::view::View;

/// What stays as it is in a segment of a path and in a query's value (RFC 3986's unreserved characters).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The most units that the page's form offers.
const OFFERED: u32 = 10;

/// What all pages of a market share. Part of every page, so a change of it makes all of them old.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Site {
    /// The shop's name.
    pub(crate) name: String,
    /// The browser key that pages carry; empty: articles are shown, and nobody can order or is counted.
    pub(crate) browser_key: String,
    /// The ingress's origin (`https://in.shop.example`), without a slash at its end; empty: that of the page.
    pub(crate) ingress: String,
    /// The market, where links have to name it (`?market=us`) since neither the host nor a default does.
    pub(crate) named: Option<MarketId>,
}

impl Site {
    fn asset(name: &str) -> &'static str {
        assets::url(name)
    }

    pub(crate) fn takes_orders(&self) -> bool {
        !self.browser_key.is_empty()
    }

    /// The path of the home page.
    pub(crate) fn home(&self) -> String {
        self.link("/")
    }

    /// The path of an article's page.
    pub(crate) fn product(&self, sku: &Sku) -> String {
        self.link(&format!("/products/{}", encoded(sku.as_str())))
    }

    /// The path of a collection's page.
    pub(crate) fn collection(&self, name: &CollectionName) -> String {
        self.link(&format!("/collections/{name}"))
    }

    /// The path that makes a key for an order, and leads on to [`Site::review`].
    pub(crate) fn new_order(&self, sku: &Sku, quantity: u32) -> String {
        self.link(&format!("/order/new?sku={}&quantity={quantity}", encoded(sku.as_str())))
    }

    /// The path of the page before an order with this key.
    pub(crate) fn review(&self, sku: &Sku, quantity: u32, key: &str) -> String {
        self.link(&format!("/order/review?sku={}&quantity={quantity}&key={}", encoded(sku.as_str()), encoded(key)))
    }

    fn link(&self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        self.named.as_ref().map_or_else(|| path.to_owned(), |market| format!("{path}{mark}market={market}"))
    }
}

/// An article in a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Card {
    /// Which.
    pub(crate) sku: Sku,
    /// Its name.
    pub(crate) title: String,
    /// The URL of its picture; where there is none it gets a drawing.
    pub(crate) image: Option<String>,
    /// Of one unit.
    pub(crate) price: Money,
    /// Whether it is there.
    pub(crate) band: Band,
}

impl Card {
    fn price(&self) -> String {
        price(self.price)
    }

    fn art(&self) -> String {
        art::drawing(self.sku.as_str())
    }
}

impl From<Listing> for Card {
    fn from(listing: Listing) -> Self {
        let Listing { sku, title, image, price, band } = listing;
        Self { sku, title, image, price, band }
    }
}

/// The home page: `/`.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "home.html")]
pub(crate) struct HomeView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// The collections that it has, by name.
    pub(crate) collections: Vec<CollectionName>,
    /// Some articles.
    pub(crate) items: Vec<Card>,
}

impl HomeView {
    /// Of what the store read.
    pub(crate) fn new(site: Arc<Site>, collections: Vec<CollectionName>, items: Vec<Listing>) -> Self {
        Self { site, collections, items: items.into_iter().map(Card::from).collect() }
    }
}

/// A collection: `/collections/{name}`, and the pages after its first.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "collection.html")]
pub(crate) struct CollectionView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// Its name.
    pub(crate) name: CollectionName,
    /// The articles of this page.
    pub(crate) items: Vec<Card>,
    /// The cursor of the next page (its parameter `page`), where there is one.
    pub(crate) next: Option<String>,
}

impl CollectionView {
    /// Of what the store read.
    pub(crate) fn new(site: Arc<Site>, name: CollectionName, items: Vec<Listing>, next: Option<String>) -> Self {
        Self { site, name, items: items.into_iter().map(Card::from).collect(), next }
    }

    fn next_page(&self, cursor: &str) -> String {
        self.site.link(&format!("/collections/{}?page={}", self.name, encoded(cursor)))
    }
}

/// An article: `/products/{sku}`.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "product.html")]
pub(crate) struct ProductView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// Name, price and whether it is there.
    pub(crate) card: Card,
    /// Plain text; a line is a paragraph.
    pub(crate) description: String,
    /// The collections that list it.
    pub(crate) collections: Vec<CollectionName>,
}

impl ProductView {
    /// Of what the store read.
    pub(crate) fn new(site: Arc<Site>, product: Product, band: Band) -> Self {
        let Product { sku, title, description, image, collections, price, .. } = product;
        Self { site, card: Card { sku, title, image, price, band }, description, collections }
    }

    fn paragraphs(&self) -> impl Iterator<Item = &str> {
        self.description.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    fn quantities() -> std::ops::RangeInclusive<u32> {
        1..=OFFERED
    }
}

/// Before an order without JavaScript: `/order/review?sku=…&quantity=…&key=…`.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "review.html")]
pub(crate) struct ReviewView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// What is ordered, at today's price.
    pub(crate) card: Card,
    /// How many.
    pub(crate) quantity: u32,
    /// The order's idempotency key, as it stands in the page's URL.
    pub(crate) key: String,
    /// Why the order was not taken when it was sent from here before.
    pub(crate) refusal: Option<Refusal>,
}

impl ReviewView {
    fn total(&self) -> String {
        self.card.price.checked_mul(self.quantity).map_or_else(|error| error.to_string(), price)
    }

    fn action(&self) -> String {
        format!("{}/v1/orders", self.site.ingress)
    }

    /// Where a new key is made for the same articles.
    fn again(&self) -> String {
        self.site.new_order(&self.card.sku, self.quantity)
    }
}

/// Why an order that was sent by a form was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is more to do than can be taken; worth sending again after so many seconds.
    Busy(u32),
    /// Its key was used for another order.
    Used,
}

/// What became of an order: `/orders/{id}?t=TOKEN`.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "order.html")]
pub(crate) struct OrderView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// The order's id.
    pub(crate) id: String,
    /// The token of its status URL.
    pub(crate) token: String,
    /// `queued`, one of the names of `events::OrderState`, or `unknown` where nobody can say now.
    pub(crate) state: &'static str,
    /// Why it was rejected: a code of `events::Rejection`.
    pub(crate) reason: Option<&'static str>,
    /// Nothing follows by itself.
    pub(crate) terminal: bool,
    /// When it was accepted.
    pub(crate) accepted_at: DateTime<Utc>,
    /// While it waits: how long it was expected to, from its acceptance on, in seconds.
    pub(crate) wait_s: Option<u32>,
    /// The time of this page.
    pub(crate) now: DateTime<Utc>,
}

/// States with a text of their own on the order's page, in the order in which they stand there.
const STATES: [&str; 7] = ["queued", "unknown", "reserved", "paid", "confirmed", "released", "rejected"];

impl OrderView {
    /// Of what is known of the order; `None`: nobody can say now. `text` is the token as the URL has it, `wait_s` how long
    /// the order was expected to wait when it was accepted.
    pub(crate) fn new(
        site: Arc<Site>,
        (token, text): (&StatusToken, &str),
        known: Option<&View>,
        wait_s: Option<u32>,
        now: DateTime<Utc>,
    ) -> Self {
        let (state, reason) = known.map_or(("unknown", None), View::state);
        Self {
            site,
            id: token.order_id.to_string(),
            token: text.to_owned(),
            state,
            reason,
            terminal: known.is_some_and(View::is_terminal),
            accepted_at: token.accepted_at,
            wait_s,
            now,
        }
    }

    /// The state whose text is shown: an order that checkout has not looked at waits, whatever it is called.
    fn shown(&self) -> &'static str {
        if STATES.contains(&self.state) { self.state } else { "queued" }
    }

    fn is(&self, state: &str) -> bool {
        self.shown() == state
    }

    fn because(&self, reason: &str) -> bool {
        self.reason == Some(reason)
    }

    fn status_url(&self) -> String {
        format!("/v1/orders/{}?t={}", self.id, encoded(&self.token))
    }

    fn events_url(&self) -> String {
        format!("/v1/orders/{}/events?t={}", self.id, encoded(&self.token))
    }

    /// Seconds that it is still expected to wait; 0 once they are over.
    fn left_s(&self) -> Option<u32> {
        let waited = (self.now - self.accepted_at).num_seconds().max(0);
        self.wait_s.map(|wait| u32::try_from(i64::from(wait) - waited).unwrap_or(0))
    }

    fn is_late(&self) -> bool {
        self.left_s() == Some(0)
    }

    /// No more exact than an estimate is: steps of 5 s above 10 (as the script counts them down).
    fn left_rounded(&self) -> u32 {
        let left = self.left_s().unwrap_or(0);
        if left > 10 { left.next_multiple_of(5) } else { left }
    }

    fn placed(&self) -> String {
        self.accepted_at.format("%-d %B %Y, %H:%M:%S UTC").to_string()
    }

    fn placed_machine(&self) -> String {
        self.accepted_at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

/// An error for people.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorView {
    /// The shop.
    pub(crate) site: Arc<Site>,
    /// The answer's status code.
    pub(crate) status: u16,
    /// What happened, in a few words.
    pub(crate) title: String,
    /// What to do.
    pub(crate) detail: String,
}

/// A collection's name for people: `winter-sale` is `Winter sale`.
pub(crate) fn label(name: &CollectionName) -> String {
    let spaced = name.as_str().replace('-', " ");
    let mut chars = spaced.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

/// `text` as a segment of a path or a query's value.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// An amount as shoppers read it: `€14.50`, with the code where the sign would leave doubt.
pub(crate) fn price(money: Money) -> String {
    let sign = match money.currency.code() {
        "EUR" => "€",
        "GBP" => "£",
        "USD" => "$",
        "JPY" => "¥",
        _ => return money.to_string(),
    };
    let text = money.to_string();
    let number = text.strip_suffix(money.currency.code()).map_or(text.as_str(), str::trim_end);
    number.strip_prefix('-').map_or_else(|| format!("{sign}{number}"), |number| format!("−{sign}{number}"))
}
