//! Money in integer minor units.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An ISO 4217 currency, written by its code (`EUR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The currency of an ISO 4217 code, in capitals.
    ///
    /// # Errors
    /// [`MoneyError::UnknownCurrency`] for any other text.
    pub fn from_code(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code)
            .map(Self)
            .ok_or_else(|| MoneyError::UnknownCurrency(code.chars().take(16).collect()))
    }

    /// The ISO 4217 code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal places the minor unit has: 2 for EUR, 0 for JPY, 3 for KWD (ISO 4217's exponent).
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or(0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl JsonSchema for Currency {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Currency".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$", "description": "an ISO 4217 code" })
    }
}

/// Why a sum can't be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// More than an `i64` of minor units.
    #[error("the sum exceeds what can be counted in minor units")]
    Overflow,
    /// Two amounts of different currencies.
    #[error("{0} can't be added to {1}")]
    CurrencyMismatch(Currency, Currency),
    /// Not an ISO 4217 code.
    #[error("{0:?} is not an ISO 4217 currency code such as EUR")]
    UnknownCurrency(String),
}

/// An amount in minor units (cents for EUR, yen for JPY) of one currency. Negative amounts are discounts and refunds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Minor units.
    pub minor: i64,
    /// The currency they are of.
    pub currency: Currency,
}

impl Money {
    /// `minor` units of `currency`.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::CurrencyMismatch`] or [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(other.currency, self.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// `quantity` times this amount.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn checked_mul(self, quantity: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(quantity)).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = usize::from(self.currency.exponent());
        let unit = 10_u64.pow(u32::from(self.currency.exponent()));
        let sign = if self.minor < 0 { "-" } else { "" };
        let magnitude = self.minor.unsigned_abs();
        if places == 0 {
            write!(f, "{sign}{magnitude} {}", self.currency)
        } else {
            write!(f, "{sign}{}.{:0places$} {}", magnitude / unit, magnitude % unit, self.currency)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_with_its_currencys_own_decimals() {
        let show = |minor, code| Money::new(minor, Currency::from_code(code).unwrap()).to_string();
        assert_eq!(show(-1_205, "EUR"), "-12.05 EUR");
        assert_eq!(show(1_205, "JPY"), "1205 JPY");
        assert_eq!(show(1_205, "KWD"), "1.205 KWD");
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error_and_not_a_wrapped_number() {
        let eur = Currency::from_code("EUR").unwrap();
        assert_eq!(Money::new(i64::MAX, eur).checked_add(Money::new(1, eur)), Err(MoneyError::Overflow));
        assert_eq!(Money::new(i64::MAX / 2, eur).checked_mul(3), Err(MoneyError::Overflow));
    }
}
