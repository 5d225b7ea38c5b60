//! `POST /v1/orders` from a plain form (`application/x-www-form-urlencoded`): one article, ordered by a browser without
//! JavaScript.
//!
//! The fields are `api_key` (a browser key), `idempotency_key`, `sku`, `quantity`, `unit_price_minor`, `currency`, and `market`,
//! which only comes back in URLs. They become the order that JSON would have been, and everything that holds for that one holds
//! here: key, origin, prices, limits, identity.
//!
//! What differs is the answer, since a person reads it. A taken order is a 303 to its page, so a browser that is told to load
//! the page again sends no order. One that was not taken, and may be sent again, is a 303 back to the page that it came from
//! (`/order/review`, with the same key in its URL, `busy=SECONDS`), which shows the same form again; a key that another order has
//! goes there too (`used=1`). What no shopper can mend stays a problem.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use model::{IdempotencyKey, MarketId, Sku};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use service::Problem;
use service::fields::Faults;
use service::keys::{self, KeyKind, Scope};

use super::{Asked, IDEMPOTENCY_CONFLICT, INVALID_ORDER, Placed, accept_order};
use crate::intake::{Limits, Media};
use crate::run::Shared;

const FIELDS: [&str; 7] = ["api_key", "idempotency_key", "sku", "quantity", "unit_price_minor", "currency", "market"];
/// What stays as it is in a query's value (RFC 3986's unreserved characters).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a request is a form's. What brings a key in its head is a program, and forgot to say that it sends JSON.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    if headers.contains_key(header::AUTHORIZATION) {
        return false;
    }
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// Takes an order from a form.
pub(super) async fn post(shared: &Arc<Shared>, request: Request) -> Result<Response, Problem> {
    let mut back = None;
    let answer = shared.orders_gate.count(take(shared, request, &mut back).await);
    match (answer, back) {
        (Err(problem), Some(form)) if problem.kind().status == StatusCode::SERVICE_UNAVAILABLE => {
            Ok(see_other(&form.review(shared, &format!("busy={}", problem.seconds().unwrap_or(1)))))
        }
        (Err(problem), Some(form)) if problem.kind() == IDEMPOTENCY_CONFLICT => {
            Ok(see_other(&form.review(shared, "used=1")))
        }
        (answer, _) => answer,
    }
}

async fn take(shared: &Arc<Shared>, request: Request, back: &mut Option<Form>) -> Result<Response, Problem> {
    let gate = &shared.orders_gate;
    let (head, body) = request.into_parts();
    let bytes = shared.config.form_bytes.min(shared.config.order_bytes);
    let limits = Limits { media: Media::Form, bytes, time: shared.body_time() };
    // The key is a field, so this is read before anybody is known. It is small, and counts among the bytes in flight.
    let arrived = gate.read(&head.headers, body, &limits).await?;
    let form = back.insert(Form::parse(&arrived.body)?);
    let key = keys::check(&shared.keys, &*shared.clock, Some(&form.api_key), Scope::Orders, &head.headers)?;
    if key.kind != KeyKind::Browser {
        return Err(keys::forbidden("a form takes a browser key: whoever opens a page can read the one in it"));
    }
    // Wherever the form stood: on the page of another market the same key would be another order.
    form.market = Some(key.market.clone());
    let form = form.clone();
    let market = shared.market(&key)?;
    gate.admit(&market.valve)?;
    let place = gate.place(arrived)?;
    let (value, idempotency_key) = (form.order(), form.idempotency_key.clone());
    let placed = accept_order(shared, Asked { headers: &head.headers, key, idempotency_key, value, place }).await?;
    Ok(see_other(&order_page(shared, &placed)))
}

/// Where a person sees what becomes of the order; `w` tells the page how long that was expected to take.
fn order_page(shared: &Shared, placed: &Placed) -> String {
    let page = format!("{}/orders/{}?t={}", shared.public_url(), placed.order_id, placed.token(&shared.token_key));
    match placed.wait_s {
        None | Some(0) => page,
        Some(wait) => format!("{page}&w={wait}"),
    }
}

