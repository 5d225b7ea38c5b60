//! What operators look up, beside a real hot standby.

use std::future::pending;

use axum::http::StatusCode;
use serde_json::{Value, json};
use store::{Reads, ReplicaState, Target};
use testkit::postgres::execute;
use testkit::servers::Servers;
use testkit::wait;

use super::fixture::Site;

impl Site {
    /// Reads of this kind that a replica answered.
    fn by_the_replica(&self, kind: Reads) -> u64 {
        let of_it = |(reads, target, _): &(Reads, Target, u64)| (*reads, *target) == (kind, Target::Replica);
        self.database().answered_reads().filter(of_it).map(|(_, _, count)| count).sum()
    }

    async fn until_replayed(&self) {
        let standby = &self.database().replicas()[0];
        let position = self.database().position().await.unwrap();
        let replayed =
            async || (standby.replayed() >= position && standby.state() == ReplicaState::Ready).then_some(());
        wait::until("it is replayed", replayed).await.unwrap();
    }

    async fn shown(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }
}

/// A message that is parked, as its row has it.
const PARKED: &str = r"INSERT INTO parked_messages (queue, message_id, own_id, digest, kind, reason, reason_key, content_type,
    headers, body, published_at) VALUES ('millpond.checkout.main.v1', 'm', 'm', '\x01', 'order.placed', 'a wrong total',
    'a wrong total', 'application/json', '{}', '\x7b7d', now())";

async fn looked_up(site: &Site, primary: &str, replica: &str) {
    let id = site.store_order("cart-1").await;
    site.until_replayed().await;
    let found = site.shown("/v1/orders?find=cart-1").await;
    assert_eq!(found["orders"][0]["order_id"], json!(id));
    let history = site.by_the_replica(Reads::History);
    assert!(history > 0, "the history of an order is read there");

    execute(replica, "SELECT pg_wal_replay_pause()".to_owned()).await.unwrap();
    site.shown("/v1/orders?find=cart-1&show_customer=true").await;
    let history = site.by_the_replica(Reads::History);
    execute(primary, PARKED.to_owned()).await.unwrap();
    assert_eq!(site.trail().await, [format!("anna order.show_customer {id}")], "what was just done is in the trail");
    assert_eq!(site.shown("/v1/parked").await["groups"][0]["open"], 1);
    assert_eq!((site.by_the_replica(Reads::History), site.by_the_replica(Reads::Report)), (history, 0));

    execute(replica, "SELECT pg_wal_replay_resume()".to_owned()).await.unwrap();
    site.until_replayed().await;
    // It has a moment to say that it has passed the position, which a busy machine may exceed.
    wait::until("the replica answers for the trail and for the groups", async || {
        assert_eq!(site.trail().await.len(), 1);
        assert_eq!(site.shown("/v1/parked").await["groups"][0]["open"], 1);
        (site.by_the_replica(Reads::History) > history && site.by_the_replica(Reads::Report) > 0).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_the_trail_and_parked_groups_are_read_from_the_replica_and_hide_nothing_that_was_just_done() {
    let folder = tempfile::Builder::new().prefix("millpond-replica-").tempdir().unwrap();
    let servers = Servers::replicated(folder.path().join("services")).await.unwrap();
    let [primary, replica] =
        ["MILLPOND_TEST_POSTGRES_URL", "MILLPOND_TEST_PG_REPLICA_URL"].map(|name| servers.exported(name).unwrap());
    let site = Site::replicated(primary, replica).await;
    tokio::select! {
        () = site.database().replicas()[0].watch(pending()) => unreachable!("it watches for ever"),
        () = looked_up(&site, primary, replica) => {}
    }
    site.close().await;
}
