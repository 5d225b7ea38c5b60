//! Whether the cache says what the database says. What it does not hold is fine: it may forget. What it holds is as
//! committed, in state and version; a version that it saw of a product or of stock is one that the row has reached. And a
//! change of everything, made at rest, has reached every tag: it has another generation than before, and the row's version.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use capacity::{Breaches, Guarantee};
use chrono::{DateTime, Utc};
use model::RegionName;
use redis::aio::MultiplexedConnection;
use serde_json::Value as Json;
use store::{Databases, bind};
use uuid::Uuid;

use super::believed::{self, Behind, RESERVED};
use super::read::rows;
use super::{Noted, Site};

/// Keys that one look takes.
const CHUNK: usize = 2_000;

/// What one side says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) version: i64,
    pub(super) state: String,
}

/// An order as the cache holds it: `VERSION JSON`, with the state in the JSON.
fn parse(value: &str) -> Option<Said> {
    let (version, body) = value.split_once(' ')?;
    let body: Json = serde_json::from_str(body).ok()?;
    Some(Said { version: version.parse().ok()?, state: body["state"].as_str()?.to_owned() })
}

/// An order's row.
#[derive(Debug, Clone)]
struct Row {
    said: Said,
    accepted_at: DateTime<Utc>,
}

/// What is confirmed is changed by the shop's own servers alone (cancelled), and what is reserved by a payment or its time. The cache
/// is told of that as well as may be: with Redis away it is not, and holds the old status until it forgets it. That is no breach by
/// itself: what readers make of it is (`believed.rs`).
fn is_behind(held: &Said, row: &Said) -> bool {
    matches!(held.state.as_str(), "confirmed" | RESERVED) && held.version < row.version
}

/// Those that the cache has from before they changed go to `behind`.
fn compare_statuses(cached: &[(Uuid, String)], stored: &HashMap<Uuid, Row>, behind: &mut Vec<Behind>) -> Breaches {
    let mut breaches = Breaches::default();
    for (id, value) in cached {
        match (parse(value), stored.get(id)) {
            (Some(held), Some(row)) if held == row.said => {}
            (Some(held), Some(Row { said, accepted_at })) if is_behind(&held, said) => {
                behind.push(Behind { id: *id, held, row: said.clone(), accepted_at: *accepted_at });
            }
            (_, row) => {
                let expected =
                    row.map_or_else(|| "nothing, as there is no row".to_owned(), |row| format!("{:?}", row.said));
                breaches.add(Guarantee::Cached, format!("order {id}"), expected, format!("{value:?}"));
            }
        }
    }
    breaches
}

/// `seen` are versions that the cache has seen of `product:REGION:SKU` or `stock:REGION:SKU`.
fn compare_versions(seen: &[(String, i64)], stored: &BTreeMap<String, i64>) -> Breaches {
    let mut breaches = Breaches::default();
    for (aggregate, version) in seen {
        let row = stored.get(aggregate).copied().unwrap_or(0);
        if *version > row {
            breaches.add(Guarantee::Cached, aggregate, format!("at most version {row}"), version.to_string());
        }
    }
    breaches
}

/// What the cache knows of a tag: its generation, and the version that it was purged for.
type Purged = (Option<String>, Option<i64>);

/// `noted` are tags as they were before what is behind them changed.
fn compare_purged(noted: &[Noted], purged: &[Purged], stored: &BTreeMap<String, i64>) -> Breaches {
    let mut breaches = Breaches::default();
    for (Noted { tag, generation }, (now, version)) in noted.iter().zip(purged) {
        let row = stored.get(tag).copied().unwrap_or(0);
        if now.is_none() || now == generation {
            let expected = format!("another generation than {generation:?}, as it changed");
            breaches.add(Guarantee::Cached, format!("the tag {tag}"), expected, format!("{now:?}"));
        }
        if *version != Some(row) {
            let expected = format!("purged for version {row}");
            breaches.add(Guarantee::Cached, format!("the tag {tag}"), expected, format!("{version:?}"));
        }
    }
    breaches
}

