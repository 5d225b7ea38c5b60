//! From JSON to an order, with every fault of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{Attribution, OrderLine, OrderPlaced, Pricing, Quantity};
use model::{Currency, CustomerRef, Fingerprint, IdempotencyKey, OrderId, RegionNumber, Sku};
use serde_json::Value;
use service::FieldError;
use service::fields::{Faults, Object, amount, kind, short_text, string, text};
use service::keys::{Entry, KeyKind};

const FIELDS: &str = "currency, lines, shipping_minor, tax_minor, discount_minor, total_minor, reference, customer, \
                      attribution";
const LINE_FIELDS: &str = "sku, quantity, unit_price_minor";
const ATTRIBUTION_FIELDS: &str = "campaign, anonymous_id";

/// What the caller's key and the configuration ask of an order.
pub(super) struct Terms {
    pub(super) currency: Currency,
    pub(super) kind: KeyKind,
    pub(super) max_lines: usize,
}

/// A valid order, before it has an identity.
pub(super) struct Order {
    kind: KeyKind,
    currency: Currency,
    lines: Vec<OrderLine>,
    amounts: Amounts,
    reference: Option<String>,
    customer: Option<CustomerRef>,
    attribution: Attribution,
}

#[derive(Clone, Copy)]
struct Amounts {
    shipping: i64,
    tax: i64,
    discount: i64,
    total: i64,
}

/// Reads an order.
///
/// # Errors
/// One sentence, and every wrong field.
pub(super) fn order(value: Value, terms: &Terms) -> Result<Order, (String, Vec<FieldError>)> {
    let mut faults = Faults::default();
    match read(value, terms, &mut faults) {
        Some(order) if faults.is_empty() => Ok(order),
        _ => Err(faults.finish()),
    }
}

fn read(value: Value, terms: &Terms, faults: &mut Faults) -> Option<Order> {
    let mut body = Object::new(value, String::new(), faults)?;
    let currency = body.required("currency", faults, |value| currency(value, terms.currency));
    let lines =
        body.required("lines", faults, |value| array(value, terms.max_lines)).map(|lines| read_lines(lines, faults));
    let shipping = body.optional("shipping_minor", faults, |value| amount(&value));
    let tax = body.optional("tax_minor", faults, |value| amount(&value));
    let discount = body.optional("discount_minor", faults, |value| amount(&value));
    let total = body.required("total_minor", faults, |value| amount(&value));
    let reference = body.optional("reference", faults, short_text(128));
    let customer = body.optional("customer", faults, text);
    let attribution =
        body.take("attribution").map_or_else(Attribution::default, |value| read_attribution(value, faults));
    body.deny_the_rest(FIELDS, faults);

    let amounts = Amounts {
        shipping: shipping.unwrap_or(0),
        tax: tax.unwrap_or(0),
        discount: discount.unwrap_or(0),
        total: total.unwrap_or(0),
    };
    if terms.kind == KeyKind::Browser {
        deny_computed_amounts(amounts, faults);
    }
    // A sum of what is wrong says nothing.
    let lines = lines.flatten().filter(|_| faults.is_empty())?;
    check_total(&lines, amounts, faults);
    Some(Order { kind: terms.kind, currency: currency?, lines, amounts, reference, customer, attribution })
}

fn currency(value: Value, of_the_market: Currency) -> Result<Currency, String> {
    let code = string(value)?;
    let currency = Currency::from_code(&code).map_err(|error| error.to_string())?;
    if currency == of_the_market {
        Ok(currency)
    } else {
        Err(format!("must be {of_the_market}, the currency of this API key's market, not {currency}"))
    }
}

fn array(value: Value, max: usize) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(lines) if (1..=max).contains(&lines.len()) => Ok(lines),
        Value::Array(lines) => Err(format!("must hold 1 to {max} lines, not {}", lines.len())),
        other => Err(format!("must be an array, not {}", kind(&other))),
    }
}

/// All lines, or `None` where one is wrong.
fn read_lines(lines: Vec<Value>, faults: &mut Faults) -> Option<Vec<OrderLine>> {
    let mut units: BTreeMap<Sku, u32> = BTreeMap::new();
    let read: Vec<Option<OrderLine>> = lines
        .into_iter()
        .enumerate()
        .map(|(position, line)| {
            let mut line = Object::new(line, format!("/lines/{position}"), faults)?;
            let sku: Option<Sku> = line.required("sku", faults, text);
            let quantity = line.required("quantity", faults, |value| quantity(&value));
            let price = line.required("unit_price_minor", faults, |value| amount(&value));
            line.deny_the_rest(LINE_FIELDS, faults);
            let (sku, quantity) = (sku?, quantity?);
            // Checkout sells the lines of one SKU together, so they share its bound: a 202 may not end there.
            let together = units.entry(sku.clone()).or_default();
            *together = together.saturating_add(quantity.get());
            if *together > Quantity::MAX {
                let (most, pointer) = (Quantity::MAX, format!("/lines/{position}/quantity"));
                faults.add(pointer, format!("must leave all lines of {sku} at {most} units or fewer, not {together}"));
            }
            Some(OrderLine { sku, quantity, unit_price_minor: price? })
        })
        .collect();
    read.into_iter().collect()
}

