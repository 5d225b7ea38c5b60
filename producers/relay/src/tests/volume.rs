//! A great many messages: the table stays small, and a claim stays cheap.

use std::sync::Arc;

use sea_orm::ConnectionTrait as _;
use service::Shutdown;
use store::{Backend, Database};

use super::fixture::{Shop, config};
use super::flaky::{FlakyBroker, Mood};
use crate::Config;

/// Messages of each round and database; what autovacuum lets die before it comes (`outbox_upkeep` says so).
const ROUND: usize = 1_000;
/// 100,000 messages through both outboxes.
const ROUNDS: usize = 50;

/// What the outbox takes on disk, KB; on SQLite the file.
async fn size_kb(database: &Database) -> i64 {
    let sql = match database.backend() {
        Backend::Postgres => "SELECT pg_total_relation_size('outbox') / 1024 AS kb",
        Backend::Sqlite => "SELECT page_count * page_size / 1024 AS kb FROM pragma_page_count, pragma_page_size",
    };
    let row = database.read().query_one_raw(database.statement(sql, [])).await.unwrap().unwrap();
    row.try_get("", "kb").unwrap()
}

/// Pages that a look at the first rows touches: what a claim costs before it has found anything.
async fn pages_touched(database: &Database) -> i64 {
    let sql = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM outbox ORDER BY id LIMIT 64";
    let row = database.read().query_one_raw(database.statement(sql, [])).await.unwrap().unwrap();
    let plan: serde_json::Value = row.try_get_by_index(0).unwrap();
    let blocks = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
    blocks("Shared Hit Blocks") + blocks("Shared Read Blocks")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_a_hundred_thousand_messages_went_through_is_as_small_as_it_was() {
    let shop = Shop::open().await;
    let broker = Arc::new(FlakyBroker::new(Mood::Confirms));
    let shutdown = Shutdown::new();
    let config = Config { batch: 500, ..config() };
    let relay = shop.relay(Arc::<FlakyBroker>::clone(&broker), config.clone(), shutdown.clone());
    let beside = shop.relay(Arc::<FlakyBroker>::clone(&broker), config, shutdown.clone());
    let [file, server] = shop.databases.databases() else { panic!("a file and a server") };
    let work = async {
        let mut early = (0, 0);
        for round in 1..=ROUNDS {
            shop.fill(ROUND).await;
            shop.until_empty().await;
            // As autovacuum does at such a number of dead rows, whenever it comes round.
            shop.server.execute("VACUUM outbox").await.unwrap();
            if round == 3 {
                early = (size_kb(file).await, size_kb(server).await);
            }
        }
        let late = (size_kb(file).await, size_kb(server).await);
        assert!(late.0 <= early.0 * 2 && late.1 <= early.1 * 2, "KB after 3 rounds and at the end: {early:?} {late:?}");
        let pages = pages_touched(server).await;
        assert!(pages <= 16, "a look at the first rows touches {pages} pages");
        shutdown.request();
    };
    let (one, other, ()) = tokio::join!(relay, beside, work);
    one.and(other).unwrap();
    assert_eq!(broker.confirmed().len(), 2 * ROUND * ROUNDS, "each was published, and none twice");
}

#[tokio::test]
async fn postgres_is_told_to_clear_the_outbox_by_the_number_of_its_dead_rows() {
    let shop = Shop::open().await;
    let server = &shop.databases.databases()[1];
    let sql = "SELECT array_to_string(reloptions, ' ') AS options FROM pg_class WHERE oid = 'outbox'::regclass";
    let row = server.read().query_one_raw(server.statement(sql, [])).await.unwrap().unwrap();
    let options: String = row.try_get("", "options").unwrap();
    for option in
        ["autovacuum_vacuum_scale_factor=0", "autovacuum_vacuum_threshold=1000", "autovacuum_vacuum_cost_delay=0"]
    {
        assert!(options.split(' ').any(|set| set == option), "{option} is not among {options}");
    }
}
