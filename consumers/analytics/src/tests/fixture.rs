//! Both databases, each empty and of its own.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, PageBatch, PageEvent, PageEventKind};
use model::{Clock as _, ManualClock};
use sea_orm::{ConnectionTrait as _, Value};
use store::{Config, Database, DatabaseConfig, Databases};
use tempfile::TempDir;
use testkit::postgres::FreshDatabase;
use worker::{BatchError, Handler, Item, Verdict};

use crate::{Counting, Orders, Pages};

pub(super) struct Fixture {
    pub(super) database: Arc<Database>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) counting: Counting,
    _folder: TempDir,
    _postgres: Option<FreshDatabase>,
}

pub(super) async fn both() -> [Fixture; 2] {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("test.db").display());
    let postgres = FreshDatabase::create().await.unwrap();
    let url = postgres.url().to_owned();
    [open(&file, folder, None).await, open(&url, tempfile::tempdir().unwrap(), Some(postgres)).await]
}

async fn open(url: &str, folder: TempDir, postgres: Option<FreshDatabase>) -> Fixture {
    let mut config = Config::default();
    // A machine that compiles beside the tests is slow, and slowness is not what they are about.
    let patient = DatabaseConfig { acquire_timeout_ms: 60_000, lock_timeout_ms: 60_000, ..DatabaseConfig::at(url) };
    config.database.insert("main".to_owned(), patient);
    let databases = Databases::open(&config).unwrap();
    let database = Arc::clone(databases.analytics());
    store::migrate(&database).await.unwrap();
    let start: DateTime<Utc> = "2026-11-27T12:00:30Z".parse().unwrap();
    let clock = Arc::new(ManualClock::at(start));
    Fixture { database, clock, counting: Counting::default(), _folder: folder, _postgres: postgres }
}

impl Fixture {
    pub(super) fn pages(&self) -> Pages {
        Pages::new(Arc::clone(&self.database), self.clock.clone(), self.counting.clone())
    }

    pub(super) fn orders(&self) -> Orders {
        Orders::new(Arc::clone(&self.database), self.counting.clone())
    }

    /// A batch of events with these ids, received now.
    pub(super) fn batch(&self, ids: impl IntoIterator<Item = u32>) -> PageBatch {
        PageBatch {
            market: "eu".parse().unwrap(),
            source: "web".to_owned(),
            received_at: self.clock.now(),
            events: ids.into_iter().map(event).collect(),
        }
    }

    /// The first row's columns, as numbers.
    pub(super) async fn numbers<const N: usize>(&self, sql: &str) -> [i64; N] {
        let row = self.database.read().query_one_raw(self.database.statement(sql, [])).await.unwrap().unwrap();
        std::array::from_fn(|i| row.try_get_by_index(i).unwrap())
    }

    pub(super) async fn texts(&self, sql: &str) -> Vec<String> {
        let rows = self.database.read().query_all_raw(self.database.statement(sql, [])).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    pub(super) async fn execute(&self, sql: &str, values: impl IntoIterator<Item = Value>) {
        let tx = self.database.begin().await.unwrap();
        tx.execute_raw(self.database.statement(sql, values)).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub(super) fn event(id: u32) -> PageEvent {
    PageEvent {
        message_id: format!("m{id}").parse().unwrap(),
        kind: if id % 10 == 9 { PageEventKind::Track } else { PageEventKind::Page },
        name: None,
        visitor: format!("visitor {}", id / 2),
        client_time: None,
        path: Some(format!("/p/{}", id % 3)),
        campaign: id.is_multiple_of(2).then(|| "black friday".to_owned()),
        products: Vec::new(),
    }
}

/// Items as the consume loop makes them.
pub(super) fn items<E>(events: impl IntoIterator<Item = E>) -> Vec<Item<E>> {
    let item = |(n, event)| Item { id: format!("id{n}").parse().unwrap(), attempt: 0, redelivered: false, event };
    events.into_iter().enumerate().map(item).collect()
}

pub(super) fn envelope(batch: PageBatch) -> Envelope<PageBatch> {
    Envelope::new(&ManualClock::at(batch.received_at), "ingress", batch)
}

/// Handles a batch as the consume loop does: contention means again.
pub(super) async fn handle<H: Handler>(handler: &H, batch: &[Item<H::Event>]) {
    loop {
        match handler.handle(batch).await {
            Ok(done) => return assert_eq!(done.verdicts, vec![Verdict::Done; batch.len()]),
            Err(BatchError::Contention(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) fn days(n: i64) -> TimeDelta {
    TimeDelta::days(n)
}
