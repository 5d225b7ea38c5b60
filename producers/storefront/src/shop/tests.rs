use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::Band;
use model::{Currency, Money};

use super::view::{
    Card, CollectionView, ErrorView, HomeView, OrderView, ProductView, Refusal, ReviewView, Site, price,
};
use super::{assets, csp, render};

fn site() -> Arc<Site> {
    let browser_key = "mp_live_public".to_owned();
    Arc::new(Site { name: "The Mill".to_owned(), browser_key, ..Site::default() })
}

fn card(sku: &str, band: Band) -> Card {
    let price = Money::new(1_450, Currency::from_code("EUR").unwrap());
    Card { sku: sku.parse().unwrap(), title: format!("Article <{sku}>"), image: None, price, band }
}

fn home(items: usize) -> HomeView {
    let items = (0..items).map(|number| card(&format!("SKU-{number}"), Band::In)).collect();
    HomeView { site: site(), collections: vec!["winter-sale".parse().unwrap()], items }
}

fn product(site: Arc<Site>, band: Band) -> ProductView {
    let description = "One line.\n\n  <b>Another</b>.".to_owned();
    ProductView { site, card: card("A/1", band), description, collections: vec!["kitchen".parse().unwrap()] }
}

fn noon() -> DateTime<Utc> {
    "2026-11-27T12:00:00Z".parse().unwrap()
}

fn order(state: &'static str, reason: Option<&'static str>) -> OrderView {
    OrderView {
        site: site(),
        id: "00010000-0000-8000-8000-000000000000".to_owned(),
        token: "a-b_c".to_owned(),
        state,
        reason,
        terminal: !["queued", "unknown", "reserved"].contains(&state),
        accepted_at: noon(),
        wait_s: Some(40),
        now: noon() + TimeDelta::seconds(2),
    }
}

fn review(refusal: Option<Refusal>) -> ReviewView {
    ReviewView { site: site(), card: card("A/1", Band::In), quantity: 3, key: "key-1".to_owned(), refusal }
}

/// One of each kind.
fn every_page() -> Vec<String> {
    let collection =
        |next| CollectionView { site: site(), name: "kitchen".parse().unwrap(), items: home(2).items, next };
    let error =
        ErrorView { site: site(), status: 404, title: "Nothing here".to_owned(), detail: "Look <there>.".to_owned() };
    vec![
        render::home(&home(12)),
        render::home(&home(0)),
        render::collection(&collection(Some("a+b".to_owned()))),
        render::product(&product(site(), Band::In)),
        render::product(&product(site(), Band::Out)),
        render::review(&review(None)),
        render::review(&review(Some(Refusal::Busy(7)))),
        render::review(&review(Some(Refusal::Used))),
        render::order(&order("queued", None)),
        render::order(&order("rejected", Some("out_of_stock"))),
        render::error(&error),
    ]
}

#[test]
fn every_page_loads_assets_that_exist_and_has_nothing_inline() {
    for page in every_page() {
        for name in ["shop.css", "millpond.js", "icon.svg"] {
            assert!(page.contains(&format!("\"{}\"", assets::url(name))), "{name} in {page}");
        }
        assert!(!page.contains("style="), "{page}");
        assert!(!page.contains("<style") && !page.contains("javascript:") && !page.contains("onclick"), "{page}");
        assert_eq!(page.matches("<script").count(), 1);
        assert_eq!(page.matches("<h1>").count(), 1, "{page}");
    }
    assert!(csp(&site()).contains("script-src 'self';"));
    let elsewhere = Site { ingress: "https://in.example".to_owned(), ..Site::default() };
    assert!(csp(&elsewhere).contains("connect-src 'self' https://in.example; form-action 'self' https://in.example;"));
}

#[test]
fn what_a_shop_wrote_is_text_and_never_markup() {
    let page = render::product(&product(site(), Band::Low));
    assert!(page.contains("<h1>Article &#60;A/1&#62;</h1>"), "{page}");
    assert!(page.contains("<p>One line.</p>\n<p>&#60;b&#62;Another&#60;/b&#62;.</p>"), "{page}");
}

#[test]
fn the_first_page_with_style_and_script_is_below_fifty_kilobytes_even_uncompressed() {
    let size = |name| assets::find(assets::url(name)).unwrap().body.len();
    let all = render::home(&home(24)).len() + size("shop.css") + size("millpond.js") + size("icon.svg");
    assert!(all < 50_000, "{all} bytes");
}

