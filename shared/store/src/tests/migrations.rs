use std::sync::Arc;

use crate::{Error, Schema};
use tokio::task::JoinSet;

use super::fixture::{Home, number, write};

#[tokio::test]
async fn a_second_migration_has_nothing_to_do() {
    for home in Home::both().await {
        let database = home.open();
        assert!(matches!(crate::schema(&database).await.unwrap(), Schema::Pending(steps) if steps.len() >= 5));
        assert!(crate::migrate(&database).await.unwrap().len() >= 5);
        assert_eq!(crate::schema(&database).await.unwrap(), Schema::Current);
        assert_eq!(crate::migrate(&database).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_processes_that_migrate_at_once_each_step_is_run_by_one() {
    for home in Home::both().await {
        let processes: Vec<_> = (0..6).map(|_| home.open()).collect();
        let mut at_once = JoinSet::new();
        for database in processes.clone() {
            at_once.spawn(async move { crate::migrate(&database).await.unwrap().len() });
        }
        let ran: Vec<usize> = at_once.join_all().await;
        let steps = usize::try_from(number(&processes[0], "SELECT count(*) FROM millpond_migrations").await).unwrap();
        assert_eq!(ran.iter().sum::<usize>(), steps);
        assert_eq!(ran.iter().filter(|ran| **ran > 0).count(), 1, "{ran:?}");
    }
}

#[tokio::test]
async fn a_schema_newer_than_the_binary_is_left_alone() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let future = "INSERT INTO millpond_migrations (version, applied_at) VALUES ('m9999_future', 0)";
        write(&database, future, []).await.unwrap();
        assert_eq!(crate::schema(&database).await.unwrap(), Schema::Newer(vec!["m9999_future".to_owned()]));
        let refused = crate::migrate(&database).await.unwrap_err();
        assert!(matches!(refused, Error::NewerSchema { .. }), "{refused}");
        assert!(refused.to_string().contains("m9999_future"), "{refused}");
    }
}

#[tokio::test]
async fn a_role_starts_on_a_newer_schema_unless_that_lacks_a_step_of_its_own() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let future = "INSERT INTO millpond_migrations (version, applied_at) VALUES ('m9999_future', 0)";
        write(&database, future, []).await.unwrap();
        database.wait_until_ready(std::future::pending()).await.unwrap();
        write(&database, "DELETE FROM millpond_migrations WHERE version = 'm0005_analytics'", []).await.unwrap();
        let refused = database.wait_until_ready(std::future::pending()).await.unwrap_err();
        assert!(matches!(refused, Error::NewerSchema { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_role_waits_for_the_migration_and_then_goes_on() {
    for home in Home::both().await {
        let database = home.open();
        let waiting = Arc::clone(&database);
        let mut role = JoinSet::new();
        role.spawn(async move { waiting.wait_until_ready(std::future::pending()).await });
        assert!(role.try_join_next().is_none());
        crate::migrate(&database).await.unwrap();
        role.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_role_that_is_stopped_does_not_wait_for_its_database() {
    let home = Home::file();
    let stopped = home.open().wait_until_ready(std::future::ready(())).await;
    assert!(matches!(stopped, Err(Error::Stopped(_))));
}

#[tokio::test]
async fn movements_from_before_the_stock_flows_are_kept_and_a_new_kind_is_known_after() {
    const MOVED: &str = "INSERT INTO stock_movements (region, sku, kind, reference, on_hand_change, reserved_change)";
    for home in Home::both().await {
        let database = home.migrated().await;
        // As it was before the step.
        for sql in [
            "DELETE FROM millpond_migrations WHERE version = 'm0011_stock_flows'",
            "DROP TABLE revenue_taken_back",
            "DROP TABLE stock_requests",
            "DROP TABLE order_refunds",
            "ALTER TABLE orders DROP COLUMN shipped_at",
        ] {
            write(&database, sql, []).await.unwrap();
        }
        write(&database, &format!("{MOVED} VALUES (1, 'MUG', 'import', 'one', 7, 0)"), []).await.unwrap();
        assert_eq!(crate::migrate(&database).await.unwrap(), ["m0011_stock_flows"]);
        write(&database, &format!("{MOVED} VALUES (1, 'MUG', 'allotment', 'two', 5, 0)"), []).await.unwrap();
        let unknown = write(&database, &format!("{MOVED} VALUES (1, 'MUG', 'theft', 'three', 1, 0)"), []).await;
        assert!(unknown.unwrap_err().to_string().contains("stock_movements_kind_known"));
        let again = write(&database, &format!("{MOVED} VALUES (1, 'MUG', 'import', 'one', 7, 0)"), []).await;
        assert!(again.is_err(), "a movement is unique as before");
        assert_eq!(number(&database, "SELECT CAST(sum(on_hand_change) AS bigint) FROM stock_movements").await, 12);
    }
}

#[tokio::test]
async fn lines_from_before_are_kept_on_sqlite_and_are_held_to_no_order_after() {
    const LINE: &str = "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price_minor)";
    let home = Home::file();
    let database = home.migrated().await;
    // As it was before the step.
    for sql in [
        "DELETE FROM millpond_migrations WHERE version = 'm0016_order_lines_sqlite'",
        "DROP TABLE order_lines",
        "CREATE TABLE order_lines (order_id BLOB NOT NULL REFERENCES orders (id) ON DELETE CASCADE, line_no INTEGER NOT NULL, \
         sku TEXT NOT NULL, quantity INTEGER NOT NULL, unit_price_minor INTEGER NOT NULL, PRIMARY KEY (order_id, line_no)) STRICT",
        "INSERT INTO orders (id, region, market, idempotency_key, fingerprint, state, currency, shipping_minor, tax_minor, \
         discount_minor, total_minor, pricing, attribution, accepted_at) VALUES (x'01', 1, 'eu', 'key', x'07', 'confirmed', 'EUR', \
         0, 0, 0, 1000, '{}', '{}', '2026-11-29T12:00:00.000+00:00')",
    ] {
        write(&database, sql, []).await.unwrap();
    }
    write(&database, &format!("{LINE} VALUES (x'01', 1, 'MUG', 2, 500)"), []).await.unwrap();
    write(&database, &format!("{LINE} VALUES (x'02', 1, 'MUG', 3, 500)"), []).await.unwrap_err();
    assert_eq!(crate::migrate(&database).await.unwrap(), ["m0016_order_lines_sqlite"]);
    write(&database, &format!("{LINE} VALUES (x'02', 1, 'MUG', 3, 500)"), []).await.unwrap();
    assert_eq!(number(&database, "SELECT sum(quantity) FROM order_lines").await, 5);
    let none = write(&database, &format!("{LINE} VALUES (x'03', 1, 'MUG', 0, 500)"), []).await;
    assert!(none.unwrap_err().to_string().contains("order_lines_quantity_positive"));
}
