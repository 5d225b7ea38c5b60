//! Products written as JSON, with every fault of them.

use axum::http::StatusCode;
use model::{Currency, Money, Sku};
use serde_json::Value;
use service::fields::{self, Faults, Object, amount, kind, string, text};
use service::{Kind, Problem};
use store::catalogue::{Patch, ProductEdit};

use super::check;

/// Wrong fields.
pub(super) const INVALID: Kind = Kind::new(StatusCode::BAD_REQUEST, "invalid_product", "The product is not valid");

const FIELDS: &str = "sku, title, description, image, collections, price";
const FIELDS_OF_LINE: &str = "sku, title, description, image, collections, price, on_hand, low_threshold";

/// The body of a PUT.
pub(super) fn product(sku: Sku, body: &[u8]) -> Result<ProductEdit, Problem> {
    fields::whole(body, INVALID, FIELDS, |object, faults| {
        same_sku(object, &sku, faults);
        members(object, Some(sku), faults)
    })
}

/// The body of a PATCH: a member that is not there stays, null takes away what may be missing.
pub(super) fn patch(sku: &Sku, body: &[u8]) -> Result<Patch, Problem> {
    fields::whole(body, INVALID, FIELDS, |object, faults| {
        same_sku(object, sku, faults);
        let title = object.nullable("title", faults, |value| check::title(&string(value)?));
        let description = object.nullable("description", faults, |value| check::description(&string(value)?));
        let image = object.nullable("image", faults, |value| check::image(&string(value)?));
        let collections = object.nullable("collections", faults, collections);
        let price = object.nullable("price", faults, Ok);
        for (name, missing) in [("title", matches!(title, Some(None))), ("price", matches!(price, Some(None)))] {
            if missing {
                faults.add(object.at(name), "can't be taken away");
            }
        }
        let price = price.flatten().and_then(|price| Object::new(price, object.at("price"), faults));
        let (price_minor, currency) = price.map_or((None, None), |mut price| {
            let minor = price.optional("minor", faults, |value| amount(&value));
            let currency = price.optional("currency", faults, currency);
            price.deny_the_rest("minor, currency", faults);
            (minor, currency)
        });
        Some(Patch {
            title: title.flatten(),
            description: description.map(Option::unwrap_or_default),
            image,
            collections: collections.map(Option::unwrap_or_default),
            price_minor,
            currency,
        })
    })
}

/// A line of an import; its faults are at `/LINE/…`.
pub(super) fn line(value: Value, number: u64, faults: &mut Faults) -> Option<ProductEdit> {
    let mut object = Object::new(value, format!("/{number}"), faults)?;
    let sku: Option<Sku> = object.required("sku", faults, text);
    let units = |value: Value| check::units(value.as_i64(), &value);
    let on_hand = object.optional("on_hand", faults, units);
    let low_threshold = object.optional("low_threshold", faults, units);
    let product = members(&mut object, sku, faults);
    object.deny_the_rest(FIELDS_OF_LINE, faults);
    Some(ProductEdit { on_hand, low_threshold, ..product? })
}

fn members(object: &mut Object, sku: Option<Sku>, faults: &mut Faults) -> Option<ProductEdit> {
    let title = object.required("title", faults, |value| check::title(&string(value)?));
    let description = object.optional("description", faults, |value| check::description(&string(value)?));
    let image = object.optional("image", faults, |value| check::image(&string(value)?));
    let collections = object.optional("collections", faults, collections);
    let price = object.required("price", faults, Ok).and_then(|value| price(value, object.at("price"), faults));
    Some(ProductEdit {
        sku: sku?,
        title: title?,
        description: description.unwrap_or_default(),
        image,
        collections: collections.unwrap_or_default(),
        price: price?,
        on_hand: None,
        low_threshold: None,
    })
}

fn same_sku(object: &mut Object, sku: &Sku, faults: &mut Faults) {
    let named: Option<Sku> = object.optional("sku", faults, text);
    if named.is_some_and(|named| named != *sku) {
        faults.add(object.at("sku"), format!("is not the SKU of the path, {sku}"));
    }
}

fn price(value: Value, pointer: String, faults: &mut Faults) -> Option<Money> {
    let mut price = Object::new(value, pointer, faults)?;
    let minor = price.required("minor", faults, |value| amount(&value));
    let currency = price.required("currency", faults, currency);
    price.deny_the_rest("minor, currency", faults);
    Some(Money::new(minor?, currency?))
}

fn currency(value: Value) -> Result<Currency, String> {
    Currency::from_code(&string(value)?).map_err(|error| error.to_string())
}

fn collections(value: Value) -> Result<Vec<model::CollectionName>, String> {
    let Value::Array(names) = value else {
        return Err(format!("must be an array of names, not {}", kind(&value)));
    };
    let names: Vec<String> = names.into_iter().map(string).collect::<Result<_, _>>()?;
    check::collections(names.iter().map(String::as_str))
}
