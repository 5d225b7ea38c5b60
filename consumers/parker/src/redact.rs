//! A message as it may be shown to an operator: its shape and its field names, and of its values those that name no person.
//! Pure.
//!
//! What is not known to be harmless is masked: a new field of a shop, a foreign message, a name in the wrong place. A value is
//! shown only below a name on a closed list, and only where it has the form that such a value has.

use serde_json::{Map, Value};

/// Names whose values are about the shop and the machinery, never about a customer.
const HARMLESS: [&str; 33] = [
    "accepted_at",
    "band",
    "by",
    "client_time",
    "code",
    "collections",
    "confirmed_at",
    "currency",
    "discount_minor",
    "id",
    "kind",
    "market",
    "occurred_at",
    "order_id",
    "pricing",
    "quantity",
    "received_at",
    "region",
    "rejected_at",
    "requested",
    "available",
    "shipping_minor",
    "shown_at",
    "sku",
    "skus",
    "source",
    "state",
    "tax_minor",
    "total_minor",
    "type",
    "unit_price_minor",
    "version",
    "events_count",
];

/// Bodies above this many bytes are not read for a sample.
pub const MAX_BODY: usize = 1 << 20;
const MAX_DEPTH: usize = 8;
const MAX_FIELDS: usize = 50;
const MAX_ITEMS: usize = 3;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 64;

/// The redacted sample of a body: JSON with its field names, its lists cut after three items, and values masked as
/// `*** (12 characters)`. What is no JSON is described, not shown.
pub fn sample(body: &[u8]) -> Value {
    if body.len() > MAX_BODY {
        return described(body, "too large for a sample");
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => redacted("", &value, 0),
        Err(_) if std::str::from_utf8(body).is_ok() => described(body, "text that is not JSON"),
        Err(_) => described(body, "not text"),
    }
}

/// The headers of a message: those of Millpond as they are, of the others the names alone.
pub fn headers(headers: &Map<String, Value>) -> Value {
    let shown = headers.iter().take(MAX_FIELDS).enumerate().map(|(place, (name, value))| {
        let ours = name.starts_with("x-mp-") && name != model::headers::REASON;
        let value = match value.as_str() {
            Some(text) if ours && is_plain(text) => Value::from(text),
            _ => masked(value),
        };
        (shown_name(place, name), value)
    });
    Value::Object(shown.collect())
}

fn described(body: &[u8], what: &str) -> Value {
    serde_json::json!({ "(body)": format!("{} bytes, {what}", body.len()) })
}

fn redacted(name: &str, value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(_) | Value::Array(_) if depth >= MAX_DEPTH => Value::from("…"),
        Value::Object(fields) => {
            let mut shown: Map<String, Value> = fields
                .iter()
                .take(MAX_FIELDS)
                .enumerate()
                .map(|(place, (name, value))| (shown_name(place, name), redacted(name, value, depth + 1)))
                .collect();
            if let Some(more) = fields.len().checked_sub(MAX_FIELDS).filter(|more| *more > 0) {
                shown.insert("…".to_owned(), Value::from(format!("{more} more fields")));
            }
            Value::Object(shown)
        }
        Value::Array(items) => {
            let mut shown: Vec<Value> =
                items.iter().take(MAX_ITEMS).map(|item| redacted(name, item, depth + 1)).collect();
            if let Some(more) = items.len().checked_sub(MAX_ITEMS).filter(|more| *more > 0) {
                shown.push(Value::from(format!("… {more} more")));
            }
            Value::Array(shown)
        }
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Number(_) if HARMLESS.contains(&name) => value.clone(),
        Value::String(text) if HARMLESS.contains(&name) && is_plain(text) => value.clone(),
        Value::Number(_) | Value::String(_) => masked(value),
    }
}

/// As ids, codes and times are written: no blank, no `@`, not long.
fn is_plain(text: &str) -> bool {
    text.len() <= MAX_VALUE
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':' | '+'))
}

/// A name of a field is a word; where data was used for names, it is masked like data. The place keeps two of them apart.
fn shown_name(place: usize, name: &str) -> String {
    let is_word = name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'));
    if is_word { name.to_owned() } else { format!("(name {}, of {} characters)", place + 1, name.chars().count()) }
}

