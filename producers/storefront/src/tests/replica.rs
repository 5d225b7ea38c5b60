//! Lists, and a customer's own order, beside a real hot standby.

use std::future::pending;

use store::{Reads, Target};
use testkit::postgres::execute;
use testkit::servers::Servers;
use testkit::wait;

use super::fixture::{Fixture, quick, replicated};
use super::shelf::edit;

const LISTS: [&str; 3] = ["/v1/products", "/v1/products?collection=mugs", "/v1/products?q=blue"];

impl Fixture {
    /// Lists that a replica answered.
    fn by_the_replica(&self) -> u64 {
        let of_lists =
            |(reads, target, _): &(Reads, Target, u64)| (*reads, *target) == (Reads::Listing, Target::Replica);
        self.database().answered_reads().filter(of_lists).map(|(_, _, count)| count).sum()
    }

    /// A customer's own order is shown as soon as it is committed, and no replica is asked for it.
    async fn shows_an_order_by_the_primary(&self, key: &str) {
        let by_replica = || {
            let answered = self.database().answered_reads();
            answered.filter(|(_, target, _)| *target == Target::Replica).map(|(_, _, count)| count).sum::<u64>()
        };
        let before = by_replica();
        self.commit(key, "confirmed", None).await;
        assert_eq!(self.get(&self.path(key, "body", "")).await.json()["state"], "confirmed");
        assert_eq!(by_replica(), before);
    }
}

async fn a_change_beside(fixture: &Fixture, replica: &str) {
    let standby = &fixture.database().replicas()[0];
    fixture.shelve(&[edit("MUG", "Blue mug", 1_450)]).await;
    let shelved = fixture.database().position().await.unwrap();
    wait::until("it is replayed", async || (standby.replayed() >= shelved).then_some(())).await.unwrap();
    for path in LISTS {
        assert_eq!(fixture.get(path).await.json()["items"][0]["price"]["minor"], 1_450, "{path}");
    }
    let before = fixture.by_the_replica();
    assert!(before >= 3, "{before}");

    execute(replica, "SELECT pg_wal_replay_pause()".to_owned()).await.unwrap();
    fixture.shelve(&[edit("MUG", "Blue mug", 1_600)]).await;
    fixture.purge("MUG").await;
    let renders = fixture.pages.stats().renders;
    for path in LISTS {
        // Old pages are served while they are rendered anew; what is rendered has to be new, or it is old until the next purge.
        fixture.until(path, |answer| answer.json()["items"][0]["price"]["minor"] == 1_600).await;
    }
    assert_eq!(fixture.pages.stats().renders, renders + 3);
    assert_eq!(fixture.by_the_replica(), before, "the primary answers for a replica that has not replayed the change");
    fixture.shows_an_order_by_the_primary("a").await;

    execute(replica, "SELECT pg_wal_replay_resume()".to_owned()).await.unwrap();
    let changed = fixture.database().position().await.unwrap();
    wait::until("it is replayed", async || (standby.replayed() >= changed).then_some(())).await.unwrap();
    assert_eq!(fixture.get("/v1/products?q=mug").await.json()["items"][0]["price"]["minor"], 1_600);
    assert!(fixture.by_the_replica() > before);
    fixture.shows_an_order_by_the_primary("b").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_from_the_replica_but_for_a_change_that_it_has_not_replayed_and_ones_own_order_never() {
    let folder = tempfile::Builder::new().prefix("millpond-replica-").tempdir().unwrap();
    let servers = Servers::replicated(folder.path().join("services")).await.unwrap();
    let [primary, replica] =
        ["MILLPOND_TEST_POSTGRES_URL", "MILLPOND_TEST_PG_REPLICA_URL"].map(|name| servers.exported(name).unwrap());
    let fixture = replicated(quick(), primary, replica).await;
    tokio::select! {
        () = fixture.database().replicas()[0].watch(pending()) => unreachable!("it watches for ever"),
        () = a_change_beside(&fixture, replica) => {}
    }
}
