use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::outbox::{self, Outgoing};
use crate::{Backend, Database};
use events::{Band, Envelope, StockChanged};
use model::{EventId, SystemClock};
use tokio::task::JoinSet;

use super::fixture::{Home, number, write};

const LEASE: Duration = Duration::from_mins(1);

fn rows(count: usize) -> Vec<Outgoing> {
    let row = |version| {
        let data = StockChanged {
            region: "eu".parse().unwrap(),
            sku: "MUG".parse().unwrap(),
            band: Band::Low,
            version: i64::try_from(version).unwrap(),
        };
        let event = Envelope::new(&SystemClock, "test", data).traced(Some("00-trace".to_owned()));
        Outgoing::event("facts", &event)
    };
    (0..count).map(row).collect()
}

fn ids(rows: &[Outgoing]) -> Vec<EventId> {
    rows.iter().map(|row| row.id).collect()
}

async fn fill(database: &Database, count: usize) -> Vec<Outgoing> {
    let rows = rows(count);
    let tx = database.begin().await.unwrap();
    outbox::insert(database, &tx, &rows).await.unwrap();
    tx.commit().await.unwrap();
    rows
}

#[tokio::test]
async fn a_message_leaves_the_outbox_as_it_came_in() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let mut written = fill(&database, 3).await;
        written.sort_unstable_by_key(|row| row.id);
        let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
        assert_eq!(claim.rows(), written);
        claim.settle(&ids(&written)).await.unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM outbox").await, 0);
    }
}

#[tokio::test]
async fn more_rows_than_a_statement_takes_are_inserted_and_settled() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let written = fill(&database, 9_000).await;
        let claim = outbox::claim(&database, 9_000, LEASE).await.unwrap();
        assert_eq!(claim.rows().len(), 9_000);
        claim.settle(&ids(&written[..8_999])).await.unwrap();
        assert_eq!(ids(outbox::claim(&database, 9_000, LEASE).await.unwrap().rows()), ids(&written[8_999..]));
    }
}

#[tokio::test]
async fn rows_that_wait_are_counted_up_to_a_bound() {
    for home in Home::both().await {
        let database = home.migrated().await;
        assert_eq!(outbox::count(&database, 10).await.unwrap(), 0);
        fill(&database, 7).await;
        assert_eq!(outbox::count(&database, 10).await.unwrap(), 7);
        assert_eq!(outbox::count(&database, 5).await.unwrap(), 5);
    }
}

#[tokio::test]
async fn what_is_rolled_back_never_leaves() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let tx = database.begin().await.unwrap();
        outbox::insert(&database, &tx, &rows(1)).await.unwrap();
        tx.rollback().await.unwrap();
        assert!(outbox::claim(&database, 10, LEASE).await.unwrap().rows().is_empty());
    }
}

