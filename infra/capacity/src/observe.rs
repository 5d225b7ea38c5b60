//! What the queues and the databases do meanwhile, seen from outside and cheaply: a look costs the same on a table of a
//! thousand rows and of a hundred million.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, QueueName};
use sea_orm::{ConnectionTrait as _, DbErr};
use store::{Backend, Database, Databases};
use tokio::time::timeout;

/// A look that takes longer is given up: under load the databases have other things to do.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Pages at the end of a `PostgreSQL` table (8 KiB each) in which new rows may still appear. A table that only grows is
/// filled at its end, by several processes at once, each on pages of its own: at most 512 at a time.
const OPEN_PAGES: i64 = 1_024;

/// Totals since the observer was opened; `None` where they could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// When, from the start of the run.
    pub at: Duration,
    /// Orders that the databases hold, whatever became of them.
    pub stored: Option<u64>,
    /// Page events that analytics has counted.
    pub counted: Option<u64>,
    /// Orders that wait in their queues, without those in a worker's hands.
    pub orders_waiting: Option<u64>,
    /// Messages of page events that wait in theirs.
    pub events_waiting: Option<u64>,
    /// Rows that `PostgreSQL` inserted, updated or deleted, by its own statistics, which are a second late.
    pub rows: Option<u64>,
    /// Transactions that it committed, likewise.
    pub commits: Option<u64>,
}

/// Queues of one broker.
pub struct Queues {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Those of orders.
    pub orders: Vec<QueueName>,
    /// Those of page events.
    pub events: Vec<QueueName>,
}

/// Looks at queues and databases.
pub struct Observer {
    databases: Option<Databases>,
    queues: Vec<Queues>,
    orders: Vec<Rows>,
    events: Option<Rows>,
    reserved: i64,
    statistics: (i64, i64),
}

impl Observer {
    /// Opens one; what it counts begins now. Either part may be missing.
    ///
    /// # Errors
    /// The database's: it does not answer, or has no schema.
    pub async fn open(databases: Option<Databases>, queues: Vec<Queues>) -> Result<Self, DbErr> {
        let mut observer =
            Self { databases, queues, orders: Vec::new(), events: None, reserved: 0, statistics: (0, 0) };
        if let Some(databases) = observer.databases.clone() {
            for database in databases.databases() {
                observer.orders.push(Rows::open(database, "orders").await?);
            }
            observer.events = Some(Rows::open(databases.analytics(), "page_events_seen").await?);
            observer.reserved = reserved(&databases).await?;
            observer.statistics = statistics(&databases).await?.unwrap_or_default();
        }
        Ok(observer)
    }

    /// Whether it can see any database.
    pub fn sees_databases(&self) -> bool {
        self.databases.is_some()
    }

    /// Looks once. What can't be seen in time is `None`.
    pub async fn look(&mut self, at: Duration) -> Look {
        let mut look = Look { at, ..Look::default() };
        (look.orders_waiting, look.events_waiting) = self.waiting().await;
        if let Some(databases) = self.databases.clone() {
            let seen = timeout(LOOK_WITHIN, async {
                let mut stored = 0;
                for rows in &mut self.orders {
                    stored += rows.count().await?;
                }
                let counted = match &mut self.events {
                    Some(rows) => Some(rows.count().await?),
                    None => None,
                };
                Ok::<_, DbErr>((stored, counted, statistics(&databases).await?))
            });
            if let Ok(Ok((stored, counted, statistics))) = seen.await {
                (look.stored, look.counted) = (Some(stored), counted);
                look.rows = statistics.map(|(rows, _)| since(rows, self.statistics.0));
                look.commits = statistics.map(|(_, commits)| since(commits, self.statistics.1));
            }
        }
        look
    }

    /// Units that orders reserved since the observer was opened: orders confirmed, where each takes one unit.
    pub async fn confirmed(&self) -> Option<u64> {
        let now = timeout(LOOK_WITHIN, reserved(self.databases.as_ref()?)).await.ok()?.ok()?;
        Some(since(now, self.reserved))
    }

