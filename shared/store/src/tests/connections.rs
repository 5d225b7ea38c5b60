use std::sync::Arc;
use std::time::Duration;

use crate::{Backend, DatabaseConfig, Fault};
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectionTrait as _, DbErr};
use tokio::task::JoinSet;

use super::fixture::{Home, number, write};
use super::line::Line;

const COUNT_UP: &str = "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'MUG'";
const MUG: &str = "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 0)";

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_several_processes_take_turns_and_none_is_turned_away() {
    for home in Home::both().await {
        let migrated = home.migrated().await;
        write(&migrated, MUG, []).await.unwrap();
        let mut writers = JoinSet::new();
        for database in [home.open(), home.open()] {
            for _ in 0..8 {
                let database = Arc::clone(&database);
                writers.spawn(async move {
                    for _ in 0..5 {
                        write(&database, COUNT_UP, []).await.unwrap();
                    }
                });
            }
        }
        writers.join_all().await;
        assert_eq!(number(&home.open(), "SELECT on_hand FROM stock").await, 80);
    }
}

#[tokio::test]
async fn the_connection_that_writes_a_file_has_room_for_a_large_transaction() {
    let home = Home::file();
    let database = home.open();
    let tx = database.begin().await.unwrap();
    for (setting, expected) in
        [("cache_size", -16_384), ("wal_autocheckpoint", 32_000), ("journal_size_limit", 256 << 20), ("temp_store", 2)]
    {
        let row = tx.query_one_raw(database.statement(format!("PRAGMA {setting}"), [])).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), expected, "{setting}");
    }
}

#[tokio::test]
async fn a_read_does_not_wait_for_open_transactions() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let mut open = Vec::new();
        for _ in 0..database.max_transactions() {
            open.push(database.begin().await.unwrap());
        }
        database.probe().await.unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM stock").await, 0);
    }
}

#[tokio::test]
async fn reads_that_take_every_connection_of_theirs_keep_no_transaction_waiting() {
    let home = Home::server().await;
    let database = home.migrated().await;
    assert_eq!(database.max_transactions(), 3, "of four connections");
    // Before the reads begin, so that the first of them is seen however slow the machine is.
    let tx = database.begin().await.unwrap();
    let mut reads = JoinSet::new();
    let read = |sql: &'static str| {
        let database = Arc::clone(&database);
        async move { number(&database, sql).await }
    };
    reads.spawn(read("SELECT 1::bigint FROM pg_sleep(5)"));
    let asleep = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let busy = || async {
        // Within a transaction the server shows what it saw at the first look, until it is told to look again.
        tx.execute_raw(database.statement("SELECT pg_stat_clear_snapshot()", [])).await.unwrap();
        let row = tx.query_one_raw(database.statement(asleep, [])).await.unwrap().unwrap();
        (row.try_get_by_index::<i64>(0).unwrap() == 1).then_some(())
    };
    testkit::wait::until("a read is under way", busy).await.unwrap();
    for _ in 0..3 {
        reads.spawn(read("SELECT 1::bigint"));
    }
    let mut open = Vec::new();
    for _ in 1..database.max_transactions() {
        open.push(database.begin().await.unwrap());
    }
    assert!(!reads.is_empty() && reads.try_join_next().is_none(), "the reads are not done yet");
    assert_eq!(reads.join_all().await.len(), 4);
}

#[tokio::test]
async fn a_database_that_answers_and_takes_no_writes_fails_its_probe() {
    for home in Home::both().await {
        let database = home.open();
        database.probe().await.expect("it answers, and is not migrated yet");
        crate::migrate(&database).await.unwrap();
        database.probe().await.unwrap();
        database.probe().await.unwrap();
        assert_eq!(number(&database, "SELECT count(*) FROM probe").await, 1);
        let tx = database.begin().await.unwrap();
        for statement in refuse_writes(database.backend()) {
            tx.execute_unprepared(statement).await.unwrap();
        }
        tx.commit().await.unwrap();
        let error = database.probe().await.unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        assert!(matches!(Fault::from(error), Fault::Infrastructure(_)));
    }
}

/// On `PostgreSQL` only the commit fails.
fn refuse_writes(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Postgres => &[
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$",
            "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON probe \
             DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()",
        ],
        Backend::Sqlite => {
            &["CREATE TRIGGER refuse BEFORE UPDATE ON probe BEGIN SELECT RAISE(ABORT, 'disk full'); END"]
        }
    }
}

