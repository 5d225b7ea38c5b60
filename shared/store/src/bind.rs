//! Raw SQL with bound values, and the arrays that `UNNEST` takes.
//!
//! ```text
//! // PostgreSQL: any number of rows in one statement with three binds.
//! let sql = "INSERT INTO stock (region, sku, on_hand) SELECT * FROM UNNEST($1::int[], $2::text[], $3::bigint[])";
//! tx.execute_raw(database.statement(sql, [bind::ints(regions), bind::texts(skus), bind::bigints(units)])).await?;
//!
//! // SQLite: chunks of VALUES.
//! for chunk in rows.chunks(bind::sqlite_chunk(3)) {
//!     let sql = format!("INSERT INTO stock (region, sku, on_hand) VALUES {}", bind::values_sql(chunk.len(), 3));
//!     tx.execute_raw(database.statement(&sql, chunk.iter().flat_map(row_binds))).await?;
//! }
//! ```

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{ArrayType, ValueType};
use sea_orm::{DbBackend, Statement, Value};
use uuid::Uuid;

use crate::config::Backend;
use crate::database::Database;

/// Binds of one SQLite statement that are always allowed: `SQLITE_MAX_VARIABLE_NUMBER` is 32,766 since 3.32, and longer
/// statements stop being faster long before.
const SQLITE_BINDS: usize = 8_000;

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
