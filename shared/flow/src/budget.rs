//! What a database is given per second, and how people write it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A ceiling on rows and on transactions per second, each of which may be absent. Written `unlimited`, `2000 rows/s`,
/// `100 transactions/s` or both, with a comma between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Budget {
    /// Rows inserted, updated or deleted.
    pub rows_per_s: Option<NonZeroU32>,
    /// Transactions, whether they wrote anything or not.
    pub transactions_per_s: Option<NonZeroU32>,
}

/// A text that is no budget; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no budget: write \"unlimited\", \"2000 rows/s\", \"100 transactions/s\", or both as \"2000 rows/s, 100 \
     transactions/s\"; numbers are whole, 1 or more"
)]
pub struct BudgetError(String);

impl Budget {
    /// No ceiling.
    pub const UNLIMITED: Self = Self { rows_per_s: None, transactions_per_s: None };

    /// Whether there is no ceiling.
    pub fn is_unlimited(self) -> bool {
        self == Self::UNLIMITED
    }

    fn set(&mut self, part: &str) -> Option<()> {
        let part = part.trim();
        let digits = part.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = part.split_at(digits);
        let place = match unit.trim() {
            "rows/s" => &mut self.rows_per_s,
            "transactions/s" => &mut self.transactions_per_s,
            _ => return None,
        };
        // A unit that is written twice is a slip, and nobody knows which of the two was meant.
        place.is_none().then(|| *place = number.parse().ok())?;
        place.is_some().then_some(())
    }
}

impl FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let mut budget = Self::UNLIMITED;
        if text.trim() == "unlimited" {
            return Ok(budget);
        }
        let parts = text.split(',').try_for_each(|part| budget.set(part));
        parts.map(|()| budget).ok_or_else(|| BudgetError(text.to_owned()))
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rows_per_s, self.transactions_per_s) {
            (None, None) => f.write_str("unlimited"),
            (Some(rows), None) => write!(f, "{rows} rows/s"),
            (None, Some(transactions)) => write!(f, "{transactions} transactions/s"),
            (Some(rows), Some(transactions)) => write!(f, "{rows} rows/s, {transactions} transactions/s"),
        }
    }
}

impl TryFrom<String> for Budget {
    type Error = BudgetError;

    fn try_from(text: String) -> Result<Self, BudgetError> {
        text.parse()
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        budget.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_budget_is_refused_with_what_to_write() {
        for text in [
            "",
            "2000",
            "0 rows/s",
            "-1 rows/s",
            "1.5 rows/s",
            "2000 row/s",
            "2000 rows/s,",
            "1 rows/s, 2 rows/s",
            "9999999999 rows/s",
            "rows/s",
            "unlimited, 1 rows/s",
        ] {
            let error = text.parse::<Budget>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?} is no budget: write \"unlimited\"")), "{error}");
        }
    }

    #[test]
    fn spaces_and_the_order_of_the_two_do_not_matter() {
        let both: Budget = "100transactions/s ,  2000 rows/s".parse().unwrap();
        assert_eq!(both.to_string(), "2000 rows/s, 100 transactions/s");
        assert!(" unlimited ".parse::<Budget>().unwrap().is_unlimited());
    }

    proptest! {
        #[test]
        fn a_budget_is_read_back_as_it_was_written(rows: u32, transactions: u32) {
            let budget =
                Budget { rows_per_s: NonZeroU32::new(rows), transactions_per_s: NonZeroU32::new(transactions) };
            prop_assert_eq!(budget.to_string().parse(), Ok(budget));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Budget>();
        }
    }
}