fn see_other(location: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Everything in it was parsed or encoded.
    if let Ok(location) = HeaderValue::from_str(location) {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// What a form holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form {
    api_key: String,
    idempotency_key: IdempotencyKey,
    sku: Sku,
    quantity: u32,
    unit_price_minor: i64,
    currency: String,
    market: Option<MarketId>,
}

impl Form {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields { values: vec![None; FIELDS.len()], faults: Faults::default() };
        for (name, value) in form_urlencoded::parse(body) {
            fields.take(&name, value);
        }
        let api_key = fields.required("api_key", |value| Ok(value.to_owned()));
        let idempotency_key =
            fields.required("idempotency_key", |value| value.parse().map_err(|error| format!("{error}")));
        let sku = fields.required("sku", |value| value.parse().map_err(|error| format!("{error}")));
        let number = "must be a whole number, 0 or more";
        let quantity = fields.required("quantity", |value| value.parse().map_err(|_| number.to_owned()));
        let unit_price_minor =
            fields.required("unit_price_minor", |value| value.parse().map_err(|_| number.to_owned()));
        let currency = fields.required("currency", |value| Ok(value.to_owned()));
        let market = fields.optional("market", |value| value.parse().map_err(|error| format!("{error}")));
        let form = || {
            Some(Self {
                api_key: api_key?,
                idempotency_key: idempotency_key?,
                sku: sku?,
                quantity: quantity?,
                unit_price_minor: unit_price_minor?,
                currency: currency?,
                market,
            })
        };
        let faults = fields.faults;
        form().filter(|_| faults.is_empty()).ok_or_else(|| {
            let (detail, errors) = faults.finish();
            Problem::new(INVALID_ORDER, detail).with_errors(errors)
        })
    }

    /// The order as JSON would have it. A sum that no number can hold is a total that the lines do not add up to.
    fn order(&self) -> serde_json::Value {
        let line = json!({"sku": self.sku, "quantity": self.quantity, "unit_price_minor": self.unit_price_minor});
        let total = self.unit_price_minor.saturating_mul(self.quantity.into());
        json!({"currency": self.currency, "lines": [line], "total_minor": total})
    }

    /// The page that the form stands on, with the same key.
    fn review(&self, shared: &Shared, why: &str) -> String {
        let Self { idempotency_key, sku, quantity, market, .. } = self;
        let encoded = |text| utf8_percent_encode(text, PLAIN);
        let market = market.as_ref().map_or_else(String::new, |market| format!("&market={market}"));
        let (sku, key) = (encoded(sku.as_str()), encoded(idempotency_key.as_str()));
        format!("{}/order/review?sku={sku}&quantity={quantity}&key={key}{market}&{why}", shared.public_url())
    }
}

/// Values as they came, by the position of their names in [`FIELDS`].
struct Fields<'a> {
    values: Vec<Option<Cow<'a, str>>>,
    faults: Faults,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: Cow<'a, str>) {
        match FIELDS.iter().position(|known| *known == name).and_then(|known| self.values.get_mut(known)) {
            Some(place @ None) => *place = Some(value),
            Some(Some(_)) => self.wrong(name, || "comes twice".to_owned()),
            None => self.wrong(name, || format!("is not known here; a form has {}", FIELDS.join(", "))),
        }
    }

    fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.value(name)?;
        self.parsed(name, &value, parse)
    }

    fn required<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let Some(value) = self.value(name) else {
            self.wrong(name, || "is missing".to_owned());
            return None;
        };
        self.parsed(name, &value, parse)
    }

    /// What came under this name, unless it is empty.
    fn value(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let position = FIELDS.iter().position(|known| *known == name)?;
        self.values.get_mut(position)?.take().filter(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, value: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(value).map_err(|detail| self.wrong(name, || detail)).ok()
    }

    fn wrong(&mut self, name: &str, detail: impl FnOnce() -> String) {
        let name: String = name.chars().take(64).collect();
        self.faults.add_with(format!("/{name}"), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_with_every_fault_of_it() {
        let form = "api_key=mp_live_x&idempotency_key=a%20b&sku=A%2F1&quantity=2&unit_price_minor=1450&currency=EUR";
        let read = Form::parse(form.as_bytes()).unwrap();
        assert_eq!((read.sku.as_str(), read.idempotency_key.as_str(), read.quantity), ("A/1", "a b", 2));
        assert_eq!(read.order()["total_minor"], 2_900);
        let named = Form::parse(format!("{form}&market=eu").as_bytes()).unwrap();
        assert_eq!(named.market, "eu".parse().ok());

        let problem = Form::parse(b"sku=a%20b&quantity=-1&currency=EUR&currency=EUR&colour=red&api_key=").unwrap_err();
        let pointers: Vec<&str> = problem.errors().iter().map(|error| error.pointer.as_str()).collect();
        let expected =
            ["/currency", "/colour", "/api_key", "/idempotency_key", "/sku", "/quantity", "/unit_price_minor"];
        assert_eq!(pointers, expected);
        assert!(Form::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn an_answer_is_no_multiple_of_a_form_that_is_all_faults() {
        let problem = Form::parse("a&".repeat(2_000).as_bytes()).unwrap_err();
        assert_eq!(problem.errors().len(), 100);
        assert!(problem.detail().starts_with("2006 fields are wrong"), "{}", problem.detail());
    }

    #[test]
    fn only_a_forms_media_type_is_a_forms() {
        let headers = |value| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
        assert!(is_form(&headers("application/x-www-form-urlencoded")));
        assert!(is_form(&headers("Application/X-WWW-Form-Urlencoded; charset=utf-8")));
        assert!(!is_form(&headers("application/json")) && !is_form(&HeaderMap::new()));
        let mut with_a_key = headers("application/x-www-form-urlencoded");
        with_a_key.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer mp_live_x"));
        assert!(!is_form(&with_a_key));
    }
}
