//! Reads on a real hot standby, each test with a primary and a replica of its own: what one does to them harms no other.

use std::sync::Arc;

use model::RegionNumber;
use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;
use testkit::postgres::execute;
use testkit::servers::{Server, Servers};
use testkit::wait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::fixture::{number, write};
use crate::{Config, Database, DatabaseConfig, Databases, Reads, ReplicaState, ReplicationConfig, Target};

const ON_HAND: &str = "SELECT on_hand FROM stock";
const COUNT_UP: &str = "UPDATE stock SET on_hand = on_hand + 1";

struct Pair {
    servers: Servers,
    database: Arc<Database>,
    stop: CancellationToken,
    watching: JoinSet<()>,
    _folder: TempDir,
}

impl Pair {
    /// A primary with one row of stock, and a replica that is read.
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("millpond-replica-").tempdir().unwrap();
        let servers = Servers::replicated(folder.path().join("services")).await.unwrap();
        let mut config = Config::default();
        let replica = servers.exported("MILLPOND_TEST_PG_REPLICA_URL").unwrap();
        let primary = servers.exported("MILLPOND_TEST_POSTGRES_URL").unwrap();
        let of_two = DatabaseConfig {
            replicas: vec![replica.into()],
            replication: ReplicationConfig {
                max_lag_ms: 2_000,
                look_ms: 50,
                catch_up_ms: 2_000,
                ..ReplicationConfig::default()
            },
            max_connections: 8,
            acquire_timeout_ms: 30_000,
            ..DatabaseConfig::at(primary)
        };
        config.database.insert("main".to_owned(), of_two);
        let database = Databases::open(&config).unwrap().region(RegionNumber(1)).unwrap().database.clone();
        crate::migrate(&database).await.unwrap();
        write(&database, "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 7)", []).await.unwrap();
        let (stop, mut watching) = (CancellationToken::new(), JoinSet::new());
        let (replica, stopped) = (Arc::clone(&database.replicas()[0]), stop.clone());
        watching.spawn(async move { replica.watch(stopped.cancelled_owned()).await });
        let pair = Self { servers, database, stop, watching, _folder: folder };
        pair.becomes(ReplicaState::Ready).await;
        pair
    }

    async fn becomes(&self, state: ReplicaState) {
        let replica = &self.database.replicas()[0];
        wait::until(&format!("the replica is {}", state.name()), async || (replica.state() == state).then_some(()))
            .await
            .unwrap();
    }

    /// On the replica itself.
    async fn tell_replica(&self, sql: &str) {
        execute(self.servers.exported("MILLPOND_TEST_PG_REPLICA_URL").unwrap(), sql.to_owned()).await.unwrap();
    }

    /// What a listing finds, and whether a standby said it.
    async fn listing(&self) -> (i64, bool) {
        let reader = self.database.reader(Reads::Listing);
        let sql = "SELECT on_hand, pg_is_in_recovery() FROM stock";
        let row = reader.query_one_raw(reader.statement(sql, [])).await.unwrap().unwrap();
        (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.watching.join_next().await {
            ended.unwrap();
        }
        self.database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_are_read_from_the_replica_while_it_is_not_behind_and_ones_own_rows_never() {
    let pair = Pair::start().await;
    wait::until("the replica has the row", async || (pair.listing().await == (7, true)).then_some(())).await.unwrap();

    pair.tell_replica("SELECT pg_wal_replay_pause()").await;
    write(&pair.database, COUNT_UP, []).await.unwrap();
    pair.becomes(ReplicaState::Behind).await;
    assert_eq!(pair.listing().await, (8, false), "the primary answers for a replica that is too far behind");
    assert!(pair.database.replicas()[0].lag_bytes().unwrap() > 0);
    assert_eq!(number(&pair.database, ON_HAND).await, 8);

    pair.tell_replica("SELECT pg_wal_replay_resume()").await;
    pair.becomes(ReplicaState::Ready).await;
    assert_eq!(pair.listing().await, (8, true));
    let reader = pair.database.reader(Reads::Report);
    reader.execute_unprepared("UPDATE stock SET on_hand = 0").await.unwrap_err();
    let by_replica = |(_, target, _): &(Reads, Target, u64)| *target == Target::Replica;
    assert!(pair.database.answered_reads().filter(by_replica).map(|(_, _, count)| count).sum::<u64>() >= 2);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_replica_has_not_passed_is_read_from_the_primary() {
    let pair = Pair::start().await;
    let at = async || pair.database.position().await.unwrap();
    let target = |position| pair.database.reader_at(Reads::Listing, position).target();
    let before = at().await;
    let replica = &pair.database.replicas()[0];
    wait::until("it is replayed", async || (replica.replayed() >= before).then_some(())).await.unwrap();
    assert_eq!((target(before), target(None)), (Target::Replica, Target::Primary));

    pair.tell_replica("SELECT pg_wal_replay_pause()").await;
    write(&pair.database, COUNT_UP, []).await.unwrap();
    let after = at().await;
    assert!(after > before);
    assert_eq!(target(after), Target::Primary, "though it is under the limit of lag");
    let reader = pair.database.reader_at(Reads::Listing, after);
    let row = reader.query_one_raw(reader.statement(ON_HAND, [])).await.unwrap().unwrap();
    assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 8);

    pair.tell_replica("SELECT pg_wal_replay_resume()").await;
    wait::until("it is replayed", async || (replica.replayed() >= after).then_some(())).await.unwrap();
    assert_eq!(target(after), Target::Replica);
    pair.end().await;
}

/// What the last look noted is behind a primary that is always written to.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_says_itself_that_it_has_replayed_a_position_while_others_write() {
    let pair = Pair::start().await;
    let (done, database) = (CancellationToken::new(), Arc::clone(&pair.database));
    let mut writer = JoinSet::new();
    let stopped = done.clone();
    writer.spawn(async move {
        while !stopped.is_cancelled() {
            write(&database, COUNT_UP, []).await.unwrap();
        }
    });
    for _ in 0..5 {
        wait::until("a list is read by the replica", async || {
            let (before, position) = (number(&pair.database, ON_HAND).await, pair.database.position().await.unwrap());
            let reader = pair.database.reader_after(Reads::Listing, position).await;
            let row = reader.query_one_raw(reader.statement(ON_HAND, [])).await.unwrap().unwrap();
            assert!(row.try_get_by_index::<i64>(0).unwrap() >= before, "it lacks what was committed before");
            (reader.target() == Target::Replica).then_some(())
        })
        .await
        .unwrap();
    }
    done.cancel();
    assert!(writer.join_all().await.len() == 1);

    pair.tell_replica("SELECT pg_wal_replay_pause()").await;
    write(&pair.database, COUNT_UP, []).await.unwrap();
    let position = pair.database.position().await.unwrap();
    assert_eq!(pair.database.reader_after(Reads::Listing, position).await.target(), Target::Primary);
    pair.tell_replica("SELECT pg_wal_replay_resume()").await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_costs_no_reader_an_error_and_is_read_again_when_it_is_back() {
    let pair = Pair::start().await;
    let mut readers = JoinSet::new();
    let (done, asked) = (CancellationToken::new(), pair.database.clone());
    for _ in 0..4 {
        let (database, done) = (Arc::clone(&asked), done.clone());
        readers.spawn(async move {
            let mut answered = 0_u64;
            while !done.is_cancelled() {
                let reader = database.reader(Reads::History);
                reader.query_one_raw(reader.statement(ON_HAND, [])).await.unwrap().unwrap();
                answered += 1;
            }
            answered
        });
    }
    pair.servers.end(Server::Replica, "KILL").await.unwrap();
    pair.becomes(ReplicaState::Away).await;
    assert_eq!(pair.listing().await, (7, false));
    pair.servers.bring_back(Server::Replica).await.unwrap();
    pair.becomes(ReplicaState::Ready).await;
    assert_eq!(pair.listing().await, (7, true));
    done.cancel();
    assert!(readers.join_all().await.iter().all(|answered| *answered > 0));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_and_its_reads_are_asked_of_the_primary() {
    let pair = Pair::start().await;
    pair.servers.freeze(Server::Replica).await.unwrap();
    // Begun while it is taken for healthy, or just after: answered either way.
    assert_eq!(pair.listing().await.0, 7);
    pair.becomes(ReplicaState::Away).await;
    assert_eq!(pair.listing().await, (7, false));
    pair.servers.thaw(Server::Replica).await.unwrap();
    pair.becomes(ReplicaState::Ready).await;
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_promoted_is_refused() {
    let pair = Pair::start().await;
    pair.tell_replica("SELECT pg_promote()").await;
    pair.becomes(ReplicaState::Promoted).await;
    write(&pair.database, COUNT_UP, []).await.unwrap();
    assert_eq!(pair.listing().await, (8, false));
    pair.end().await;
}

#[test]
fn a_file_has_no_replicas_and_its_configuration_says_so() {
    let mut config = Config::default();
    let url = "postgres://127.0.0.1/shop".into();
    let file = DatabaseConfig { replicas: vec![url], ..DatabaseConfig::at("sqlite:shop.db") };
    config.database.insert("main".to_owned(), file);
    let error = Databases::open(&config).unwrap_err().to_string();
    assert!(error.contains("replicas"), "{error}");
}
