//! The mark that checkout's drain is held against: rows into the table of orders, and nothing else. One connection, one
//! `UNNEST` a transaction.
//!
//! ```text
//! raw_insert POSTGRES_URL BATCH SECONDS
//! ```
//!
//! The database is migrated first, and its orders are thrown away: give it one of its own. Prints `rows N` and `per_s N`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::DateTime;
use model::{Fingerprint, MarketId, OrderId, RegionNumber};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement, TransactionTrait as _,
};
use store::{Config, DatabaseConfig, Databases, bind};

/// As checkout inserts them, without looking for those that are there already.
const INSERT: &str = "INSERT INTO orders (id, region, market, idempotency_key, reference, customer, fingerprint, state, \
    version, currency, shipping_minor, tax_minor, discount_minor, total_minor, pricing, attribution, accepted_at) \
    SELECT id, 1, market, key, reference, customer, fingerprint, 'confirmed', 1, 'EUR', 490, 0, 0, total, pricing, \
    attribution, accepted_at FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], \
    $7::bigint[], $8::jsonb[], $9::jsonb[], $10::timestamptz[]) \
    AS r (id, market, key, reference, customer, fingerprint, total, pricing, attribution, accepted_at)";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, batch, seconds] = &arguments[..] else { bail!("usage: raw_insert POSTGRES_URL BATCH SECONDS") };
    let batch: u64 = batch.parse().context("BATCH is a whole number")?;
    let lasting = Duration::from_secs(seconds.parse().context("SECONDS is a whole number")?);
    ensure!((1..=100_000).contains(&batch), "BATCH is 1 to 100000");
    migrate(url).await?;

    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false).test_before_acquire(false);
    let db = Database::connect(options).await.context("PostgreSQL answers")?;
    db.execute_unprepared("TRUNCATE orders, order_lines CASCADE").await?;
    let (mut rows, begin) = (0, Instant::now());
    while begin.elapsed() < lasting {
        insert(&db, rows, batch).await?;
        rows += batch;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate to one place")]
    let per_s = rows as f64 / begin.elapsed().as_secs_f64();
    db.execute_unprepared("TRUNCATE orders, order_lines CASCADE").await?;
    writeln!(std::io::stdout(), "rows {rows}\nper_s {per_s:.1}")?;
    Ok(())
}

async fn migrate(url: &str) -> Result<()> {
    let mut config = Config::default();
    config.database.insert("main".to_owned(), DatabaseConfig::at(url.to_owned()));
    let databases = Databases::open(&config)?;
    for database in databases.databases() {
        store::migrate(database).await?;
    }
    databases.close().await;
    Ok(())
}

/// The orders from `first` on, in one transaction. Their ids are as spread as real ones, and sorted like checkout's.
async fn insert(db: &DatabaseConnection, first: u64, batch: u64) -> Result<()> {
    let market: MarketId = "main".parse()?;
    let mut orders: Vec<(OrderId, u64)> = (first..first + batch)
        .map(|n| Ok((OrderId::derive(RegionNumber(1), &market, &key(n).parse()?), n)))
        .collect::<Result<_>>()?;
    orders.sort_unstable();
    let text = |of: fn(u64) -> String| bind::texts(orders.iter().map(move |(_, n)| of(*n)));
    let fingerprint = |n: u64| Fingerprint::of([n.to_be_bytes().as_slice()]).as_bytes().to_vec();
    let values = [
        bind::uuids(orders.iter().map(|(id, _)| id.as_uuid())),
        text(|_| "main".to_owned()),
        text(key),
        text(|n| format!("shop-2026-{n:010}")),
        text(|n| format!("customer-{n:08}")),
        bind::bytes(orders.iter().map(|(_, n)| fingerprint(*n))),
        bind::bigints(orders.iter().map(|_| 1_940)),
        bind::jsons(orders.iter().map(|_| serde_json::json!({"by": "shop"}))),
        bind::jsons(orders.iter().map(|_| serde_json::json!({"campaign": "spring-sale"}))),
        bind::times(orders.iter().map(|_| DateTime::UNIX_EPOCH)),
    ];
    let tx = db.begin().await?;
    let inserted = tx.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, INSERT, values)).await?;
    ensure!(inserted.rows_affected() == batch, "every row is new");
    tx.commit().await?;
    Ok(())
}

fn key(n: u64) -> String {
    format!("raw-insert-{n:024}")
}
