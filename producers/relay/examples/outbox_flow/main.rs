//! A great many messages through an outbox, by relays that share it: how large the table gets, and whether a claim stays
//! as quick as it was.
//!
//! ```text
//! outbox_flow DATABASE_URL ROWS BODY_BYTES RELAYS
//! ```
//!
//! The database is migrated first; give it one of its own. The broker is one that confirms at once, so that what is measured
//! is the outbox. A writer stays at most some thousand rows ahead. Prints a line for each tenth of the way, and at the end
//! `name value` lines: sizes in KB (table, index and what is stored beside it), times of a claim in microseconds.

mod at_once;
mod look;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use broker::layout;
use events::{Band, Envelope, StockChanged};
use model::SystemClock;
use relay::{Config, Deps};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::outbox::{self, Outgoing};
use store::{Database, DatabaseConfig, Databases};

use self::at_once::AtOnce;
use self::look::{Look, look};

/// Rows in one transaction of the writer.
const TOGETHER: usize = 100;
/// Rows that the writer is ahead, at most.
const AHEAD: usize = 4_000;
/// Looks on the way.
const LOOKS: usize = 10;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, rows, bytes, relays] = &arguments[..] else {
        bail!("usage: outbox_flow DATABASE_URL ROWS BODY_BYTES RELAYS");
    };
    let rows: usize = rows.parse().context("ROWS is a whole number")?;
    let bytes: usize = bytes.parse().context("BODY_BYTES is a whole number")?;
    let relays: usize = relays.parse().context("RELAYS is a whole number")?;
    ensure!(rows >= LOOKS * TOGETHER && relays >= 1, "ROWS is 1000 or more, RELAYS 1 or more");
    let databases = open(url).await?;
    let (shutdown, broker, tasks) = (Shutdown::new(), Arc::new(AtOnce::default()), Tasks::new());
    let mut running = Vec::new();
    for _ in 0..relays {
        let deps = Deps {
            config: Config::default(),
            databases: databases.clone(),
            orders: broker.clone(),
            readiness: Readiness::new(shutdown.clone()),
            metrics: Metrics::new(),
        };
        running.push(tasks.spawn("relay", relay::run(deps, shutdown.clone())));
    }
    flow(&databases.databases()[0], &broker, rows, bytes).await?;
    shutdown.request();
    for relay in running {
        relay.await??;
    }
    databases.close().await;
    Ok(())
}

async fn open(url: &str) -> Result<Databases> {
    let mut config = store::Config::default();
    config.database.insert("main".to_owned(), DatabaseConfig { max_connections: 16, ..DatabaseConfig::at(url) });
    let databases = Databases::open(&config)?;
    store::migrate(&databases.databases()[0]).await?;
    Ok(databases)
}

async fn flow(database: &Database, broker: &AtOnce, rows: usize, bytes: usize) -> Result<()> {
    let (begin, first) = (Instant::now(), look(database).await?);
    let (mut peak_kb, mut last) = (first.kb(), first.clone());
    say(0, &first)?;
    for tenth in 1..=LOOKS {
        let goal = rows * tenth / LOOKS;
        let mut written = rows * (tenth - 1) / LOOKS;
        while written < goal {
            broker.until(written.saturating_sub(AHEAD)).await;
            let some = TOGETHER.min(goal - written);
            insert(database, some, bytes).await?;
            written += some;
        }
        last = look(database).await?;
        peak_kb = peak_kb.max(last.kb());
        say(goal, &last)?;
    }
    broker.until(rows).await;
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate to whole numbers")]
    let per_s = rows as f64 / seconds;
    let mut out = std::io::stdout().lock();
    writeln!(out, "rows {rows}\nper_s {per_s:.0}\npeak_kb {peak_kb}\nend_kb {}", last.kb())?;
    writeln!(out, "first_claim_us {}\nlast_claim_us {}", first.claim_us, last.claim_us)?;
    Ok(())
}

fn say(rows: usize, look: &Look) -> Result<()> {
    writeln!(std::io::stdout(), "at {rows}: {look}")?;
    Ok(())
}

async fn insert(database: &Database, count: usize, bytes: usize) -> Result<()> {
    let row = || {
        let data = StockChanged { region: "eu".parse()?, sku: "MUG".parse()?, band: Band::Low, version: 1 };
        let mut row = Outgoing::event(layout::facts_exchange().as_str(), &Envelope::new(&SystemClock, "example", data));
        row.message.body = vec![b'x'; bytes].into();
        anyhow::Ok(row)
    };
    let rows = (0..count).map(|_| row()).collect::<Result<Vec<_>>>()?;
    let tx = database.begin().await?;
    outbox::insert(database, &tx, &rows).await?;
    Ok(tx.commit().await?)
}