/// Reads both sides and compares.
pub(super) async fn judge(site: &Site<'_>) -> Result<Breaches> {
    let client = redis::Client::open(site.evidence.redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await.context("Redis, which has to be back by now")?;
    let mut breaches = Breaches::default();
    let mut behind = Vec::new();
    let prefix = format!("{}order:", site.evidence.redis_prefix);
    for keys in keys(&mut redis, &prefix).await?.chunks(CHUNK) {
        let cached = values(&mut redis, &prefix, keys).await?;
        let cached: Vec<(Uuid, String)> =
            cached.into_iter().filter_map(|(id, value)| Some((id.parse().ok()?, value))).collect();
        breaches.extend(compare_statuses(&cached, &statuses(&site.databases, &cached).await?, &mut behind));
    }
    breaches.extend(believed::judge(site.evidence, &behind).await);
    let prefix = format!("{}seen:", site.evidence.redis_prefix);
    let mut seen = Vec::new();
    for keys in keys(&mut redis, &prefix).await?.chunks(CHUNK) {
        let found = values(&mut redis, &prefix, keys).await?;
        // `AGGREGATE>TAG`: one for each tag of the aggregate.
        seen.extend(found.into_iter().filter_map(|(key, version)| {
            let aggregate = key.split_once('>').map_or(key.as_str(), |(aggregate, _)| aggregate).to_owned();
            Some((aggregate, version.parse().ok()?))
        }));
    }
    let stored = versions(&site.databases).await?;
    breaches.extend(compare_versions(&seen, &stored));
    let noted = &site.evidence.noted;
    if !noted.is_empty() {
        let purged = purged(&mut redis, &site.evidence.redis_prefix, noted).await?;
        breaches.extend(compare_purged(noted, &purged, &stored));
    }
    Ok(breaches)
}

async fn purged(redis: &mut MultiplexedConnection, prefix: &str, noted: &[Noted]) -> Result<Vec<Purged>> {
    let mut get = redis::cmd("MGET");
    for Noted { tag, .. } in noted {
        // What a product's change purges for: see `consumers/invalidation`.
        get.arg(format!("{prefix}tag:{tag}")).arg(format!("{prefix}seen:{tag}>{tag}"));
    }
    let held: Vec<Option<String>> = get.query_async(redis).await?;
    let pair = |pair: &[Option<String>]| (pair[0].clone(), pair[1].as_ref().and_then(|text| text.parse().ok()));
    Ok(held.chunks_exact(2).map(pair).collect())
}

/// Every key with this prefix: some 60 bytes for each order that the cache still holds.
async fn keys(redis: &mut MultiplexedConnection, prefix: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(CHUNK);
        let (next, keys): (u64, Vec<String>) = scan.query_async(redis).await?;
        found.extend(keys);
        cursor = next;
        if cursor == 0 {
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        }
    }
}

/// What the keys hold now, without their prefix; one that ran out meanwhile is left out.
async fn values(redis: &mut MultiplexedConnection, prefix: &str, keys: &[String]) -> Result<Vec<(String, String)>> {
    let held: Vec<Option<String>> = redis::cmd("MGET").arg(keys).query_async(redis).await?;
    let named = keys.iter().map(|key| key.strip_prefix(prefix).unwrap_or(key).to_owned());
    Ok(named.zip(held).filter_map(|(key, value)| Some((key, value?))).collect())
}

async fn statuses(databases: &Databases, cached: &[(Uuid, String)]) -> Result<HashMap<Uuid, Row>> {
    let mut stored = HashMap::with_capacity(cached.len());
    for database in databases.databases() {
        let ids = [bind::uuids(cached.iter().map(|(id, _)| *id))];
        let sql = "SELECT id, version, state, accepted_at FROM orders WHERE id = ANY($1)";
        for row in rows(database, sql, ids).await? {
            let said = Said { version: row.try_get("", "version")?, state: row.try_get("", "state")? };
            stored.insert(row.try_get("", "id")?, Row { said, accepted_at: row.try_get("", "accepted_at")? });
        }
    }
    Ok(stored)
}

