//! The oracle over page events, on a database file.

use sea_orm::ConnectionTrait as _;
use store::{Config, DatabaseConfig, Databases};
use tempfile::TempDir;

use super::*;
use crate::journal::Entry;

/// Requests of page events by number: how many each has, and its answer.
fn claims(requests: &[(u32, Option<u16>)]) -> Claims {
    let mut entries = vec![Entry::Run { run: "my_run".to_owned(), seed: 1 }, Entry::Reserved { to: 1_000 }];
    for (n, (count, status)) in (0..).zip(requests) {
        entries.push(Entry::Events { n, ids: format!("my_run-{n}"), count: *count });
        entries.push(Entry::Answer { n, status: *status, order_id: None, latency_us: 1 });
    }
    entries.push(Entry::Ended);
    Claims::of(entries.into_iter().map(Ok)).unwrap()
}

struct Site {
    _folder: TempDir,
    databases: Databases,
}

impl Site {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let url = format!("sqlite:{}", folder.path().join("millpond.db").display());
        config.database.insert("main".to_owned(), DatabaseConfig::at(url));
        let databases = Databases::open(&config).unwrap();
        for database in databases.databases() {
            store::migrate(database).await.unwrap();
        }
        Self { _folder: folder, databases }
    }

    async fn change(&self, sql: &str) {
        let tx = self.databases.analytics().begin().await.unwrap();
        tx.execute_unprepared(sql).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Analytics has these ids, and `counted` events in its rollups.
    async fn has(&self, ids: impl IntoIterator<Item = String>, counted: u64) {
        let ids: Vec<String> = ids.into_iter().map(|id| format!("('shop', '{id}')")).collect();
        self.change("DELETE FROM page_events_seen; DELETE FROM page_rollups_minute").await;
        self.change(&format!("INSERT INTO page_events_seen (source, message_id) VALUES {}", ids.join(","))).await;
        let rollup = "INSERT INTO page_rollups_minute (market, minute, path, events) VALUES ('main', '2026-01-01'";
        self.change(&format!("{rollup}, '/load/my_run/0', {counted})")).await;
    }

    async fn finding(&self, claims: &Claims) -> Finding {
        verify(claims, &self.databases).await.unwrap()
    }
}

/// The ids of the first `count` events of request `n`.
fn ids(n: u32, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |i| format!("my_run-{n}-{i}"))
}

#[tokio::test]
async fn page_events_are_counted_once_each() {
    let (site, claims) = (Site::open().await, claims(&[(10, Some(200))]));
    site.has(ids(0, 10), 10).await;
    let found = site.finding(&claims).await;
    assert!(found.is_clean() && found.events_counted == 10, "{found:?}");
    assert!(settled(&claims, &site.databases).await.unwrap());
    for (stored, counted, (lost, duplicated, unexpected)) in
        [(9, 9, (1, 0, 0)), (10, 9, (1, 0, 0)), (10, 11, (0, 1, 0)), (12, 12, (0, 0, 2))]
    {
        site.has(ids(0, stored), counted).await;
        let found = site.finding(&claims).await;
        assert_eq!((found.lost, found.duplicated, found.unexpected), (lost, duplicated, unexpected), "{found:?}");
    }
}

#[tokio::test]
async fn stored_page_events_of_an_unknown_outcome_do_not_make_up_for_lost_ones() {
    let (site, claims) = (Site::open().await, claims(&[(10, Some(200)), (10, None), (10, Some(400))]));
    site.has(ids(1, 10), 10).await;
    let found = site.finding(&claims).await;
    assert_eq!((found.lost, found.unexpected), (10, 0), "{found:?}");
    assert!(!settled(&claims, &site.databases).await.unwrap(), "nor do they end the wait");
    site.has(ids(0, 10).chain(ids(2, 3)), 13).await;
    assert_eq!(site.finding(&claims).await.unexpected, 3, "of a request that was refused");
}

#[tokio::test]
async fn page_events_are_read_to_the_last_and_those_of_another_run_are_not_counted() {
    let (site, claims) = (Site::open().await, claims(&[(25_000, Some(200))]));
    site.has(ids(0, 25_000).chain(["my-run-0-1".to_owned()]), 25_000).await;
    let found = site.finding(&claims).await;
    assert!(found.is_clean() && found.events_counted == 25_000, "{found:?}");
}
