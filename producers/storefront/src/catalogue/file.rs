//! Files of products, as `POST /v1/products:import` and `millpond import` take them: whole, or every bad line of it.
//!
//! **CSV**: a header, then a line for each product. Columns `sku`, `title` and `price` (decimal, `12.50`); where wanted
//! `currency`, `description`, `image`, `collections` (names with `|` between), `on_hand`, `low_threshold`.
//!
//! **NDJSON**: an object on each line, with `sku` and the members of a product; `on_hand` and `low_threshold` where wanted.
//! Empty lines are passed over.
//!
//! A line is the whole product: what it leaves out is empty. Stock alone is left as it is where a line has no `on_hand`.

use std::collections::HashMap;

use model::{Currency, Sku};
use serde_json::Value;
use service::FieldError;
use service::fields::Faults;
use store::catalogue::ProductEdit;

use super::{csv_lines, json};

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma separated values with a header (RFC 4180), in UTF-8.
    Csv,
    /// A JSON value on each line.
    Ndjson,
}

impl Format {
    /// The format of a media type.
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" | "application/ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
}

/// How much a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Products at most.
    pub products: usize,
    /// A line of NDJSON at most, bytes without its end: as a value in memory it may be sixteen times as large.
    pub line_bytes: usize,
}

impl Bounds {
    /// For a file that is the caller's own.
    pub const NONE: Self = Self { products: usize::MAX, line_bytes: usize::MAX };
}

/// Reads a whole file within `bounds`. CSV lines without a currency have `default_currency`.
///
/// # Errors
/// Every fault, and no product: at `/LINE` or `/LINE/FIELD`, with lines counted as an editor does.
pub fn parse(
    format: Format,
    file: &[u8],
    default_currency: Option<Currency>,
    bounds: Bounds,
) -> Result<Vec<ProductEdit>, Faults> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut faults = Faults::default();
    let mut lines = Lines { most: bounds.products, count: 0, products: Vec::new(), seen: HashMap::new() };
    match format {
        Format::Csv => {
            csv_lines::read(file, default_currency, &mut faults, |number, product, faults| {
                lines.take(number, product, faults)
            });
        }
        Format::Ndjson => {
            for (number, text) in (1..).zip(file.split(|byte| *byte == b'\n')) {
                if text.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let product = match value(text, bounds.line_bytes) {
                    Ok(value) => json::line(value, number, &mut faults),
                    Err(fault) => {
                        faults.add(format!("/{number}"), fault);
                        None
                    }
                };
                if !lines.take(number, product, &mut faults) {
                    break;
                }
            }
        }
    }
    if faults.is_empty() { Ok(lines.products) } else { Err(faults) }
}

/// The value of a line; what is wrong with it where it is none, or too long to be read.
fn value(text: &[u8], most: usize) -> Result<Value, String> {
    if text.len() > most {
        return Err(format!("is {} bytes long, and a line has at most {most}", text.len()));
    }
    serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))
}

/// A fault of a file for people: `line 7: price: …`.
pub fn describe(fault: &FieldError) -> String {
    let FieldError { pointer, detail } = fault;
    match pointer.strip_prefix('/').map(|place| place.split_once('/').unwrap_or((place, ""))) {
        None => detail.clone(),
        Some((line, "")) => format!("line {line}: {detail}"),
        Some((line, field)) => format!("line {line}: {field}: {detail}"),
    }
}

/// The products so far.
struct Lines {
    most: usize,
    /// Lines, bad ones included.
    count: usize,
    products: Vec<ProductEdit>,
    seen: HashMap<Sku, u64>,
}

