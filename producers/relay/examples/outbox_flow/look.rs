//! How large the outbox is, and how long a claim takes.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sea_orm::ConnectionTrait as _;
use store::{Backend, Database, outbox};

/// Claims that are timed for one look.
const CLAIMS: usize = 21;
/// Rows of each, as the relay takes them.
const BATCH: u32 = 64;
const LEASE: Duration = Duration::from_secs(10);

/// The outbox at one time.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// The table alone; on SQLite the whole file.
    table_kb: i64,
    /// Its index.
    index_kb: i64,
    /// Bodies that are stored beside it.
    beside_kb: i64,
    /// Rows that are deleted and not cleared away, as far as `PostgreSQL` has counted them.
    dead: i64,
    /// The median.
    pub(crate) claim_us: u128,
}

impl Look {
    pub(crate) fn kb(&self) -> i64 {
        self.table_kb + self.index_kb + self.beside_kb
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table_kb, index_kb, beside_kb, dead, claim_us } = self;
        write!(f, "table {table_kb} KB, index {index_kb} KB, beside {beside_kb} KB, dead {dead}, claim {claim_us} us")
    }
}

pub(crate) async fn look(database: &Database) -> Result<Look> {
    let sql = match database.backend() {
        Backend::Postgres => {
            "SELECT pg_relation_size(c.oid) / 1024 AS table_kb, pg_indexes_size(c.oid) / 1024 AS index_kb, \
             pg_total_relation_size(c.reltoastrelid) / 1024 AS beside_kb, \
             coalesce(pg_stat_get_dead_tuples(c.oid), 0) AS dead FROM pg_class c WHERE c.oid = 'outbox'::regclass"
        }
        Backend::Sqlite => {
            "SELECT page_count * page_size / 1024 AS table_kb, 0 AS index_kb, 0 AS beside_kb, 0 AS dead \
             FROM pragma_page_count, pragma_page_size"
        }
    };
    let row = database.read().query_one_raw(database.statement(sql, [])).await?.context("one row")?;
    let number = |name: &str| row.try_get::<i64>("", name);
    Ok(Look {
        table_kb: number("table_kb")?,
        index_kb: number("index_kb")?,
        beside_kb: number("beside_kb")?,
        dead: number("dead")?,
        claim_us: claim(database).await?,
    })
}

/// The median time from asking to having, without what is claimed, which goes back.
async fn claim(database: &Database) -> Result<u128> {
    let mut times = Vec::with_capacity(CLAIMS);
    for _ in 0..CLAIMS {
        let begin = Instant::now();
        let claim = outbox::claim(database, BATCH, LEASE).await?;
        times.push(begin.elapsed().as_micros());
        claim.settle(&[]).await?;
    }
    times.sort_unstable();
    Ok(times[CLAIMS / 2])
}
