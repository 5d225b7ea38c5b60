//! A recorded course of rates, from a CSV file: `offset_s,rate_per_s`, in a straight line from each row to the next.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use serde::Deserialize;

use crate::shape::{Phase, Shape};

/// A month: a longer offset is a time of day or a typing error.
const LONGEST_S: f64 = 31.0 * 86_400.0;
/// More than one machine sends.
const HIGHEST_PER_S: f64 = 10_000_000.0;

/// Why a row can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// As an editor counts, the header is line 1.
    pub line: u64,
    /// In words.
    pub reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    offset_s: String,
    rate_per_s: String,
}

/// Reads a file with the header `offset_s,rate_per_s` and at least two rows. The first row's time is the start, whatever
/// its offset is.
///
/// # Errors
/// Every bad row, in order.
pub fn read_rates(file: impl Read) -> Result<Shape, Vec<BadRow>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().cloned().map_err(|error| vec![bad(1, error.to_string())])?;
    let mut rows: Vec<(f64, f64)> = Vec::new();
    let mut faults = Vec::new();
    for record in reader.records() {
        let read = match record {
            Ok(record) => row(&record, &headers, rows.last().copied())
                .map_err(|reason| bad(record.position().map_or(0, csv::Position::line), reason)),
            Err(error) => Err(bad(error.position().map_or(0, csv::Position::line), error.to_string())),
        };
        match read {
            Ok(row) => rows.push(row),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() && rows.len() < 2 {
        faults.push(bad(1, "there must be two rows or more below the header offset_s,rate_per_s".to_owned()));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let phases: Vec<Phase> = rows
        .windows(2)
        .map(|pair| Phase {
            from_per_s: pair[0].1,
            to_per_s: pair[1].1,
            lasts: Duration::from_secs_f64(pair[1].0 - pair[0].0),
        })
        .collect();
    Ok(Shape::new(phases))
}

fn bad(line: u64, reason: String) -> BadRow {
    BadRow { line, reason }
}

fn row(
    record: &csv::StringRecord,
    headers: &csv::StringRecord,
    before: Option<(f64, f64)>,
) -> Result<(f64, f64), String> {
    let raw: Raw = record.deserialize(Some(headers)).map_err(|error| match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    })?;
    let offset = number("offset_s", &raw.offset_s, LONGEST_S)?;
    let rate = number("rate_per_s", &raw.rate_per_s, HIGHEST_PER_S)?;
    match before {
        Some((last, _)) if offset <= last => Err(format!("offset_s: {offset} does not come after {last}")),
        _ => Ok((offset, rate)),
    }
}

fn number(field: &str, text: &str, most: f64) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.0..=most).contains(&number) => Ok(number),
        _ => Err(format!("{field}: {text:?} is not a number from 0 to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_go_in_straight_lines_from_row_to_row() {
        let shape = read_rates("offset_s,rate_per_s\n100,10\n102,10\n104,30\n".as_bytes()).unwrap();
        assert_eq!(shape.lasts(), Duration::from_secs(4));
        assert_eq!(shape.arrivals().count(), 20 + 40);
    }

    #[test]
    fn every_bad_row_is_named_with_its_reason() {
        let file = "offset_s,rate_per_s\n0,10\nx,1\n1,-5\n0,7\n2\n3,1\n";
        let faults = read_rates(file.as_bytes()).unwrap_err();
        let lines: Vec<u64> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [3, 4, 5, 6], "{faults:?}");
        for (fault, word) in faults.iter().zip(["offset_s", "rate_per_s", "does not come after 0", "fields"]) {
            assert!(fault.reason.contains(word), "{fault}");
        }
        assert!(read_rates("offset_s,rate_per_s\n0,1\n".as_bytes()).unwrap_err()[0].reason.contains("two rows"));
        assert!(read_rates("offset_s,rate\n0,1\n1,1\n".as_bytes()).is_err());
    }
}
