//! Rows on their way into a statement, so that the rest of the SQL is the same on both databases: the statement reads
//! them from `r`. PostgreSQL gets each column as one array (`UNNEST`: one plan whatever the batch's size, and no limit of
//! 65,535 binds); SQLite gets `VALUES`, in chunks of few sizes, so that it compiles few texts ([`bind::sqlite_cuts`]).
//!
//! An insert that fails ends its transaction on PostgreSQL, so nobody goes on after one. SQLite would undo the statement alone,
//! and for that keep a second copy of each page that it changes: there it is an `INSERT OR FAIL`, which undoes nothing.

use sea_orm::sea_query::{ArrayType, ValueType};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

use crate::bind;

/// A table of values, by columns.
#[derive(Default)]
pub struct Rows {
    columns: Vec<Column>,
}

struct Column {
    name: &'static str,
    /// PostgreSQL's type of one value; text is cast to it, which is how JSON travels.
    postgres: &'static str,
    array: ArrayType,
    values: Vec<Value>,
}

impl Rows {
    /// Adds a column without nulls: its name, `PostgreSQL`'s type of one value, the values. Every column has as many values
    /// as the first.
    #[must_use]
    pub fn column<T: Into<Value> + ValueType>(
        mut self,
        name: &'static str,
        postgres: &'static str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        debug_assert!(self.columns.first().is_none_or(|first| first.values.len() == values.len()));
        self.columns.push(Column { name, postgres, array: T::array_type(), values });
        self
    }

    /// `sql`, which reads `r`, in as many statements as the database needs; none where there are no rows.
    pub fn statements(self, backend: DbBackend, sql: &str) -> Vec<Statement> {
        if self.columns.iter().all(|column| column.values.is_empty()) {
            return Vec::new();
        }
        if backend == DbBackend::Postgres { vec![self.arrays(sql)] } else { self.chunks(backend, sql) }
    }

    /// What `sql`, which reads `r`, finds.
    ///
    /// # Errors
    /// The database's; what was done before it failed stays done, on SQLite even within one statement, so this belongs into a
    /// transaction that is given up then.
    pub async fn query(self, db: &impl ConnectionTrait, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
        let mut found = Vec::new();
        for statement in self.statements(db.get_database_backend(), sql) {
            found.extend(db.query_all_raw(statement).await?);
        }
        Ok(found)
    }

    /// The number of rows that `sql`, which reads `r`, changed.
    ///
    /// # Errors
    /// As [`Self::query`]'s.
    pub async fn execute(self, db: &impl ConnectionTrait, sql: &str) -> Result<u64, DbErr> {
        let mut changed = 0;
        for statement in self.statements(db.get_database_backend(), sql) {
            changed += db.execute_raw(statement).await?.rows_affected();
        }
        Ok(changed)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        names.join(", ")
    }

    fn arrays(self, sql: &str) -> Statement {
        let arrays: Vec<String> =
            (1..).zip(&self.columns).map(|(n, column)| format!("${n}::{}[]", column.postgres)).collect();
        let sql = format!("WITH r ({}) AS (SELECT * FROM UNNEST({})) {sql}", self.names(), arrays.join(", "));
        let values = self.columns.into_iter().map(|column| Value::Array(column.array, Some(Box::new(column.values))));
        Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
    }

    fn chunks(self, backend: DbBackend, sql: &str) -> Vec<Statement> {
        let names = self.names();
        let sql = sql.replacen("INSERT INTO", "INSERT OR FAIL INTO", 1);
        let width = self.columns.len();
        let height = self.columns[0].values.len();
        let mut columns: Vec<_> = self.columns.into_iter().map(|column| column.values.into_iter()).collect();
        // Transposed: VALUES is written row by row.
        let mut cells = (0..height).flat_map(|_| columns.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>());
        bind::sqlite_cuts(height, width)
            .map(|cut| {
                let values: Vec<Value> = cells.by_ref().take(cut.len() * width).collect();
                let table = bind::values_sql(cut.len(), width);
                Statement::from_sql_and_values(backend, format!("WITH r ({names}) AS (VALUES {table}) {sql}"), values)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rows(height: i64) -> Rows {
        Rows::default().column("a", "bigint", 0..height).column("b", "jsonb", (0..height).map(|n| n.to_string()))
    }

    #[test]
    fn postgres_gets_one_array_per_column() {
        let statements = rows(100_000).statements(DbBackend::Postgres, "SELECT a FROM r");
        assert_eq!(statements.len(), 1);
        assert_eq!(
            statements[0].sql,
            "WITH r (a, b) AS (SELECT * FROM UNNEST($1::bigint[], $2::jsonb[])) SELECT a FROM r"
        );
    }

    #[test]
    fn sqlite_gets_every_row_once_in_chunks_that_it_takes() {
        let statements = rows(40_000).statements(DbBackend::Sqlite, "SELECT a FROM r");
        assert!(statements.len() > 1);
        let values: Vec<Value> = statements
            .into_iter()
            .flat_map(|statement| {
                let values = statement.values.unwrap().0;
                assert_eq!(statement.sql.matches('?').count(), values.len());
                values
            })
            .collect();
        let expected: Vec<Value> = (0..40_000_i64).flat_map(|n| [n.into(), n.to_string().into()]).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn batches_of_all_sizes_have_ten_texts_on_sqlite() {
        let statements = (1..=600).flat_map(|height| rows(height).statements(DbBackend::Sqlite, "SELECT a FROM r"));
        let texts: BTreeSet<String> = statements.map(|statement| statement.sql).collect();
        assert_eq!(texts.len(), 10);
    }

    #[test]
    fn an_insert_keeps_no_copy_on_sqlite_for_undoing_it_alone() {
        let insert = "INSERT INTO t (a) SELECT a FROM r WHERE true ON CONFLICT (a) DO NOTHING";
        let texts = |backend| rows(3).statements(backend, insert).into_iter().map(|statement| statement.sql);
        assert!(texts(DbBackend::Sqlite).all(|sql| sql.contains(" INSERT OR FAIL INTO t ")));
        assert!(texts(DbBackend::Postgres).all(|sql| sql.ends_with(insert)));
    }

    #[test]
    fn no_rows_are_no_statement() {
        assert!(rows(0).statements(DbBackend::Postgres, "x").is_empty());
        assert!(rows(0).statements(DbBackend::Sqlite, "x").is_empty());
    }
}
