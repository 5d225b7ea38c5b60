//! Rows in and out of both databases, by columns.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use store::{Backend, Database, Fault, Transaction, bind};
use tokio::time::Instant;
use uuid::Uuid;
use worker::{BatchError, Handled, Verdict};

/// A column's values, one per row.
pub(crate) enum Column {
    Text(Vec<String>),
    Time(Vec<DateTime<Utc>>),
    Number(Vec<i64>),
    Bytes(Vec<Vec<u8>>),
    Uuid(Vec<Uuid>),
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Time(values) => values.len(),
            Self::Number(values) => values.len(),
            Self::Bytes(values) => values.len(),
            Self::Uuid(values) => values.len(),
        }
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Text(values) => values[row].clone().into(),
            Self::Time(values) => values[row].into(),
            Self::Number(values) => values[row].into(),
            Self::Bytes(values) => values[row].clone().into(),
            Self::Uuid(values) => values[row].into(),
        }
    }

    /// The whole column as one bind.
    fn into_array(self) -> (Value, &'static str) {
        match self {
            Self::Text(values) => (bind::texts(values), "text[]"),
            Self::Time(values) => (bind::times(values), "timestamptz[]"),
            Self::Number(values) => (bind::bigints(values), "bigint[]"),
            Self::Bytes(values) => (bind::bytes(values), "bytea[]"),
            Self::Uuid(values) => (bind::uuids(values), "uuid[]"),
        }
    }
}

/// `{before} (the rows) {after}`: on `PostgreSQL` one statement over `UNNEST`, whose rows are taken in the order given,
/// so that sorted rows are locked in that order by everybody; on SQLite chunks of `VALUES`, of few sizes.
pub(crate) async fn with_rows(
    tx: &Transaction,
    db: &Database,
    before: &str,
    columns: Vec<Column>,
    after: &str,
) -> Result<Vec<QueryResult>, DbErr> {
    let rows = columns.first().map_or(0, Column::len);
    if rows == 0 {
        return Ok(Vec::new());
    }
    if db.backend() == Backend::Postgres {
        let (arrays, types): (Vec<Value>, Vec<&str>) = columns.into_iter().map(Column::into_array).unzip();
        let binds: Vec<String> = types.iter().enumerate().map(|(i, kind)| format!("${}::{kind}", i + 1)).collect();
        let sql = format!("{before} SELECT * FROM UNNEST({}) {after}", binds.join(","));
        return tx.query_all_raw(db.statement(sql, arrays)).await;
    }
    let mut answers = Vec::new();
    for cut in bind::sqlite_cuts(rows, columns.len()) {
        let sql = format!("{before} VALUES {} {after}", bind::values_sql(cut.len(), columns.len()));
        let values = cut.flat_map(|row| columns.iter().map(move |column| column.value(row)));
        answers.extend(tx.query_all_raw(db.statement(sql, values)).await?);
    }
    Ok(answers)
}

/// How far each feed of this batch is, and how many rows that were. Last in its transaction, because everybody writes the same few rows.
pub(crate) async fn advance(
    tx: &Transaction,
    db: &Database,
    feeds: impl IntoIterator<Item = (String, DateTime<Utc>)>,
) -> Result<usize, DbErr> {
    let (feeds, times): (Vec<String>, _) = feeds.into_iter().unzip();
    let rows = feeds.len();
    let before = "INSERT INTO analytics_progress (feed, counted_through)";
    let after = "ON CONFLICT (feed) DO UPDATE SET counted_through = excluded.counted_through \
                 WHERE analytics_progress.counted_through < excluded.counted_through";
    with_rows(tx, db, before, vec![Column::Text(feeds), Column::Time(times)], after).await?;
    Ok(rows)
}

/// What a transaction has written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    rows: usize,
    commit: Option<Duration>,
}

impl Written {
    pub(crate) fn handled(self, verdicts: Vec<Verdict>) -> Handled {
        Handled { verdicts, rows: self.rows as u64, commit: self.commit }
    }
}

/// Commits a transaction that wrote `rows`.
pub(crate) async fn commit(tx: Transaction, rows: usize) -> Result<Written, DbErr> {
    let begun = Instant::now();
    tx.commit().await?;
    if failpoint::broken!(DieAfterCommit) {
        std::process::abort();
    }
    Ok(Written { rows, commit: Some(begun.elapsed()) })
}

/// What a failed statement means for the batch.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` wants")]
pub(crate) fn failed(error: DbErr) -> BatchError {
    match Fault::classify(&error) {
        Fault::Poison(why) => BatchError::Poison(why),
        Fault::Contention(why) => BatchError::Contention(why),
        Fault::Infrastructure(why) => BatchError::Infrastructure(why),
    }
}

/// The start of the minute that `time` lies in.
pub(crate) fn minute(time: DateTime<Utc>) -> DateTime<Utc> {
    let seconds = time.timestamp();
    DateTime::from_timestamp(seconds - seconds.rem_euclid(60), 0).unwrap_or(time)
}
