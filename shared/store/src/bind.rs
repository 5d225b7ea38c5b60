//! Raw SQL with bound values, and the arrays that `UNNEST` takes.
//!
//! ```text
//! // PostgreSQL: any number of rows in one statement with three binds.
//! let sql = "INSERT INTO stock (region, sku, on_hand) SELECT * FROM UNNEST($1::int[], $2::text[], $3::bigint[])";
//! tx.execute_raw(database.statement(sql, [bind::ints(regions), bind::texts(skus), bind::bigints(units)])).await?;
//!
//! // SQLite: chunks of VALUES.
//! for cut in bind::sqlite_cuts(rows.len(), 3) {
//!     let sql = format!("INSERT INTO stock (region, sku, on_hand) VALUES {}", bind::values_sql(cut.len(), 3));
//!     tx.execute_raw(database.statement(&sql, rows[cut].iter().flat_map(row_binds))).await?;
//! }
//! ```

use std::ops::Range;

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{ArrayType, ValueType};
use sea_orm::{DbBackend, Statement, Value};
use uuid::Uuid;

use crate::config::Backend;
use crate::database::Database;

/// Binds of one SQLite statement that are always allowed: `SQLITE_MAX_VARIABLE_NUMBER` is 32,766 since 3.32, and longer
/// statements stop being faster long before.
const SQLITE_BINDS: usize = 8_000;

/// Rows of one statement that [`sqlite_cuts`] makes: a batch of checkout is cut into a few.
const SQLITE_ROWS: usize = 512;

impl Database {
    /// `sql` with `values` for its placeholders `$1`, `$2`, … (SQLite knows them too, and `?`).
    pub fn statement(&self, sql: impl Into<String>, values: impl IntoIterator<Item = Value>) -> Statement {
        let backend = match self.backend() {
            Backend::Postgres => DbBackend::Postgres,
            Backend::Sqlite => DbBackend::Sqlite,
        };
        Statement::from_sql_and_values(backend, sql, values)
    }
}

/// How many rows of `columns` binds fit into one statement of SQLite.
pub fn sqlite_chunk(columns: usize) -> usize {
    (SQLITE_BINDS / columns.max(1)).max(1)
}

/// `0..rows` cut into the largest powers of two first, none above 512 and none longer than [`sqlite_chunk`]. A text that SQLite
/// has compiled is kept by the connection, so a statement should have few of them: batches of all sizes share these ten.
pub fn sqlite_cuts(rows: usize, columns: usize) -> impl Iterator<Item = Range<usize>> {
    let most = sqlite_chunk(columns).min(SQLITE_ROWS);
    let mut start = 0;
    std::iter::from_fn(move || {
        let left: usize = (rows - start).min(most);
        // None where nothing is left.
        let length = 1_usize << left.checked_ilog2()?;
        let cut = start..start + length;
        start = cut.end;
        Some(cut)
    })
}

/// `(?,?),(?,?)` for `rows` rows of `columns` values.
pub fn values_sql(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    vec![row; rows].join(",")
}

fn array<T: Into<Value>>(kind: ArrayType, items: impl IntoIterator<Item = T>) -> Value {
    Value::Array(kind, Some(Box::new(items.into_iter().map(Into::into).collect())))
}

macro_rules! array_of {
    ($(#[$meta:meta])* $name:ident, $nullable:ident, $item:ty, $sql:literal) => {
        #[doc = concat!("An array to bind as `", $sql, "[]`.")]
        pub fn $name(items: impl IntoIterator<Item = $item>) -> Value {
            array(<$item as ValueType>::array_type(), items)
        }

        #[doc = concat!("An array to bind as `", $sql, "[]`, with nulls.")]
        pub fn $nullable(items: impl IntoIterator<Item = Option<$item>>) -> Value {
            array(<$item as ValueType>::array_type(), items)
        }
    };
}

array_of!(uuids, nullable_uuids, Uuid, "uuid");
array_of!(texts, nullable_texts, String, "text");
array_of!(ints, nullable_ints, i32, "int");
array_of!(bigints, nullable_bigints, i64, "bigint");
array_of!(bools, nullable_bools, bool, "bool");
array_of!(times, nullable_times, DateTime<Utc>, "timestamptz");
array_of!(bytes, nullable_bytes, Vec<u8>, "bytea");
array_of!(jsons, nullable_jsons, serde_json::Value, "jsonb");

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(rows: usize, columns: usize) -> Vec<usize> {
        sqlite_cuts(rows, columns).map(|cut| cut.len()).collect()
    }

    #[test]
    fn rows_are_cut_into_powers_of_two_that_one_statement_takes() {
        assert_eq!(lengths(500, 14), [256, 128, 64, 32, 16, 4]);
        assert_eq!(lengths(1_100, 2), [512, 512, 64, 8, 4]);
        assert_eq!(lengths(300, 100), [64, 64, 64, 64, 32, 8, 4], "80 rows of 100 fit");
        assert_eq!(lengths(3, 8_001), [1, 1, 1], "one row always goes");
        assert!(lengths(0, 3).is_empty());
    }

    #[test]
    fn cuts_cover_every_row_once_and_in_order() {
        for rows in 0..1_300 {
            let covered: Vec<usize> = sqlite_cuts(rows, 14).flatten().collect();
            assert_eq!(covered, (0..rows).collect::<Vec<_>>());
        }
    }
}
