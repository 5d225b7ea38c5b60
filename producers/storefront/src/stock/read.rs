//! From a body to a change, with every fault of it.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use events::Quantity;
use model::{OrderId, Sku};
use serde_json::Value;
use service::fields::{self, Faults, Object, amount, kind, text};
use service::{Kind, Problem};
use store::stock::{Change, RefundLine};

/// Wrong fields.
const INVALID: Kind = Kind::new(StatusCode::BAD_REQUEST, "invalid_change", "The change is not valid");

/// Units of one request at most: above any delivery.
const MOST_UNITS: i64 = 1_000_000_000;

pub(super) fn sku(text: &str) -> Result<Sku, Problem> {
    text.parse().map_err(|error| Problem::new(INVALID, format!("the SKU in the path: {error}")))
}

/// `{"on_hand": 40}`
pub(super) fn count(sku: Sku, body: &[u8]) -> Result<Change, Problem> {
    fields::whole(body, INVALID, "on_hand", |object, faults| {
        let on_hand = object.required("on_hand", faults, |value| units(&value, 0))?;
        Some(Change::Count { sku, on_hand })
    })
}

/// `{"units": 10}`
pub(super) fn restock(sku: Sku, body: &[u8]) -> Result<Change, Problem> {
    fields::whole(body, INVALID, "units", |object, faults| {
        let units = object.required("units", faults, |value| units(&value, 1))?;
        Some(Change::Restock { sku, units })
    })
}

/// `{"give": 500}`, `{"take": 200}` or `{"take": "rest"}`
pub(super) fn allotment(sku: Sku, body: &[u8]) -> Result<Change, Problem> {
    let read = |object: &mut Object, faults: &mut Faults| {
        let give = object.optional("give", faults, |value| units(&value, 1));
        let take = object.optional("take", faults, |value| match value {
            Value::String(text) if text == "rest" => Ok(None),
            Value::String(text) => Err(format!("must be a number of units or \"rest\", not {text:?}")),
            other => units(&other, 1).map(Some),
        });
        match (give, take) {
            (Some(units), None) => Some(Change::Give { sku, units }),
            (None, Some(units)) => Some(Change::Take { sku, units }),
            _ => {
                if faults.is_empty() {
                    faults.add("", "must have either give or take");
                }
                None
            }
        }
    };
    fields::whole(body, INVALID, "give, take", read)
}

/// `{"lines": [{"sku": "MUG", "quantity": 1, "restock": true, "amount_minor": 1450}]}`
pub(super) fn refund(order: OrderId, body: &[u8]) -> Result<Change, Problem> {
    let read = |object: &mut Object, faults: &mut Faults| {
        let lines = object.required("lines", faults, |value| match value {
            Value::Array(lines) if !lines.is_empty() => Ok(lines),
            Value::Array(_) => Err("must hold at least one line".to_owned()),
            other => Err(format!("must be an array, not {}", kind(&other))),
        })?;
        let mut seen = BTreeSet::new();
        let lines: Vec<Option<RefundLine>> = lines
            .into_iter()
            .enumerate()
            .map(|(position, line)| refund_line(line, position, &mut seen, faults))
            .collect();
        let mut lines: Vec<RefundLine> = lines.into_iter().collect::<Option<_>>()?;
        // The order in which they were written is no other change.
        lines.sort_by(|one, other| one.sku.cmp(&other.sku));
        Some(Change::Refund { order, lines })
    };
    fields::whole(body, INVALID, "lines", read)
}

fn refund_line(line: Value, position: usize, seen: &mut BTreeSet<Sku>, faults: &mut Faults) -> Option<RefundLine> {
    let mut line = Object::new(line, format!("/lines/{position}"), faults)?;
    let sku: Option<Sku> = line.required("sku", faults, text);
    let quantity = line.required("quantity", faults, |value| {
        let units = units(&value, 1)?;
        u32::try_from(units)
            .ok()
            .and_then(|units| Quantity::try_from(units).ok())
            .ok_or_else(|| format!("must be a whole number from 1 to {}, not {units}", Quantity::MAX))
    });
    let restock = line.required("restock", faults, |value| {
        value.as_bool().ok_or_else(|| format!("must be true (for sale again) or false (gone), not {}", kind(&value)))
    });
    let amount_minor = line.required("amount_minor", faults, |value| amount(&value));
    let again = sku.clone().is_some_and(|sku| !seen.insert(sku));
    if again {
        faults.add(line.at("sku"), "is in an earlier line: one line for each SKU");
    }
    line.deny_the_rest("sku, quantity, restock, amount_minor", faults);
    Some(RefundLine { sku: sku?, quantity: quantity?, restock: restock?, amount_minor: amount_minor? })
}

/// Nothing is to be said: an empty body, or an empty object.
pub(super) fn nothing(body: &[u8]) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    fields::whole(body, INVALID, "none", |_, _| Some(()))
}

fn units(value: &Value, least: i64) -> Result<i64, String> {
    value.as_i64().filter(|units| (least..=MOST_UNITS).contains(units)).ok_or_else(|| {
        let found = if value.is_number() { value.to_string() } else { kind(value).to_owned() };
        format!("must be a whole number of units from {least} to {MOST_UNITS}, not {found}")
    })
}