impl Lines {
    /// Takes a line's product; false where there may be no more.
    fn take(&mut self, number: u64, product: Option<ProductEdit>, faults: &mut Faults) -> bool {
        self.count += 1;
        if self.count > self.most {
            faults.add("", format!("holds more than {} products: send it in parts", self.most));
            return false;
        }
        let Some(product) = product else { return true };
        match self.seen.insert(product.sku.clone(), number) {
            Some(first) => faults.add(format!("/{number}/sku"), format!("stands on line {first} already")),
            None => self.products.push(product),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use model::Money;

    use super::*;

    fn eur() -> Currency {
        Currency::from_code("EUR").unwrap()
    }

    fn csv(file: &str) -> Result<Vec<ProductEdit>, Vec<String>> {
        parse(Format::Csv, file.as_bytes(), Some(eur()), Bounds::NONE).map_err(described)
    }

    fn ndjson(file: &str) -> Result<Vec<ProductEdit>, Vec<String>> {
        parse(Format::Ndjson, file.as_bytes(), None, Bounds::NONE).map_err(described)
    }

    fn described(faults: Faults) -> Vec<String> {
        faults.finish().1.iter().map(describe).collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let lines = "\u{feff}sku,title,price,on_hand,collections,image,low_threshold\n\
                     MUG,A mug,12.5,100,home|gifts,/mug.jpg,\nPEN,\"Pen, blue\",1,,,,7\n";
        let products = csv(lines).unwrap();
        let objects = "{\"sku\": \"MUG\", \"title\": \"A mug\", \"price\": {\"minor\": 1250, \"currency\": \"EUR\"}, \
                       \"on_hand\": 100, \"collections\": [\"home\", \"gifts\"], \"image\": \"/mug.jpg\"}\r\n\n\
                       {\"sku\": \"PEN\", \"title\": \"Pen, blue\", \"price\": {\"minor\": 100, \"currency\": \"EUR\"}, \
                       \"low_threshold\": 7}";
        assert_eq!(ndjson(objects).unwrap(), products);
        assert_eq!((products[0].price, products[0].on_hand), (Money::new(1_250, eur()), Some(100)));
        assert_eq!((products[1].on_hand, products[1].low_threshold), (None, Some(7)));
    }

    #[test]
    fn every_bad_line_is_named_with_its_field_and_reason() {
        let file = "sku,title,price,on_hand\n\
                    two words,x,1,1\nMUG,,1.005,1\nMUG,x,1,-1\nMUG,x,1,1\nMUG,x,1,1\nPEN,x,1\n";
        let bad = csv(file).unwrap_err();
        let places =
            ["line 2: sku", "line 3: title", "line 3: price", "line 4: on_hand", "line 6: sku", "line 7: has 3"];
        assert_eq!(bad.len(), places.len(), "{bad:?}");
        for (bad, place) in bad.iter().zip(places) {
            assert!(bad.starts_with(place), "{bad}");
        }
        let file = "{\"sku\": \"A\", \"title\": 1, \"price\": {\"minor\": 1.5, \"currency\": \"EUR\"}}\n{\n[]\n\
                    {\"sku\": \"A\", \"title\": \"x\", \"price\": {\"minor\": 1, \"currency\": \"EUR\"}, \"colour\": \"red\"}";
        let bad = ndjson(file).unwrap_err();
        let places = [
            "line 1: title",
            "line 1: price/minor",
            "line 2: is not JSON",
            "line 3: must be an object",
            "line 4: colour",
        ];
        assert_eq!(bad.len(), places.len(), "{bad:?}");
        for (bad, place) in bad.iter().zip(places) {
            assert!(bad.starts_with(place), "{bad}");
        }
    }

    #[test]
    fn a_header_is_judged_once() {
        let bad = csv("sku,title,colour\nMUG,x,red\nPEN,x,red\n").unwrap_err();
        assert_eq!(bad.len(), 2, "{bad:?}");
        assert!(bad[0].contains("\"colour\" is not a known column") && bad[1].contains("price is missing"));
        let bad = parse(Format::Csv, b"sku,title,price\nMUG,x,1\n", None, Bounds::NONE).map_err(described).unwrap_err();
        assert!(bad[0].starts_with("line 2: currency"), "{bad:?}");
    }

    #[test]
    fn a_line_that_is_too_long_is_named_unread_and_the_others_are_judged() {
        let bounds = Bounds { line_bytes: 100, ..Bounds::NONE };
        let long = "x".repeat(101);
        let file = format!("{{\"sku\": 1}}\n{long}\n[]\n");
        let bad = parse(Format::Ndjson, file.as_bytes(), None, bounds).map_err(described).unwrap_err();
        assert!(bad.contains(&"line 2: is 101 bytes long, and a line has at most 100".to_owned()), "{bad:?}");
        assert!(bad[0].starts_with("line 1: ") && bad.last().unwrap().starts_with("line 3: must be an object"));
    }

    #[test]
    fn of_a_header_of_a_thousand_wrong_columns_a_hundred_are_named() {
        let header = format!("sku,title,price{}\n", ",a".repeat(1_000));
        let (sentence, named) = parse(Format::Csv, header.as_bytes(), None, Bounds::NONE).unwrap_err().finish();
        assert_eq!((sentence.as_str(), named.len()), ("1000 fields are wrong; the first 100 are named", 100));
    }

    #[test]
    fn a_file_with_too_many_products_is_refused_whole() {
        let lines = "sku,title,price\nA,x,1\nB,x,1\nC,x,1\n";
        let read = |products| {
            let bounds = Bounds { products, ..Bounds::NONE };
            parse(Format::Csv, lines.as_bytes(), Some(eur()), bounds).map_err(described)
        };
        assert_eq!(read(3).unwrap().len(), 3);
        assert_eq!(read(2).unwrap_err(), ["holds more than 2 products: send it in parts"]);
    }
}
