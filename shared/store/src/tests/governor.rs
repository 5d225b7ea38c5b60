use std::time::Duration;

use flow::shares::{WHOLE, fair, grant};
use flow::{Budget, Claim, Rank};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Database;
use crate::governor::{self, Lease, View};

use super::fixture::{Home, number, write};

/// No test waits for it.
const LONG: Duration = Duration::from_mins(10);

/// A checkout worker that could use everything, as the governor takes shares.
fn hungry(view: &View) -> Lease {
    let mut claims = vec![Claim { rank: Rank::Checkout, demand: WHOLE }];
    claims.extend(view.others.iter().map(|other| Claim { rank: other.rank, demand: other.demand }));
    let held = view.others.iter().map(|other| u64::from(other.share)).sum();
    Lease { rank: Rank::Checkout, demand: WHOLE, share: grant(fair(&claims, 0)[0], held), factor: WHOLE }
}

async fn renew(database: &Database, id: u128, lease: Duration) -> u32 {
    governor::renew(database, Uuid::from_u128(id), lease, hungry).await.unwrap().1.share
}

#[tokio::test]
async fn a_newcomer_waits_until_the_other_has_renewed_and_then_they_share_alike() {
    for home in Home::both().await {
        let database = home.migrated().await;
        assert_eq!(renew(&database, 1, LONG).await, WHOLE);
        assert_eq!(renew(&database, 2, LONG).await, 0, "the first may still use everything");
        assert_eq!(renew(&database, 1, LONG).await, WHOLE / 2);
        assert_eq!(renew(&database, 2, LONG).await, WHOLE / 2);
        let shares: Vec<u32> = governor::leases(&database).await.unwrap().iter().map(|lease| lease.share).collect();
        assert_eq!(shares, [WHOLE / 2, WHOLE / 2]);
    }
}

#[tokio::test]
async fn the_share_of_one_that_left_is_free_at_once_and_of_one_that_died_when_its_lease_runs_out() {
    for home in Home::both().await {
        let database = home.migrated().await;
        renew(&database, 1, LONG).await;
        assert_eq!(renew(&database, 2, LONG).await, 0);
        governor::leave(&database, Uuid::from_u128(1)).await.unwrap();
        assert_eq!(renew(&database, 2, LONG).await, WHOLE);

        governor::leave(&database, Uuid::from_u128(2)).await.unwrap();
        assert_eq!(renew(&database, 3, Duration::from_millis(300)).await, WHOLE);
        let database = &database;
        let free = || async move { (renew(database, 4, LONG).await == WHOLE).then_some(()) };
        testkit::wait::until("the lease of the dead one has run out", free).await.unwrap();
        assert_eq!(number(database, "SELECT count(*) FROM governor_lease").await, 1, "its row is gone, too");
    }
}

#[tokio::test]
async fn leases_run_by_the_databases_clock() {
    for home in Home::both().await {
        let database = home.migrated().await;
        renew(&database, 1, Duration::from_secs(100)).await;
        let seconds = match database.backend() {
            crate::Backend::Postgres => "extract(epoch FROM expires_at - renewed_at)",
            crate::Backend::Sqlite => "round((julianday(expires_at) - julianday(renewed_at)) * 86400)",
        };
        let sql = format!("SELECT CAST({seconds} AS bigint) FROM governor_lease");
        assert_eq!(number(&database, &sql).await, 100);
        // As if the database's clock had moved on.
        let past = match database.backend() {
            crate::Backend::Postgres => "now() - interval '1 second'",
            crate::Backend::Sqlite => "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-1 seconds')",
        };
        write(&database, &format!("UPDATE governor_lease SET expires_at = {past}"), []).await.unwrap();
        assert_eq!(governor::leases(&database).await.unwrap(), []);
        assert_eq!(renew(&database, 2, LONG).await, WHOLE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_renews_at_once_the_shares_never_add_up_to_more_than_the_whole() {
    for home in Home::both().await {
        home.migrated().await;
        let mut workers = JoinSet::new();
        for id in 0..6 {
            let database = home.open();
            workers.spawn(async move {
                for _ in 0..8 {
                    let sum = |view: &View| view.others.iter().map(|other| u64::from(other.share)).sum::<u64>();
                    let renewed = governor::renew(&database, Uuid::from_u128(id), LONG, hungry).await;
                    let (view, mine) = renewed.unwrap();
                    assert!(sum(&view) + u64::from(mine.share) <= u64::from(WHOLE), "{view:?} and {mine:?}");
                }
            });
        }
        workers.join_all().await;
        let shares: Vec<u32> = governor::leases(&home.open()).await.unwrap().iter().map(|lease| lease.share).collect();
        assert_eq!(shares.len(), 6);
        assert!(shares.iter().sum::<u32>() <= WHOLE, "{shares:?}");
    }
}

#[tokio::test]
async fn a_budget_in_the_database_is_seen_by_every_renewal_until_it_is_taken_back() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let seen = async || {
            let renewed = governor::renew(&database, Uuid::from_u128(1), LONG, hungry).await.unwrap();
            assert_eq!(governor::budget(&database).await.unwrap(), renewed.0.budget);
            renewed.0.budget
        };
        assert_eq!(seen().await, None);
        let budget: Budget = "2000 rows/s, 100 transactions/s".parse().unwrap();
        governor::set_budget(&database, Some(budget)).await.unwrap();
        assert_eq!(seen().await, Some(budget));
        governor::set_budget(&database, Some(Budget::UNLIMITED)).await.unwrap();
        assert_eq!(seen().await, Some(Budget::UNLIMITED));
        governor::set_budget(&database, None).await.unwrap();
        assert_eq!(seen().await, None);
        write(&database, "UPDATE governor SET budget = 'plenty'", []).await.unwrap();
        assert_eq!(seen().await, None, "what nobody can read limits nobody");
    }
}