#[tokio::test]
async fn a_claimed_row_is_claimed_by_nobody_else() {
    for home in Home::both().await {
        let (one, other) = (home.migrated().await, home.open());
        fill(&one, 10).await;
        let first = outbox::claim(&one, 6, LEASE).await.unwrap();
        let second = outbox::claim(&other, 10, LEASE).await.unwrap();
        assert_eq!((first.rows().len(), second.rows().len()), (6, 4));
        assert!(outbox::claim(&other, 10, LEASE).await.unwrap().rows().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claimers_at_once_never_share_a_row() {
    for home in Home::both().await {
        let migrated = home.migrated().await;
        let written = fill(&migrated, 300).await;
        let mut claimers = JoinSet::new();
        for _ in 0..4 {
            let database = home.open();
            claimers.spawn(async move { drain(database).await });
        }
        let claimed: Vec<EventId> = claimers.join_all().await.into_iter().flatten().collect();
        assert_eq!(claimed.len(), 300, "a row was claimed twice");
        assert_eq!(BTreeSet::from_iter(claimed), BTreeSet::from_iter(ids(&written)));
    }
}

/// Claims and settles until nothing is left.
async fn drain(database: Arc<Database>) -> Vec<EventId> {
    let mut mine = Vec::new();
    while number(&database, "SELECT count(*) FROM outbox").await > 0 {
        let claim = outbox::claim(&database, 7, LEASE).await.unwrap();
        let claimed = ids(claim.rows());
        claim.settle(&claimed).await.unwrap();
        mine.extend(claimed);
    }
    mine
}

#[tokio::test]
async fn a_row_that_commits_late_is_not_passed_by() {
    let home = Home::server().await;
    let database = home.migrated().await;
    let early = rows(1);
    let late = database.begin().await.unwrap();
    outbox::insert(&database, &late, &early).await.unwrap();
    let after = fill(&database, 1).await;
    let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
    assert_eq!(claim.rows(), after);
    claim.settle(&ids(&after)).await.unwrap();
    late.commit().await.unwrap();
    assert_eq!(outbox::claim(&database, 10, LEASE).await.unwrap().rows(), early);
}

#[tokio::test]
async fn a_row_that_can_not_be_read_keeps_no_other_from_leaving() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let written = fill(&database, 3).await;
        let spoil = r#"UPDATE outbox SET headers = '{"depth": 1}' WHERE id = $1"#;
        write(&database, spoil, [written[1].id.as_uuid().into()]).await.unwrap();
        let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
        let mut left = ids(&[written[0].clone(), written[2].clone()]);
        left.sort_unstable();
        assert_eq!(ids(claim.rows()), left);
        claim.settle(&left).await.unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM outbox").await, 1);
        assert!(outbox::claim(&database, 10, LEASE).await.unwrap().rows().is_empty());
    }
}

#[tokio::test]
async fn what_was_not_confirmed_can_be_claimed_again_at_once() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let written = fill(&database, 3).await;
        let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
        claim.settle(&[written[1].id]).await.unwrap();
        let again: BTreeSet<EventId> =
            ids(outbox::claim(&database, 10, LEASE).await.unwrap().rows()).into_iter().collect();
        assert_eq!(again, BTreeSet::from([written[0].id, written[2].id]));
    }
}

#[tokio::test]
async fn the_rows_of_a_claim_that_died_come_back() {
    for home in Home::both().await {
        let database = home.migrated().await;
        fill(&database, 3).await;
        // Short, as SQLite's rows come back only when it has run out.
        drop(outbox::claim(&database, 10, Duration::from_millis(50)).await.unwrap());
        let again = || async {
            let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
            (claim.rows().len() == 3).then_some(())
        };
        testkit::wait::until("the rows are claimed again", again).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_on_postgres_that_is_stuck_is_ended_by_the_server() {
    let home = Home::server().await;
    let database = home.migrated().await;
    fill(&database, 1).await;
    let stuck = outbox::claim(&database, 10, Duration::from_millis(50)).await.unwrap();
    let again = || async {
        let claim = outbox::claim(&database, 10, LEASE).await.unwrap();
        (claim.rows().len() == 1).then_some(())
    };
    testkit::wait::until("the row is claimed by another", again).await.unwrap();
    assert_eq!(database.backend(), Backend::Postgres);
    let confirmed = ids(stuck.rows());
    assert!(stuck.settle(&confirmed).await.is_err());
    assert_eq!(number(&database, "SELECT count(*) FROM outbox").await, 1);
}

#[tokio::test]
async fn the_age_of_the_oldest_row_is_known_by_the_databases_clock() {
    for home in Home::both().await {
        let database = home.migrated().await;
        assert_eq!(outbox::oldest_age(&database).await.unwrap(), None);
        fill(&database, 2).await;
        let grows =
            || async { outbox::oldest_age(&database).await.unwrap().filter(|age| *age > Duration::from_millis(5)) };
        assert!(testkit::wait::until("the row has an age", grows).await.unwrap() < Duration::from_mins(1));
    }
}
