//! The lines of a product file, parsed; every bad one with its reason.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;

use model::{Currency, Money, Sku};
use serde::Deserialize;
use store::catalogue::ProductEdit;

/// Why a line can't be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    /// As an editor counts, the header is line 1.
    pub(crate) line: u64,
    pub(crate) reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// A threshold where the file names none: a handful of units is when shoppers hurry.
const LOW_THRESHOLD: i64 = 5;
const MAX_TITLE_CHARS: usize = 300;
const MAX_DESCRIPTION_CHARS: usize = 20_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    sku: String,
    title: String,
    price: String,
    on_hand: String,
    #[serde(default)]
    currency: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    collections: String,
    #[serde(default)]
    low_threshold: String,
}

/// Reads a whole file.
///
/// # Errors
/// Every bad line, in order; then no line is returned at all.
pub(crate) fn parse(file: impl Read, default_currency: Currency) -> Result<Vec<ProductEdit>, Vec<BadLine>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => return Err(vec![BadLine { line: 1, reason: error.to_string() }]),
    };
    let mut lines = Vec::new();
    let mut bad = Vec::new();
    let mut seen: HashMap<Sku, u64> = HashMap::new();
    for record in reader.records() {
        let (line, parsed) = match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                (line, product(&record, &headers, default_currency))
            }
            Err(error) => (error.position().map_or(0, csv::Position::line), Err(error.to_string())),
        };
        let unique = parsed.and_then(|product| match seen.insert(product.sku.clone(), line) {
            Some(first) => Err(format!("{} stands on line {first} already", product.sku)),
            None => Ok(product),
        });
        match unique {
            Ok(product) => lines.push(product),
            Err(reason) => bad.push(BadLine { line, reason }),
        }
    }
    if bad.is_empty() { Ok(lines) } else { Err(bad) }
}

fn product(
    record: &csv::StringRecord,
    headers: &csv::StringRecord,
    default_currency: Currency,
) -> Result<ProductEdit, String> {
    let raw: Raw = record.deserialize(Some(headers)).map_err(|error| match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    })?;
    let currency = match raw.currency.as_str() {
        "" => default_currency,
        code => Currency::from_code(code).map_err(|error| format!("currency: {error}"))?,
    };
    if raw.title.is_empty() || raw.title.chars().count() > MAX_TITLE_CHARS {
        return Err(format!("title: 1 to {MAX_TITLE_CHARS} characters"));
    }
    if raw.description.chars().count() > MAX_DESCRIPTION_CHARS {
        return Err(format!("description: at most {MAX_DESCRIPTION_CHARS} characters"));
    }
    Ok(ProductEdit {
        sku: raw.sku.parse().map_err(|error| format!("sku: {error}"))?,
        title: raw.title,
        description: raw.description,
        collections: raw
            .collections
            .split('|')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(Into::into)
            .collect(),
        price: price(&raw.price, currency)?,
        on_hand: units("on_hand", &raw.on_hand)?,
        low_threshold: if raw.low_threshold.is_empty() {
            LOW_THRESHOLD
        } else {
            units("low_threshold", &raw.low_threshold)?
        },
    })
}

fn units(field: &str, text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(units) if (0..=1_000_000_000).contains(&units) => Ok(units),
        _ => Err(format!("{field}: {text:?} is not a whole number from 0 to 1,000,000,000")),
    }
}

/// A decimal price into minor units, exactly: no more decimals than the currency has, and no binary fractions.
fn price(text: &str, currency: Currency) -> Result<Money, String> {
    let places = usize::from(currency.exponent());
    let wrong = || format!("price: {text:?} is not an amount of {currency} such as {}", Money::new(1_250, currency));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let dangling = text.contains('.') && fraction.is_empty();
    if whole.is_empty() || dangling || fraction.len() > places || !digits_only(whole) || !digits_only(fraction) {
        return Err(wrong());
    }
    let minor = format!("{whole}{fraction:0<places$}").parse::<i64>().map_err(|_| wrong())?;
    Ok(Money::new(minor, currency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eur() -> Currency {
        Currency::from_code("EUR").unwrap()
    }

    #[test]
    fn a_good_file_is_read_whole() {
        let file = "sku,title,price,on_hand,collections\nMUG,A mug,12.5,100,home|gifts\nPEN,\"Pen, blue\",1,0,\n";
        let products = parse(file.as_bytes(), eur()).unwrap();
        assert_eq!(products.len(), 2);
        assert_eq!(products[0].price, Money::new(1_250, eur()));
        assert_eq!(products[0].collections, ["home", "gifts"]);
        assert_eq!((products[1].title.as_str(), products[1].on_hand), ("Pen, blue", 0));
    }

    #[test]
    fn every_bad_line_is_named_with_its_reason() {
        let file = "sku,title,price,on_hand\n\
                    two words,x,1,1\nMUG,,1,1\nMUG,x,1.005,1\nMUG,x,1,-1\nMUG,x,1,1\nMUG,x,1,1\nPEN,x,1\n";
        let bad = parse(file.as_bytes(), eur()).unwrap_err();
        let lines: Vec<u64> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 7, 8]);
        for (bad, word) in bad.iter().zip(["sku", "title", "price", "on_hand", "stands on line 6", "fields"]) {
            assert!(bad.reason.contains(word), "{bad}");
        }
    }

    #[test]
    fn a_price_is_exact_in_its_currency() {
        let yen = Currency::from_code("JPY").unwrap();
        assert_eq!(price("1200", yen).unwrap().minor, 1_200);
        assert!(price("12.5", yen).is_err());
        assert_eq!(price("0.07", eur()).unwrap().minor, 7);
        for wrong in ["", ".5", "1.", "-1", "1e3", "1,50", "99999999999999999999"] {
            assert!(price(wrong, eur()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_column_that_nobody_knows_is_named() {
        let bad = parse("sku,title,price,on_hand,colour\nMUG,x,1,1,red\n".as_bytes(), eur()).unwrap_err();
        assert!(bad[0].reason.contains("colour"), "{}", bad[0]);
    }
}
