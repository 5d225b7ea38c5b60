use crate::{Backend, Fault};
use sea_orm::ConnectionTrait as _;
use testkit::postgres::FreshDatabase;

use super::fixture::{Home, write};

async fn fault(home: &Home, sql: &str) -> Fault {
    write(&home.open(), sql, []).await.unwrap_err().into()
}

#[tokio::test]
async fn data_that_breaks_a_named_constraint_is_poison() {
    for home in Home::both().await {
        home.migrated().await;
        for (values, name) in [
            ("10, 11, 0", "stock_reserved_within_on_hand"),
            ("10, 5, 3", "stock_shortfall_is_real"),
            ("-1, 0, 0", "stock_not_negative"),
        ] {
            let sql =
                format!("INSERT INTO stock (region, sku, on_hand, reserved, shortfall) VALUES (1, 'MUG', {values})");
            let fault = fault(&home, &sql).await;
            assert!(matches!(&fault, Fault::Poison(text) if text.contains(name)), "{name}: {fault:?}");
        }
    }
}

#[tokio::test]
async fn a_count_below_what_is_reserved_is_stored_with_its_shortfall() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let sold = "INSERT INTO stock (region, sku, on_hand, reserved) VALUES (1, 'MUG', 10, 8)";
        write(&database, sold, []).await.unwrap();
        let count = "UPDATE stock SET on_hand = 5, shortfall = 3";
        write(&database, count, []).await.unwrap();
        // Nothing more can be promised, and the shortfall can't be left standing once it is gone.
        for sql in ["UPDATE stock SET reserved = reserved + 1", "UPDATE stock SET on_hand = 20"] {
            assert!(matches!(fault(&home, sql).await, Fault::Poison(_)), "{sql}");
        }
        write(&database, "UPDATE stock SET on_hand = 20, shortfall = 0", []).await.unwrap();
    }
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_is_poison() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let sql = match database.backend() {
            Backend::Postgres => "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 'ten'::text::bigint)",
            Backend::Sqlite => "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 'ten')",
        };
        let fault = fault(&home, sql).await;
        assert!(matches!(fault, Fault::Poison(_)), "{fault:?}");
    }
}

#[tokio::test]
async fn a_schema_in_the_middle_of_a_migration_is_infrastructure() {
    for home in Home::both().await {
        home.migrated().await;
        for sql in ["SELECT no_such_column FROM stock", "SELECT 1 FROM no_such_table"] {
            let fault = fault(&home, sql).await;
            assert!(matches!(fault, Fault::Infrastructure(_)), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_row_that_is_there_already_is_not_poison() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let sql = "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 1)";
        write(&database, sql, []).await.unwrap();
        assert!(matches!(fault(&home, sql).await, Fault::Infrastructure(_)));
    }
}

#[tokio::test]
async fn a_lock_that_is_not_given_is_contention() {
    for home in Home::both().await {
        let database = home.migrated().await;
        write(&database, "INSERT INTO stock (region, sku, on_hand) VALUES (1, 'MUG', 1)", []).await.unwrap();
        let impatient =
            Home::open_with(crate::DatabaseConfig { lock_timeout_ms: 20, busy_timeout_ms: 20, ..home.config() });
        let tx = database.begin().await.unwrap();
        tx.execute_unprepared("UPDATE stock SET on_hand = 2").await.unwrap();
        let fault: Fault = write(&impatient, "UPDATE stock SET on_hand = 3", []).await.unwrap_err().into();
        assert!(matches!(fault, Fault::Contention(_)), "{fault:?}");
    }
}

#[tokio::test]
async fn connections_that_died_while_idle_fail_no_transaction() {
    let server = FreshDatabase::create().await.unwrap();
    let home = Home::Server(server);
    let database = home.migrated().await;
    let busy = futures::future::join_all((0..database.max_transactions()).map(|_| database.begin())).await;
    for tx in busy {
        tx.unwrap().commit().await.unwrap();
    }
    if let Home::Server(server) = &home {
        server.cut_connections().await.unwrap();
    }
    for _ in 0..database.max_transactions() {
        write(&database, "UPDATE stock SET on_hand = 1", []).await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_infrastructure_and_the_pool_recovers() {
    let server = FreshDatabase::create().await.unwrap();
    let home = Home::Server(server);
    let database = home.migrated().await;
    let tx = database.begin().await.unwrap();
    if let Home::Server(server) = &home {
        server.cut_connections().await.unwrap();
    }
    let error = tx.execute_unprepared("UPDATE stock SET on_hand = 1").await.unwrap_err();
    assert!(matches!(Fault::from(error), Fault::Infrastructure(_)));
    drop(tx);
    testkit::wait::until("the database answers again", || async { database.probe().await.ok() }).await.unwrap();
    write(&database, "UPDATE stock SET on_hand = 1", []).await.unwrap();
}