#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_infrastructure() {
    for home in Home::both().await {
        crate::migrate(&home.open()).await.unwrap();
        let database = Home::open_with(DatabaseConfig { acquire_timeout_ms: 1_000, ..home.config() });
        let mut open = Vec::new();
        for _ in 0..database.max_transactions() {
            open.push(database.begin().await.unwrap());
        }
        let error = database.begin().await.unwrap_err();
        assert!(matches!(error, DbErr::ConnectionAcquire(_)), "{error}");
        assert!(matches!(Fault::from(error), Fault::Infrastructure(_)));
    }
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_behind() {
    for home in Home::both().await {
        let database = home.migrated().await;
        for _ in 0..=database.max_transactions() {
            let tx = database.begin().await.unwrap();
            tx.execute_unprepared(MUG).await.unwrap();
        }
        assert_eq!(number(&database, "SELECT count(*) FROM stock").await, 0);
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_opened_all_the_same_and_answers_in_time() {
    let away = DatabaseConfig {
        acquire_timeout_ms: 200,
        ..DatabaseConfig::at("postgres://millpond:hunter2@127.0.0.1:1/millpond")
    };
    let database = Home::open_with(away);
    let error = tokio::time::timeout(Duration::from_secs(10), database.probe()).await.unwrap().unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert!(matches!(Fault::from(error), Fault::Infrastructure(_)));
    assert!(!format!("{database:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_sqlite_reader_cannot_write() {
    let database = Home::file().migrated().await;
    assert!(database.read().execute_unprepared(MUG).await.is_err());
}

#[tokio::test]
async fn sqlite_keeps_what_it_committed_through_a_power_cut() {
    let home = Home::file();
    let database = home.migrated().await;
    let tx = database.begin().await.unwrap();
    for (pragma, wanted) in [("synchronous", "2"), ("journal_mode", "wal"), ("foreign_keys", "1")] {
        let row = tx.query_one_raw(database.statement(format!("PRAGMA {pragma}"), [])).await.unwrap().unwrap();
        let found =
            row.try_get_by_index::<String>(0).or_else(|_| row.try_get_by_index::<i64>(0).map(|n| n.to_string()));
        assert_eq!(found.unwrap(), wanted, "{pragma}");
    }
}

#[tokio::test]
async fn a_standby_is_not_taken_for_a_database_that_can_be_written() {
    let Home::Server(server) = Home::server().await else { unreachable!() };
    let name = server.url().rsplit('/').next().unwrap().to_owned();
    server.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await.unwrap();
    let home = Home::Server(server);
    let error = home.open().probe().await.unwrap_err().to_string();
    assert!(error.contains("takes no writes"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_without_a_word_costs_one_call_and_leaves_the_pool() {
    let home = Home::server().await;
    home.migrated().await;
    let port = home.url().parse::<PgConnectOptions>().unwrap().get_port();
    let line = Line::lay(port).await;
    let through = home.url().replace(&format!(":{port}/"), &format!(":{}/", line.port));
    let bounds = DatabaseConfig { answer_timeout_ms: 500, release_timeout_ms: 500, ..home.config() };
    let database = Home::open_with(DatabaseConfig { url: through.as_str().into(), ..bounds });
    assert_eq!(number(&database, "SELECT count(*) FROM stock").await, 0);
    let tx = database.begin().await.unwrap();
    line.fall_silent();
    tx.execute_unprepared(MUG).await.unwrap_err();
    drop(tx);
    let sql = database.statement("SELECT 1::bigint", []);
    database.read().query_one_raw(sql).await.unwrap_err();
    // Every place of the pools is to be had again: none is held by a connection that answers nobody.
    testkit::wait::until("all connections answer", async || {
        let mut open = Vec::new();
        for _ in 0..database.max_transactions() {
            let tx = database.begin().await.ok()?;
            tx.query_one_raw(database.statement("SELECT 1::bigint", [])).await.ok()?;
            open.push(tx);
        }
        let row = database.read().query_one_raw(database.statement("SELECT 1::bigint", [])).await;
        row.is_ok().then_some(())
    })
    .await
    .unwrap();
}
