//! Products written as lines of CSV, with every fault of them.

use std::collections::HashMap;

use model::{CollectionName, Currency, Money, Sku};
use service::fields::{Faults, MAX_AMOUNT};
use store::catalogue::ProductEdit;

use super::check;

const REQUIRED: [&str; 3] = ["sku", "title", "price"];
const OPTIONAL: [&str; 6] = ["description", "image", "collections", "currency", "on_hand", "low_threshold"];

/// Calls `each` with every line's number and its product; none where it has a fault.
pub(super) fn read(
    file: &[u8],
    default_currency: Option<Currency>,
    faults: &mut Faults,
    mut each: impl FnMut(u64, Option<ProductEdit>, &mut Faults) -> bool,
) {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let columns = match reader.headers() {
        Ok(headers) => columns(headers, faults),
        Err(error) => {
            faults.add("/1", error.to_string());
            None
        }
    };
    let Some(columns) = columns else { return };
    for record in reader.records() {
        let (number, product) = match record {
            Ok(record) => {
                let number = record.position().map_or(0, csv::Position::line);
                let mut line = Line { columns: &columns, record: &record, number, faults: &mut *faults };
                (number, line.product(default_currency))
            }
            Err(error) => {
                let number = error.position().map_or(0, csv::Position::line);
                faults.add(format!("/{number}"), reason(&error));
                (number, None)
            }
        };
        if !each(number, product, faults) {
            return;
        }
    }
}

/// Where each column is; none where the header is at fault.
fn columns(headers: &csv::StringRecord, faults: &mut Faults) -> Option<HashMap<String, usize>> {
    let mut columns = HashMap::new();
    let mut good = true;
    for (at, name) in headers.iter().enumerate() {
        let known = REQUIRED.contains(&name) || OPTIONAL.contains(&name);
        if !known || columns.insert(name.to_owned(), at).is_some() {
            let what = if known { "stands here twice" } else { "is not a known column" };
            faults.add_with("/1", || {
                let known = REQUIRED.iter().chain(&OPTIONAL).copied().collect::<Vec<_>>().join(", ");
                format!("{name:?} {what}; known are {known}")
            });
            good = false;
        }
    }
    for name in REQUIRED {
        if !columns.contains_key(name) {
            faults.add("/1", format!("the column {name} is missing"));
            good = false;
        }
    }
    good.then_some(columns)
}

struct Line<'a> {
    columns: &'a HashMap<String, usize>,
    record: &'a csv::StringRecord,
    number: u64,
    faults: &'a mut Faults,
}

impl Line<'_> {
    fn product(&mut self, default_currency: Option<Currency>) -> Option<ProductEdit> {
        let sku = self.required("sku", |text| text.parse::<Sku>().map_err(|error| error.to_string()));
        let title = self.required("title", check::title);
        let description = self.optional("description", check::description);
        let image = self.optional("image", check::image);
        let collections = self.optional("collections", collections);
        let code = |text: &str| Currency::from_code(text).map_err(|error| error.to_string());
        let currency = self.optional("currency", code).and_then(|named| {
            let currency = named.or(default_currency);
            if currency.is_none() {
                self.fault("currency", "is missing: name it in the line, or one for all lines that name none");
            }
            currency
        });
        let price = currency.and_then(|currency| self.required("price", |text| price(text, currency)));
        let on_hand = self.optional("on_hand", units);
        let low_threshold = self.optional("low_threshold", units);
        Some(ProductEdit {
            sku: sku?,
            title: title?,
            description: description?.unwrap_or_default(),
            image: image?,
            collections: collections?.unwrap_or_default(),
            price: price?,
            on_hand: on_hand?,
            low_threshold: low_threshold?,
        })
    }

    fn text(&self, name: &str) -> &str {
        self.columns.get(name).and_then(|at| self.record.get(*at)).unwrap_or_default()
    }

    fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.add(format!("/{}/{name}", self.number), detail);
    }

    fn required<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        read(self.text(name)).map_err(|detail| self.fault(name, detail)).ok()
    }

    /// None for a fault, none in it for an empty field.
    #[expect(clippy::option_option, reason = "a field that is missing is no field that is wrong")]
    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<Option<T>> {
        if self.text(name).is_empty() {
            return Some(None);
        }
        self.required(name, read).map(Some)
    }
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} fields, and the header {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}

fn collections(text: &str) -> Result<Vec<CollectionName>, String> {
    check::collections(text.split('|').map(str::trim).filter(|name| !name.is_empty()))
}

fn units(text: &str) -> Result<i64, String> {
    check::units(text.parse().ok(), &format_args!("{text:?}"))
}

/// A decimal price into minor units, exactly: no more decimals than the currency has, and no binary fractions.
fn price(text: &str, currency: Currency) -> Result<Money, String> {
    let places = usize::from(currency.exponent());
    let wrong = || format!("{text:?} is not an amount of {currency} such as {}", Money::new(1_250, currency));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let dangling = text.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || fraction.len() > places || !digits_only(whole) || !digits_only(fraction) {
        return Err(wrong());
    }
    let minor = format!("{whole}{fraction:0<places$}").parse::<i64>().map_err(|_| wrong())?;
    if minor > MAX_AMOUNT { Err(wrong()) } else { Ok(Money::new(minor, currency)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_exact_in_its_currency() {
        let (yen, eur) = (Currency::from_code("JPY").unwrap(), Currency::from_code("EUR").unwrap());
        assert_eq!(price("1200", yen).unwrap().minor, 1_200);
        assert!(price("12.5", yen).is_err());
        assert_eq!(price("0.07", eur).unwrap().minor, 7);
        for wrong in ["", ".5", "1.", "-1", "1e3", "1,50", "99999999999999999999", "10000000000000.01"] {
            assert!(price(wrong, eur).is_err(), "{wrong}");
        }
    }
}
