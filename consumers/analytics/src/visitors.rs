//! Visitors per market, minute and campaign: sketches that are read, merged and written under a lock.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};
use store::{Backend, Database, Transaction, bind};

use crate::sketch::Sketch;
use crate::sql::{Column, with_rows};

/// Market, minute, campaign.
pub(crate) type VisitorsKey = (String, DateTime<Utc>, String);

/// Merges `sketches` into the rows and tells how many it wrote. First all rows that are not there yet are inserted, which waits for whoever inserts
/// the same ones; those that were there are then locked, in the same order by everybody.
pub(crate) async fn add(
    tx: &Transaction,
    db: &Database,
    sketches: &BTreeMap<VisitorsKey, Sketch>,
) -> Result<usize, DbErr> {
    let after = "ON CONFLICT DO NOTHING RETURNING market, minute, campaign";
    let inserted = write(tx, db, sketches.iter().map(|(key, sketch)| (key, sketch.to_bytes())), after).await?;
    let inserted: Vec<VisitorsKey> = inserted.iter().map(key_of).collect::<Result<_, _>>()?;
    let there: Vec<&VisitorsKey> = sketches.keys().filter(|key| !inserted.contains(key)).collect();
    let mut merged = BTreeMap::new();
    for row in lock(tx, db, &there).await? {
        let key = key_of(&row)?;
        let bytes: Vec<u8> = row.try_get("", "sketch")?;
        let Some(new) = sketches.get(&key) else { continue };
        let mut sketch = Sketch::from_bytes(&bytes).unwrap_or_else(|| {
            tracing::error!(analytics.key = ?key, "a stored sketch of visitors can't be read: it starts anew");
            Sketch::default()
        });
        sketch.merge(new);
        merged.insert(key, sketch.to_bytes());
    }
    let after = "ON CONFLICT (market, minute, campaign) DO UPDATE SET sketch = excluded.sketch";
    write(tx, db, merged.iter().map(|(key, bytes)| (key, bytes.clone())), after).await?;
    Ok(inserted.len() + merged.len())
}

async fn write<'a>(
    tx: &Transaction,
    db: &Database,
    rows: impl Iterator<Item = (&'a VisitorsKey, Vec<u8>)>,
    after: &str,
) -> Result<Vec<QueryResult>, DbErr> {
    let (keys, sketches): (Vec<&VisitorsKey>, Vec<Vec<u8>>) = rows.unzip();
    let mut columns = key_columns(&keys);
    columns.push(Column::Bytes(sketches));
    let before = "INSERT INTO campaign_visitors_minute (market, minute, campaign, sketch)";
    with_rows(tx, db, before, columns, after).await
}

/// Reads rows that are there. On SQLite the transaction holds the only write lock from its start.
async fn lock(tx: &Transaction, db: &Database, keys: &[&VisitorsKey]) -> Result<Vec<QueryResult>, DbErr> {
    if db.backend() == Backend::Sqlite {
        let before = "SELECT market, minute, campaign, sketch FROM campaign_visitors_minute \
                      WHERE (market, minute, campaign) IN (";
        return with_rows(tx, db, before, key_columns(keys), ")").await;
    }
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT v.market, v.minute, v.campaign, v.sketch FROM campaign_visitors_minute v \
               JOIN UNNEST($1::text[], $2::timestamptz[], $3::text[]) AS k (market, minute, campaign) \
               ON v.market = k.market AND v.minute = k.minute AND v.campaign = k.campaign \
               ORDER BY v.market COLLATE \"C\", v.minute, v.campaign COLLATE \"C\" FOR UPDATE OF v";
    let binds = [
        bind::texts(keys.iter().map(|key| key.0.clone())),
        bind::times(keys.iter().map(|key| key.1)),
        bind::texts(keys.iter().map(|key| key.2.clone())),
    ];
    tx.query_all_raw(db.statement(sql, binds)).await
}

fn key_columns(keys: &[&VisitorsKey]) -> Vec<Column> {
    vec![
        Column::Text(keys.iter().map(|key| key.0.clone()).collect()),
        Column::Time(keys.iter().map(|key| key.1).collect()),
        Column::Text(keys.iter().map(|key| key.2.clone()).collect()),
    ]
}

fn key_of(row: &QueryResult) -> Result<VisitorsKey, DbErr> {
    Ok((row.try_get("", "market")?, row.try_get("", "minute")?, row.try_get("", "campaign")?))
}
