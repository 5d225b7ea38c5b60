//! A place in the write-ahead log.

use std::fmt;

use sea_orm::{DbErr, QueryResult};

/// A place in `PostgreSQL`'s write-ahead log (LSN): whoever has replayed it has everything that was committed before it.
/// Positions of different servers, or of timelines that parted, can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// SQL for `lsn` as [`Self::read`] takes it.
    pub(super) fn sql(lsn: &str) -> String {
        format!("({lsn} - '0/0'::pg_lsn)::bigint")
    }

    /// The column `name`; `None` where it is null.
    pub(super) fn read(row: &QueryResult, name: &str) -> Result<Option<Self>, DbErr> {
        let bytes: Option<i64> = row.try_get("", name)?;
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()).map(Self))
    }

    /// Bytes of log from `earlier` to here; 0 where it is not earlier.
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl From<u64> for Position {
    /// From the number of bytes since the log began.
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Position {
    /// As `PostgreSQL` writes it: `16/B374D848`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_written_as_the_server_writes_it() {
        assert_eq!(Position::from(0x16_b374_d848).to_string(), "16/B374D848");
        assert_eq!(Position::from(0).to_string(), "0/0");
    }
}