fn masked(value: &Value) -> Value {
    Value::from(match value {
        Value::String(text) => format!("*** ({} characters)", text.chars().count()),
        _ => "*** (a number)".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_shows_what_it_is_and_not_whose() {
        let body = json!({
            "id": "0199c5d2-7b3e-7c51-a6c1-0f3a5b6c7d8e", "type": "order.placed", "version": 1,
            "data": {
                "market": "main", "customer": "ada@example.org", "reference": "R-17", "idempotency_key": "cart-ada",
                "lines": [{"sku": "MUG", "quantity": 2, "unit_price_minor": 1450}], "total_minor": 2900,
                "attribution": {"anonymous_id": "v-1"}, "phone": 491_701_234_567_u64, "gift": true,
            },
        });
        assert_eq!(
            sample(body.to_string().as_bytes()),
            json!({
                "id": "0199c5d2-7b3e-7c51-a6c1-0f3a5b6c7d8e", "type": "order.placed", "version": 1,
                "data": {
                    "market": "main", "customer": "*** (15 characters)", "reference": "*** (4 characters)",
                    "idempotency_key": "*** (8 characters)",
                    "lines": [{"sku": "MUG", "quantity": 2, "unit_price_minor": 1450}], "total_minor": 2900,
                    "attribution": {"anonymous_id": "*** (3 characters)"}, "phone": "*** (a number)", "gift": true,
                },
            })
        );
    }

    #[test]
    fn a_harmless_name_does_not_vouch_for_a_value_of_another_form() {
        let body = json!({"sku": "ada@example.org", "id": "Ada Lovelace", "type": "x".repeat(65)});
        let shown = sample(body.to_string().as_bytes()).to_string();
        assert!(!shown.contains("ada") && !shown.contains("Ada") && !shown.contains("xxx"), "{shown}");
    }

    #[test]
    fn what_is_no_json_is_described_and_not_shown() {
        assert_eq!(sample(b"{\"customer\": \"Ada"), json!({"(body)": "17 bytes, text that is not JSON"}));
        assert_eq!(sample(&[0xff, 0xfe]), json!({"(body)": "2 bytes, not text"}));
        assert_eq!(sample(&vec![b' '; MAX_BODY + 1])["(body)"], "1048577 bytes, too large for a sample");
    }

    #[test]
    fn of_foreign_headers_the_names_are_shown() {
        let all = json!({"x-mp-attempt": "3", "x-mp-reason": "Ada", "cookie": "secret", "ada@example.org": "1"});
        let shown = headers(all.as_object().unwrap());
        let expected = json!({
            "x-mp-attempt": "3", "x-mp-reason": "*** (3 characters)", "cookie": "*** (6 characters)",
            "(name 1, of 15 characters)": "*** (1 characters)",
        });
        assert_eq!(shown, expected);
    }

    /// Something that must not be seen.
    const SECRET: &str = "Zq7";

    fn secrets() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "[a-z]{0,5}".prop_map(|around| Value::from(format!("{around}{SECRET} {around}"))),
            "[a-z]{0,5}".prop_map(|around| Value::from(format!("{SECRET}{around}@x"))),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(12, 200, 8, |inner| {
            let name = prop_oneof![
                prop::sample::select(HARMLESS.to_vec()).prop_map(str::to_owned),
                "[a-z_]{1,10}",
                "[a-z]{0,5}".prop_map(|around| format!("{around} {SECRET}")),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(name, inner, 0..8).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn names(value: &Value, depth: usize, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) if depth < MAX_DEPTH => {
                for (name, value) in fields {
                    found.push(name.clone());
                    names(value, depth + 1, found);
                }
            }
            Value::Array(items) if depth < MAX_DEPTH => {
                items.iter().take(MAX_ITEMS).for_each(|item| names(item, depth + 1, found));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn no_value_with_a_blank_or_an_at_is_ever_shown_and_no_plain_field_name_is_lost(body in secrets()) {
            let shown = sample(body.to_string().as_bytes());
            prop_assert!(!shown.to_string().contains(SECRET), "{}", shown);
            let (mut before, mut after) = (Vec::new(), Vec::new());
            names(&body, 0, &mut before);
            names(&shown, 0, &mut after);
            for name in before.iter().filter(|name| !name.contains(' ')) {
                prop_assert!(after.contains(name), "{} is gone from {}", name, shown);
            }
        }

        #[test]
        fn a_value_below_any_other_name_is_masked(name in "[a-z_]{1,20}", value in "[A-Za-z0-9]{4,64}", number: u64) {
            prop_assume!(!HARMLESS.contains(&name.as_str()) && !name.contains(&value));
            let shown = sample(json!({name.clone(): value.clone(), "n": {name: number}}).to_string().as_bytes()).to_string();
            prop_assert!(!shown.contains(&format!("\"{value}\"")), "{}", shown);
            prop_assert!(!shown.contains(&format!(":{number}")), "{}", shown);
        }

        #[test]
        fn any_bytes_have_a_sample_of_bounded_size(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert!(sample(&body).to_string().len() <= 20 * body.len() + 100);
        }
    }
}
