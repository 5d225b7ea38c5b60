//! A database of one's own, with workers on it.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, OrderOutcomes, OrderPlaced};
use sea_orm::{ConnectionTrait as _, Value};
use store::{DatabaseConfig, Databases, RegionConfig};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;
use worker::{BatchError, Handler as _, Item, Verdict};

use super::orders::{REGION, accepted_at};
use crate::config::OutcomeSource;
use crate::handler::Checkout;
use crate::status;

pub(crate) const GRACE: TimeDelta = TimeDelta::minutes(10);

/// Declares each case once for each database.
macro_rules! on_both {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case($crate::tests::site::Site::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                super::$case($crate::tests::site::Site::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// A migrated database; removed with this value.
pub(crate) struct Site {
    url: String,
    databases: Databases,
    /// Removed when it is dropped.
    _home: Box<dyn Any + Send + Sync>,
}

impl Site {
    pub(crate) async fn sqlite() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("checkout.db").display());
        Self::at(url, Box::new(folder)).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = FreshDatabase::create().await.unwrap();
        Self::at(database.url().to_owned(), Box::new(database)).await
    }

    /// On a database that the test holds itself.
    pub(crate) async fn postgres_at(url: &str) -> Self {
        Self::at(url.to_owned(), Box::new(())).await
    }

    async fn at(url: String, home: Box<dyn Any + Send + Sync>) -> Self {
        let databases = open(&url);
        store::migrate(&databases.databases()[0]).await.unwrap();
        Self { url, databases, _home: home }
    }

    /// A worker with connections of its own, as another process has.
    pub(crate) async fn worker(&self) -> Checkout {
        self.worker_beside(Arc::new(cache::Cache::open(&cache::Config::default()).await.unwrap()))
    }

    /// As [`Self::worker`], with a cache that others share.
    pub(crate) fn worker_beside(&self, cache: Arc<cache::Cache>) -> Checkout {
        let region = open(&self.url).region(REGION).unwrap().clone();
        let (statuses, _) = status::queue(cache, 1);
        Checkout { region, source: OutcomeSource::Own, price_grace: GRACE, reserve_s: 0, statuses }
    }

    /// One that holds units for a payment, for longer than any test.
    pub(crate) async fn reserving(&self) -> Checkout {
        Checkout { reserve_s: 3_600, ..self.worker().await }
    }

    pub(crate) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let database = &self.databases.databases()[0];
        let tx = database.begin().await.unwrap();
        tx.execute_raw(database.statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// `on_hand` units of `sku`, shown as low at 10 or fewer.
    pub(crate) async fn stock(&self, sku: &str, on_hand: i64) {
        let sql = "INSERT INTO stock (region, sku, on_hand, low_threshold) VALUES ($1, $2, $3, 10)";
        self.execute(sql, [i32::from(REGION.0).into(), sku.into(), on_hand.into()]).await;
    }

    /// A version of a price; `superseded_at` where it is not the current one.
    pub(crate) async fn price(&self, sku: &str, version: i64, amount: i64, superseded: Option<TimeDelta>) {
        let sql = "INSERT INTO product_prices (region, sku, version, currency, amount_minor, superseded_at) \
                   VALUES ($1, $2, $3, 'EUR', $4, $5)";
        let superseded_at: Option<DateTime<Utc>> = superseded.map(|ago| accepted_at() - ago);
        let region = i32::from(REGION.0);
        self.execute(sql, [region.into(), sku.into(), version.into(), amount.into(), superseded_at.into()]).await;
    }

    /// Returns once no transaction is open that began before.
    pub(crate) async fn wait_for_writers(&self) {
        self.databases.databases()[0].begin().await.unwrap().rollback().await.unwrap();
    }

    /// The number that `sql` selects as `n`.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let database = &self.databases.databases()[0];
        let row = database.read().query_one_raw(database.statement(sql, [])).await.unwrap().unwrap();
        row.try_get("", "n").unwrap()
    }

    /// The two columns `k` and `v` that `sql` selects.
    pub(crate) async fn texts(&self, sql: &str) -> BTreeMap<String, String> {
        let database = &self.databases.databases()[0];
        let rows = database.read().query_all_raw(database.statement(sql, [])).await.unwrap();
        rows.iter().map(|row| (row.try_get("", "k").unwrap(), row.try_get("", "v").unwrap())).collect()
    }

    /// Units of `sku` promised to orders, by the stock row and by the sum of its movements, which must agree.
    pub(crate) async fn reserved(&self, sku: &str) -> i64 {
        let stock = self.number(&format!("SELECT reserved AS n FROM stock WHERE sku = '{sku}'")).await;
        let moved = format!(
            "SELECT CAST(COALESCE(SUM(reserved_change), 0) AS bigint) AS n FROM stock_movements WHERE sku = '{sku}'"
        );
        assert_eq!(self.number(&moved).await, stock, "the movements of {sku} add up to its stock row");
        stock
    }

    /// State of each order, by idempotency key.
    pub(crate) async fn states(&self) -> BTreeMap<String, String> {
        self.texts("SELECT idempotency_key AS k, state AS v FROM orders").await
    }

    /// The outcomes that wait in the outbox; no order is in there twice.
    pub(crate) async fn outcomes(&self) -> OrderOutcomes {
        let database = &self.databases.databases()[0];
        let sql = "SELECT body FROM outbox WHERE kind = 'order.outcomes'";
        let mut all = OrderOutcomes::new(REGION);
        for row in database.read().query_all_raw(database.statement(sql, [])).await.unwrap() {
            let body: Vec<u8> = row.try_get("", "body").unwrap();
            let OrderOutcomes { confirmed, rejected, .. } =
                serde_json::from_slice::<Envelope<OrderOutcomes>>(&body).unwrap().data;
            all.confirmed.extend(confirmed);
            all.rejected.extend(rejected);
        }
        let ids =
            all.confirmed.iter().map(|order| order.order_id).chain(all.rejected.iter().map(|order| order.order_id));
        assert_eq!(ids.collect::<BTreeSet<_>>().len(), all.len(), "an order's outcome is told once");
        all
    }

    /// How many confirmed and rejected orders the outbox tells of.
    pub(crate) async fn told(&self) -> (usize, usize) {
        let outcomes = self.outcomes().await;
        (outcomes.confirmed.len(), outcomes.rejected.len())
    }

    /// How many events of `kind` wait in the outbox.
    pub(crate) async fn outbox(&self, kind: &str) -> i64 {
        self.number(&format!("SELECT CAST(count(*) AS bigint) AS n FROM outbox WHERE kind = '{kind}'")).await
    }
}

fn open(url: &str) -> Databases {
    let database = DatabaseConfig { acquire_timeout_ms: 30_000, ..DatabaseConfig::at(url) };
    let config = store::Config {
        region: vec![RegionConfig { name: "eu".parse().unwrap(), number: REGION, database: "main".to_owned() }],
        database: BTreeMap::from([("main".to_owned(), database)]),
        analytics: "main".to_owned(),
    };
    Databases::open(&config).unwrap()
}

/// Hands `orders` to `worker` as one batch, again where another transaction was in the way, as the consume loop does.
/// Says how often that was.
pub(crate) async fn deliver(worker: &Checkout, orders: &[OrderPlaced]) -> (Vec<Verdict>, u32) {
    let batch: Vec<Item<Envelope<OrderPlaced>>> = orders.iter().cloned().map(super::orders::item).collect();
    let mut contentions = 0;
    loop {
        match worker.handle(&batch).await {
            Ok(handled) => return (handled.verdicts, contentions),
            Err(BatchError::Contention(_)) if contentions < 100 => contentions += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Hands `orders` to `worker`; every one is done.
pub(crate) async fn done(worker: &Checkout, orders: &[OrderPlaced]) {
    let (verdicts, _) = deliver(worker, orders).await;
    assert_eq!(verdicts, vec![Verdict::Done; orders.len()]);
}

/// Runs `future` until it has waited `waits` times, then drops it where it stands.
pub(crate) async fn cut_off<F: Future>(future: F, mut waits: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if waits == 0 => Poll::Ready(None),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}