    /// Closes what was opened.
    pub async fn close(self) {
        for queues in &self.queues {
            queues.broker.close().await;
        }
        if let Some(databases) = self.databases {
            databases.close().await;
        }
    }

    async fn waiting(&self) -> (Option<u64>, Option<u64>) {
        let (mut orders, mut events) = (None, None);
        for queues in &self.queues {
            for (names, sum) in [(&queues.orders, &mut orders), (&queues.events, &mut events)] {
                if names.is_empty() {
                    continue;
                }
                let Ok(Ok(depths)) = timeout(LOOK_WITHIN, queues.broker.depths(names)).await else { continue };
                *sum = Some(sum.unwrap_or(0) + depths.iter().map(|depth| depth.ready).sum::<u64>());
            }
        }
        (orders, events)
    }
}

fn since(now: i64, begin: i64) -> u64 {
    u64::try_from(now - begin).unwrap_or(0)
}

async fn number(database: &Database, sql: &str) -> Result<i64, DbErr> {
    let row = database.read().query_one_raw(database.statement(sql, [])).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}

/// One row for each article: few enough to add up.
async fn reserved(databases: &Databases) -> Result<i64, DbErr> {
    let mut sum = 0;
    for database in databases.databases() {
        sum += number(database, "SELECT CAST(coalesce(sum(reserved), 0) AS bigint) FROM stock").await?;
    }
    Ok(sum)
}

/// Rows written and transactions committed, of all `PostgreSQL` databases.
async fn statistics(databases: &Databases) -> Result<Option<(i64, i64)>, DbErr> {
    let mut sum = None;
    for database in databases.databases().iter().filter(|database| database.backend() == Backend::Postgres) {
        let sql = "SELECT tup_inserted + tup_updated + tup_deleted, xact_commit FROM pg_stat_database \
                   WHERE datname = current_database()";
        if let Some(row) = database.read().query_one_raw(database.statement(sql, [])).await? {
            let (rows, commits) = sum.unwrap_or((0, 0));
            sum = Some((rows + row.try_get_by_index::<i64>(0)?, commits + row.try_get_by_index::<i64>(1)?));
        }
    }
    Ok(sum)
}

/// Counts the rows that a table gains. Only for tables whose rows are appended: SQLite gives each the next number, and
/// `PostgreSQL` fills pages at the end, so there the last pages are counted again and again and those before them once.
struct Rows {
    database: Arc<Database>,
    table: &'static str,
    begin: i64,
    /// `PostgreSQL`: pages below it are counted in `closed`.
    page: i64,
    closed: i64,
}

impl Rows {
    async fn open(database: &Arc<Database>, table: &'static str) -> Result<Self, DbErr> {
        let mut rows = Self { database: Arc::clone(database), table, begin: 0, page: 0, closed: 0 };
        if database.backend() == Backend::Postgres {
            rows.page = (rows.pages().await? - OPEN_PAGES).max(0);
        }
        rows.begin = rows.total().await?;
        Ok(rows)
    }

    async fn count(&mut self) -> Result<u64, DbErr> {
        Ok(since(self.total().await?, self.begin))
    }

    async fn total(&mut self) -> Result<i64, DbErr> {
        if self.database.backend() == Backend::Sqlite {
            return number(&self.database, &format!("SELECT coalesce(max(rowid), 0) FROM {}", self.table)).await;
        }
        let pages = self.pages().await?;
        if pages > self.page + 2 * OPEN_PAGES {
            let end = pages - OPEN_PAGES;
            self.closed += self.between(self.page, Some(end)).await?;
            self.page = end;
        }
        Ok(self.closed + self.between(self.page, None).await?)
    }

    async fn pages(&self) -> Result<i64, DbErr> {
        let sql = format!("SELECT pg_relation_size('{}') / current_setting('block_size')::bigint", self.table);
        number(&self.database, &sql).await
    }

    async fn between(&self, page: i64, end: Option<i64>) -> Result<i64, DbErr> {
        let below = end.map_or_else(String::new, |end| format!(" AND ctid < '({end},0)'"));
        number(&self.database, &format!("SELECT count(*) FROM {} WHERE ctid >= '({page},0)'{below}", self.table)).await
    }
}