/// The versions of every product and of all stock: a catalogue, which fits into memory.
async fn versions(databases: &Databases) -> Result<BTreeMap<String, i64>> {
    let names: BTreeMap<i32, RegionName> =
        databases.regions().map(|region| (i32::from(region.number.0), region.name.clone())).collect();
    let mut versions = BTreeMap::new();
    for database in databases.databases() {
        let sql = "SELECT 'product' AS kind, region, sku, version FROM products UNION ALL \
                   SELECT 'stock', region, sku, version FROM stock";
        for row in rows(database, sql, []).await? {
            let (kind, sku): (String, String) = (row.try_get("", "kind")?, row.try_get("", "sku")?);
            if let Some(region) = names.get(&row.try_get("", "region")?) {
                versions.insert(format!("{kind}:{region}:{sku}"), row.try_get("", "version")?);
            }
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many breaches, and how many that readers have to be asked about.
    fn found(cached: &str, row: Option<(i64, &str)>) -> (u64, usize) {
        let id = Uuid::from_u128(7);
        let said = |(version, state): (i64, &str)| Said { version, state: state.to_owned() };
        let stored = row.map(|row| (id, Row { said: said(row), accepted_at: DateTime::UNIX_EPOCH }));
        let mut behind = Vec::new();
        let breaches = compare_statuses(&[(id, cached.to_owned())], &stored.into_iter().collect(), &mut behind);
        (breaches.of(Guarantee::Cached), behind.len())
    }

    fn breaches(cached: &str, row: Option<(i64, &str)>) -> u64 {
        found(cached, row).0
    }

    #[test]
    fn a_status_that_is_held_is_the_rows_in_state_and_version() {
        let confirmed = r#"1 {"order_id": "…", "version": 1, "state": "confirmed"}"#;
        assert_eq!(breaches(confirmed, Some((1, "confirmed"))), 0);
        assert_eq!(breaches(confirmed, Some((1, "rejected"))), 1, "told before the commit");
        assert_eq!(found(confirmed, Some((2, "released"))), (0, 1), "cancelled, and believed for its time");
        let reserved = r#"1 {"order_id": "…", "version": 1, "state": "reserved"}"#;
        assert_eq!(found(reserved, Some((3, "confirmed"))), (0, 1), "paid, and nobody may believe otherwise");
        assert_eq!(found(reserved, Some((2, "released"))), (0, 1), "its time was up");
        assert_eq!(breaches(reserved, Some((1, "confirmed"))), 1, "no other state in the same version");
        let rejected = r#"1 {"order_id": "…", "version": 1, "state": "rejected"}"#;
        assert_eq!(breaches(rejected, Some((2, "released"))), 1, "final, and changed");
        assert_eq!(breaches(confirmed, None), 1, "of an order that is nowhere");
        assert_eq!(breaches("garbage", Some((1, "confirmed"))), 1);
    }

    #[test]
    fn the_cache_has_seen_no_version_that_the_row_has_not_reached() {
        let stored = BTreeMap::from([("stock:eu:MUG".to_owned(), 4)]);
        let breaches = |aggregate: &str, version| {
            compare_versions(&[(aggregate.to_owned(), version)], &stored).of(Guarantee::Cached)
        };
        assert_eq!((breaches("stock:eu:MUG", 3), breaches("stock:eu:MUG", 4)), (0, 0));
        assert_eq!((breaches("stock:eu:MUG", 5), breaches("stock:eu:PEN", 1)), (1, 1));
    }

    #[test]
    fn a_change_reaches_its_tag() {
        let noted = |generation: Option<&str>| {
            [Noted { tag: "product:eu:MUG".to_owned(), generation: generation.map(ToOwned::to_owned) }]
        };
        let stored = BTreeMap::from([("product:eu:MUG".to_owned(), 4)]);
        let breaches = |before: Option<&str>, now: Option<&str>, version| {
            let purged = [(now.map(ToOwned::to_owned), version)];
            compare_purged(&noted(before), &purged, &stored).of(Guarantee::Cached)
        };
        assert_eq!((breaches(Some("a"), Some("b"), Some(4)), breaches(None, Some("b"), Some(4))), (0, 0));
        assert_eq!(breaches(Some("a"), Some("a"), Some(4)), 1, "what was rendered before is fresh yet");
        assert_eq!(breaches(Some("a"), None, None), 2, "nobody has purged it");
        assert_eq!(breaches(Some("a"), Some("b"), Some(3)), 1, "purged for an older version");
    }
}
