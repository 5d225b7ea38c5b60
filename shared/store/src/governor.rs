//! Leases on a database's budget, kept in the database itself: whoever may write there may ask there how much.
//!
//! A lease is a row that its worker renews; its times are the database's. A renewal is a transaction that locks the one
//! row of `governor`, so renewals come one after the other: each sees the shares that the others have, and takes at most
//! what they leave. A worker that stops deletes its row; the row of one that died counts until it runs out, as the worker
//! may still be using its share.
//!
//! (A SQLite file is one process's own; there the governor keeps its leases in memory and looks here for the budget alone.)
//!
//! The budget comes from the configuration of each process, until one is written here ([`set_budget`]): that one wins, for
//! every process, until it is taken back. So an operator's change needs no roll-out and reaches every worker with its next
//! renewal.

use std::time::Duration;

use flow::{Budget, Rank};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};
use uuid::Uuid;

use crate::config::Backend;
use crate::database::{Database, Transaction};

/// What a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose work it does.
    pub rank: Rank,
    /// Parts of [`flow::shares::WHOLE`] that it could use.
    pub demand: u32,
    /// Parts of the whole that it may use.
    pub share: u32,
    /// How much of the budget it would give out, in the same parts, by how quickly its commits go.
    pub factor: u32,
}

/// What a renewal finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The budget that was written here; none: the configuration's counts.
    pub budget: Option<Budget>,
    /// The leases of all others that have not run out.
    pub others: Vec<Lease>,
}

/// Renews the lease `id` for `lease`, counted from a moment after this was called. `take` is told what there is, under the
/// lock, and says what the lease holds from now on.
///
/// # Errors
/// The database's: then the lease stands as it did.
pub async fn renew(
    database: &Database,
    id: Uuid,
    lease: Duration,
    take: impl FnOnce(&View) -> Lease,
) -> Result<(View, Lease), DbErr> {
    let tx = database.begin().await?;
    let view = look(database, &tx, id).await?;
    let mine = take(&view);
    let now = database.backend().now_sql();
    tx.execute_raw(database.statement(format!("DELETE FROM governor_lease WHERE expires_at <= {now}"), [])).await?;
    let expires = match database.backend() {
        Backend::Postgres => "now() + make_interval(secs => $6)",
        Backend::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '+' || $6 || ' seconds')",
    };
    let sql = format!(
        "INSERT INTO governor_lease (id, rank, demand, share, factor, renewed_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, {now}, {expires}) ON CONFLICT (id) DO UPDATE SET rank = excluded.rank, \
         demand = excluded.demand, share = excluded.share, factor = excluded.factor, \
         renewed_at = excluded.renewed_at, expires_at = excluded.expires_at"
    );
    let binds = [
        id.into(),
        mine.rank.name().into(),
        int(mine.demand).into(),
        int(mine.share).into(),
        int(mine.factor).into(),
        lease.as_secs_f64().into(),
    ];
    tx.execute_raw(database.statement(sql, binds)).await?;
    tx.commit().await?;
    Ok((view, mine))
}

/// Gives the lease `id` up, so that others need not wait until it runs out.
///
/// # Errors
/// The database's: then it runs out.
pub async fn leave(database: &Database, id: Uuid) -> Result<(), DbErr> {
    let tx = database.begin().await?;
    tx.execute_raw(database.statement("DELETE FROM governor_lease WHERE id = $1", [id.into()])).await?;
    tx.commit().await
}

/// The leases that have not run out, for whoever watches.
///
/// # Errors
/// The database's.
pub async fn leases(database: &Database) -> Result<Vec<Lease>, DbErr> {
    let now = database.backend().now_sql();
    let sql = format!("SELECT rank, demand, share, factor FROM governor_lease WHERE expires_at > {now} ORDER BY id");
    database.read().query_all_raw(database.statement(sql, [])).await?.iter().map(lease).collect()
}

/// The budget that was written into the database, if any.
///
/// # Errors
/// The database's.
pub async fn budget(database: &Database) -> Result<Option<Budget>, DbErr> {
    let sql = "SELECT budget FROM governor WHERE id = 1";
    let row = database.read().query_one_raw(database.statement(sql, [])).await?;
    row.map_or(Ok(None), |row| written(database, &row))
}

/// Writes a budget into the database, which from now on counts for everybody, or takes it back (`None`). Workers take it
/// up when they next renew; those that were without a budget, when they next look.
///
/// # Errors
/// The database's.
pub async fn set_budget(database: &Database, budget: Option<Budget>) -> Result<(), DbErr> {
    let tx = database.begin().await?;
    set_budget_in(database, &tx, budget).await?;
    tx.commit().await
}

/// As [`set_budget`], in a transaction that does more.
///
/// # Errors
/// The database's.
pub async fn set_budget_in(database: &Database, tx: &Transaction, budget: Option<Budget>) -> Result<(), DbErr> {
    let now = database.backend().now_sql();
    let sql = format!("UPDATE governor SET budget = $1, changed_at = {now} WHERE id = 1");
    tx.execute_raw(database.statement(sql, [budget.map(String::from).into()])).await.map(drop)
}

async fn look(database: &Database, tx: &Transaction, id: Uuid) -> Result<View, DbErr> {
    // A lease that a crash takes back is one that its holder has renewed more recently than the others believe, for one
    // renewal; for that no commit of every second has to wait for the disk.
    let lock = match database.backend() {
        Backend::Postgres => {
            // Everybody waits for this lock: who is frozen while holding it is not to keep it.
            "SELECT budget, set_config('synchronous_commit', 'off', true), \
             set_config('idle_in_transaction_session_timeout', '1000', true) FROM governor WHERE id = 1 FOR UPDATE"
        }
        Backend::Sqlite => "SELECT budget FROM governor WHERE id = 1",
    };
    let row = tx.query_one_raw(database.statement(lock, [])).await?;
    let budget = row.map_or(Ok(None), |row| written(database, &row))?;
    let now = database.backend().now_sql();
    let sql = format!("SELECT rank, demand, share, factor FROM governor_lease WHERE id <> $1 AND expires_at > {now}");
    let others = tx.query_all_raw(database.statement(sql, [id.into()])).await?;
    Ok(View { budget, others: others.iter().map(lease).collect::<Result<_, _>>()? })
}

/// A text that is no budget limits nobody: it was not written by [`set_budget`].
fn written(database: &Database, row: &QueryResult) -> Result<Option<Budget>, DbErr> {
    let text: Option<String> = row.try_get("", "budget")?;
    Ok(text.and_then(|text| {
        text.parse()
            .inspect_err(|error| {
                tracing::error!(store.database = database.name(), %error, "the budget in table governor is ignored");
            })
            .ok()
    }))
}

fn lease(row: &QueryResult) -> Result<Lease, DbErr> {
    let rank: String = row.try_get("", "rank")?;
    let parts = |column| Ok::<u32, DbErr>(u32::try_from(row.try_get::<i32>("", column)?).unwrap_or(0));
    Ok(Lease { rank: Rank::named(&rank), demand: parts("demand")?, share: parts("share")?, factor: parts("factor")? })
}

fn int(parts: u32) -> i32 {
    i32::try_from(parts).unwrap_or(i32::MAX)
}