fn quantity(value: &Value) -> Result<Quantity, String> {
    value
        .as_u64()
        .and_then(|units| u32::try_from(units).ok())
        .and_then(|units| Quantity::try_from(units).ok())
        .ok_or_else(|| {
            let found = if value.is_number() { value.to_string() } else { kind(value).to_owned() };
            format!("must be a whole number from 1 to {}, not {found}", Quantity::MAX)
        })
}

fn read_attribution(value: Value, faults: &mut Faults) -> Attribution {
    let Some(mut object) = Object::new(value, "/attribution".to_owned(), faults) else {
        return Attribution::default();
    };
    let campaign = object.optional("campaign", faults, short_text(256));
    let anonymous_id = object.optional("anonymous_id", faults, short_text(256));
    object.deny_the_rest(ATTRIBUTION_FIELDS, faults);
    Attribution { campaign, anonymous_id }
}

/// Nothing could hold a browser's word on these against anything.
fn deny_computed_amounts(amounts: Amounts, faults: &mut Faults) {
    for (name, minor) in
        [("/shipping_minor", amounts.shipping), ("/tax_minor", amounts.tax), ("/discount_minor", amounts.discount)]
    {
        if minor != 0 {
            faults.add(name, "can't be set with a browser key: post such orders from a server");
        }
    }
}

fn check_total(lines: &[OrderLine], amounts: Amounts, faults: &mut Faults) {
    let computed = lines
        .iter()
        .try_fold(0_i64, |sum, line| {
            let line = line.unit_price_minor.checked_mul(i64::from(line.quantity.get()))?;
            sum.checked_add(line)
        })
        .and_then(|sum| sum.checked_add(amounts.shipping)?.checked_add(amounts.tax))
        .and_then(|sum| sum.checked_sub(amounts.discount));
    match computed {
        None => faults.add("/total_minor", "the sum exceeds what can be counted in minor units"),
        Some(sum) if sum < 0 => {
            let detail = format!("takes off more than there is to pay: the total would be {sum}");
            faults.add("/discount_minor", detail);
        }
        Some(sum) if sum != amounts.total => {
            let detail = format!("must be lines + shipping + tax - discount = {sum}, not {}", amounts.total);
            faults.add("/total_minor", detail);
        }
        Some(_) => {}
    }
}

impl Order {
    /// The order with its identity, as it is published.
    pub(super) fn placed(
        self,
        order_id: OrderId,
        region: RegionNumber,
        key: &Entry,
        idempotency_key: IdempotencyKey,
        accepted_at: DateTime<Utc>,
    ) -> OrderPlaced {
        let pricing = match self.kind {
            KeyKind::Server => Pricing::Shop,
            KeyKind::Browser => Pricing::Catalogue { shown_at: accepted_at },
        };
        OrderPlaced {
            order_id,
            market: key.market.clone(),
            region,
            idempotency_key,
            fingerprint: self.fingerprint(),
            accepted_at,
            reference: self.reference,
            customer: self.customer,
            currency: self.currency,
            lines: self.lines,
            shipping_minor: self.amounts.shipping,
            tax_minor: self.amounts.tax,
            discount_minor: self.amounts.discount,
            total_minor: self.amounts.total,
            pricing,
            attribution: self.attribution,
        }
    }

    /// Over what makes it this order and no other. Not the attribution: a customer who reloads the page may come by
    /// another link, and still means the same order. Lines count in the order in which they were posted.
    fn fingerprint(&self) -> Fingerprint {
        let number = |value: i64| value.to_be_bytes().to_vec();
        // An absent text and an empty one can't be confused: an empty one is refused.
        let optional = |text: Option<&str>| text.unwrap_or("").as_bytes().to_vec();
        let mut fields = vec![
            self.currency.code().as_bytes().to_vec(),
            number(self.amounts.shipping),
            number(self.amounts.tax),
            number(self.amounts.discount),
            number(self.amounts.total),
            optional(self.reference.as_deref()),
            optional(self.customer.as_ref().map(CustomerRef::as_str)),
        ];
        for line in &self.lines {
            fields.push(line.sku.as_str().as_bytes().to_vec());
            fields.push(number(i64::from(line.quantity.get())));
            fields.push(number(line.unit_price_minor));
        }
        Fingerprint::of(fields.iter().map(Vec::as_slice))
    }
}