#[test]
fn a_product_is_ordered_by_a_form_unless_it_is_sold_out_or_nobody_can_order() {
    let page = render::product(&product(site(), Band::In));
    assert!(page.contains("<form class=\"buy\" action=\"/order/new\""), "{page}");
    assert!(page.contains("data-sku=\"A/1\" data-price=\"1450\" data-currency=\"EUR\""), "{page}");
    assert!(!render::product(&product(site(), Band::Out)).contains("<form"));
    assert!(!render::product(&product(Arc::default(), Band::In)).contains("<form"));
}

#[test]
fn a_page_that_caches_share_holds_no_key_of_an_order() {
    let page = render::product(&product(site(), Band::In));
    assert!(!page.contains("idempotency"), "{page}");
    let review = render::review(&review(None));
    assert!(review.contains("name=\"idempotency_key\" value=\"key-1\""), "{review}");
    assert!(review.contains("€43.50"), "{review}");
}

#[test]
fn an_order_shows_its_state_alone_and_refreshes_itself_without_script_until_nothing_follows() {
    let visible = |page: &str| {
        let shown = page
            .lines()
            .filter(|line| line.starts_with("<div data-is") && !line.contains("\" hidden><p class=\"big\">"));
        shown.map(|line| line.split("big\">").nth(1).unwrap().split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let queued = render::order(&order("queued", None));
    assert_eq!(visible(&queued), ["In line"]);
    assert!(queued.contains("<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>"), "{queued}");
    assert!(queued.contains("data-mp-wait=\"38\">About <b>40</b> s to go"), "{queued}");
    assert!(queued.contains("/v1/orders/00010000-0000-8000-8000-000000000000/events?t=a-b_c"), "{queued}");
    assert_eq!(visible(&render::order(&order("placed", None))), ["In line"]);
    assert_eq!(visible(&render::order(&order("unknown", None))), ["One moment"]);

    let confirmed = render::order(&order("confirmed", None));
    assert_eq!(visible(&confirmed), ["Confirmed"]);
    assert!(confirmed.contains("data-terminal") && !confirmed.contains("http-equiv"), "{confirmed}");
    let rejected = render::order(&order("rejected", Some("out_of_stock")));
    assert_eq!(visible(&rejected), ["Not placed"]);
    assert!(rejected.contains("<p data-because=\"out_of_stock\">"), "{rejected}");
    assert!(rejected.contains("<p data-because=\"price_changed\" hidden>"), "{rejected}");
}

#[test]
fn an_order_that_waits_longer_than_expected_says_so() {
    let late = OrderView { now: noon() + TimeDelta::minutes(5), ..order("queued", None) };
    let page = render::order(&late);
    assert!(page.contains("<p data-mp-wait=\"0\" hidden>") && page.contains("<p data-mp-late>"), "{page}");
    let unknown = OrderView { wait_s: None, ..order("queued", None) };
    assert!(!render::order(&unknown).contains("data-mp-wait"));
}

#[test]
fn links_name_the_market_where_nothing_else_does() {
    let plain = site();
    assert_eq!(plain.product(&"A/1 +".replace(' ', "").parse().unwrap()), "/products/A%2F1%2B");
    let named = Site { named: Some("us".parse().unwrap()), ..Site::default() };
    assert_eq!(named.home(), "/?market=us");
    assert_eq!(named.new_order(&"A".parse().unwrap(), 2), "/order/new?sku=A&quantity=2&market=us");
    let page = render::product(&product(Arc::new(Site { browser_key: "k".to_owned(), ..named }), Band::In));
    assert!(page.contains("<input type=\"hidden\" name=\"market\" value=\"us\">"), "{page}");
}

#[test]
fn prices_are_written_as_shoppers_read_them() {
    let shown = |minor, code| price(Money::new(minor, Currency::from_code(code).unwrap()));
    assert_eq!(shown(1_450, "EUR"), "€14.50");
    assert_eq!(shown(-5, "USD"), "−$0.05");
    assert_eq!(shown(1_450, "JPY"), "¥1450");
    assert_eq!(shown(1_450, "CHF"), "14.50 CHF");
}
