//! The oracle over page events, on a database file.

use std::fmt::Write as _;

use sea_orm::ConnectionTrait as _;
use store::{Config, DatabaseConfig, Databases};
use tempfile::TempDir;

use super::*;
use crate::journal::Entry;
use crate::request::path;

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

    /// Analytics has these ids, and has counted each under its path in one of two minutes; `off` events more under the first.
    async fn has(&self, ids: impl IntoIterator<Item = String>, off: i64) {
        let ids: Vec<String> = ids.into_iter().collect();
        let mut counted: BTreeMap<(u64, u64), i64> = [((0, 0), off)].into();
        for id in ids.iter().filter_map(|id| id.strip_prefix("my_run-")) {
            let (n, i) = id.split_once('-').unwrap();
            let (n, i) = (n.parse().unwrap(), i.parse().unwrap());
            *counted.entry((path(n, i), i % 2)).or_default() += 1;
        }
        self.change("DELETE FROM page_events_seen; DELETE FROM page_rollups_minute").await;
        let ids: Vec<String> = ids.iter().map(|id| format!("('shop', '{id}')")).collect();
        self.change(&format!("INSERT INTO page_events_seen (source, message_id) VALUES {}", ids.join(","))).await;
        let mut rollups = "INSERT INTO page_rollups_minute (market, minute, path, events, views) VALUES ".to_owned();
        for (n, ((path, minute), events)) in counted.into_iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let row = format!("('main', '2026-01-0{}', '/load/my_run/{path}', {events}, {events})", minute + 1);
            write!(rollups, "{comma}{row}").unwrap();
        }
        self.change(&rollups).await;
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
    site.has(ids(0, 10), 0).await;
    let found = site.finding(&claims).await;
    assert!(found.is_clean() && found.events_counted == 10, "{found:?}");
    assert!(settled(&claims, &site.databases).await.unwrap());
    for (stored, off, (lost, duplicated, unexpected)) in
        [(9, 0, (1, 0, 0)), (10, -1, (1, 0, 0)), (10, 1, (0, 1, 0)), (12, 0, (0, 0, 2))]
    {
        site.has(ids(0, stored), off).await;
        let found = site.finding(&claims).await;
        assert_eq!((found.lost, found.duplicated, found.unexpected), (lost, duplicated, unexpected), "{found:?}");
    }
}

#[tokio::test]
async fn rollups_hold_every_path_by_itself_and_each_event_as_a_view() {
    let (site, claims) = (Site::open().await, claims(&[(10, Some(200))]));
    for (change, breaches, (lost, duplicated)) in [
        ("UPDATE page_rollups_minute SET path = '/load/my_run/1' WHERE path = '/load/my_run/0'", 2, (1, 1)),
        ("UPDATE page_rollups_minute SET path = '/load/my_run/50' WHERE path = '/load/my_run/3'", 2, (1, 1)),
        ("UPDATE page_rollups_minute SET views = 0 WHERE path = '/load/my_run/7'", 1, (0, 0)),
    ] {
        site.has(ids(0, 10), 0).await;
        site.change(change).await;
        let found = site.finding(&claims).await;
        assert_eq!((found.lost, found.duplicated), (lost, duplicated), "{change}: {found:?}");
        assert_eq!(found.breaches.of(Guarantee::Rollups), breaches, "{change}: {found:?}");
    }
}

#[tokio::test]
async fn stored_page_events_of_an_unknown_outcome_do_not_make_up_for_lost_ones() {
    let (site, claims) = (Site::open().await, claims(&[(10, Some(200)), (10, None), (10, Some(400))]));
    site.has(ids(1, 10), 0).await;
    let found = site.finding(&claims).await;
    assert_eq!((found.lost, found.unexpected), (10, 0), "{found:?}");
    assert!(!settled(&claims, &site.databases).await.unwrap(), "nor do they end the wait");
    site.has(ids(0, 10).chain(ids(2, 3)), 0).await;
    assert_eq!(site.finding(&claims).await.unexpected, 3, "of a request that was refused");
}

#[tokio::test]
async fn page_events_are_read_to_the_last_and_those_of_another_run_are_not_counted() {
    let (site, claims) = (Site::open().await, claims(&[(25_000, Some(200))]));
    site.has(ids(0, 25_000).chain(["my-run-0-1".to_owned()]), 0).await;
    let found = site.finding(&claims).await;
    assert!(found.is_clean() && found.events_counted == 25_000, "{found:?}");
}
