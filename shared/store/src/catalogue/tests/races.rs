//! Edits that meet: on `PostgreSQL`, where they run side by side.

use chrono::{DateTime, Utc};

use super::*;
use crate::catalogue::import::write_all;
use crate::database::Transaction;

/// An import that is written and not committed.
async fn begun(region: &Region, edits: &[ProductEdit]) -> Transaction {
    let tx = region.database.begin().await.unwrap();
    write_all(region, &tx, edits, "begun", &SystemClock, |_| ()).await.unwrap();
    tx
}

/// Once `count` sessions of the database wait for a lock.
async fn waiting(region: &Region, count: i64) {
    let sql = "SELECT count(*) AS waiting FROM pg_stat_activity \
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let enough = || async {
        let row = region.database.read().query_one_raw(region.database.statement(sql, [])).await.unwrap();
        (row.unwrap().try_get::<i64>("", "waiting").unwrap() >= count).then_some(())
    };
    testkit::wait::until("a session waits for a lock", enough).await.unwrap();
}

async fn on_postgres() -> (FreshDatabase, Region) {
    let database = FreshDatabase::create().await.unwrap();
    let region = region(database.url().to_owned()).await;
    (database, region)
}

/// `later` begins while `first` is not committed, and ends after it.
async fn one_after_the_other<T>(region: &Region, first: &[ProductEdit], later: impl Future<Output = T>) -> T {
    let tx = begun(region, first).await;
    let commit = async {
        waiting(region, 1).await;
        tx.commit().await.unwrap();
    };
    futures::join!(later, commit).0
}

#[tokio::test]
async fn two_imports_that_make_the_same_product_are_one_product_in_two_versions() {
    let (_database, region) = on_postgres().await;
    let edits = [counted("PEN", 120, 7), counted("CUP", 300, 1)];
    let imported = one_after_the_other(&region, &[counted("PEN", 100, 5)], import_now(&region, &edits, "later")).await;
    let imported = imported.unwrap();
    assert_eq!((imported.created, imported.changed), (1, 1));
    assert_eq!(shown(&region, "PEN").await.unwrap().version, 2);
    assert_eq!(prices(&region, "PEN").await, (vec![100], Some(120)));
    let versions: Vec<i64> = changes(&region).await.into_iter().map(|(version, _)| version).collect();
    assert_eq!(versions, [1, 1, 2]);
    let sql = "SELECT CAST(sum(on_hand_change) AS bigint) AS units FROM stock_movements WHERE sku = 'PEN'";
    let row = region.database.read().query_one_raw(region.database.statement(sql, [])).await.unwrap();
    assert_eq!(row.unwrap().try_get::<i64>("", "units").unwrap(), 7, "the movements add up to the count");
}

/// The second import brings the price back that stood before the first: it has to see that it stands no more.
#[tokio::test]
async fn an_import_that_waited_for_another_sees_its_price() {
    let (_database, region) = on_postgres().await;
    import_now(&region, &[edit("PEN", 100)], "one").await.unwrap();
    let back = [edit("PEN", 100)];
    let imported = one_after_the_other(&region, &[edit("PEN", 120)], import_now(&region, &back, "later")).await;
    assert_eq!(imported.unwrap().changed, 1);
    assert_eq!(prices(&region, "PEN").await, (vec![100, 120], Some(100)));
}

/// A price's life begins before it ends, also where the one who ended it had waited since before it began.
#[tokio::test]
async fn a_price_ends_when_it_is_replaced_and_not_when_that_transaction_began() {
    let (_database, region) = on_postgres().await;
    import_now(&region, &[edit("PEN", 100)], "one").await.unwrap();
    let next = [edit("PEN", 130)];
    one_after_the_other(&region, &[edit("PEN", 120)], import_now(&region, &next, "later")).await.unwrap();
    let all = product_price::Entity::find().all(region.database.read()).await.unwrap();
    let price = |minor| all.iter().find(|price| price.amount_minor == minor).unwrap();
    let ended: DateTime<Utc> = price(120).superseded_at.unwrap();
    assert!(price(120).valid_from <= ended, "{} is before {}", ended, price(120).valid_from);
    assert!(price(130).valid_from >= ended);
}

#[tokio::test]
async fn of_many_who_edit_one_version_one_wins() {
    let (_database, region) = on_postgres().await;
    put(&region, &edit("PEN", 100), &Expected::Anything, &SystemClock).await.unwrap();
    let edits: Vec<ProductEdit> = (0..8).map(|n| edit("PEN", 200 + n)).collect();
    let expected = Expected::OneOf(vec![1]);
    let all = futures::future::join_all(edits.iter().map(|edit| put(&region, edit, &expected, &SystemClock))).await;
    assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{all:?}");
    assert_eq!(shown(&region, "PEN").await.unwrap().version, 2);
}

#[tokio::test]
async fn of_many_who_create_a_product_one_does() {
    let (_database, region) = on_postgres().await;
    let edits: Vec<ProductEdit> = (0..8).map(|n| edit("PEN", 200 + n)).collect();
    let all =
        futures::future::join_all(edits.iter().map(|edit| put(&region, edit, &Expected::Absent, &SystemClock))).await;
    let made = all.iter().filter(|outcome| outcome.as_ref().is_ok_and(|edited| edited.created)).count();
    assert_eq!(made, 1, "{all:?}");
    assert_eq!(shown(&region, "PEN").await.unwrap().version, 1);
}

/// Files in opposite order, over rows that are there and rows that are not.
#[tokio::test]
async fn imports_of_the_same_rows_never_wait_in_a_circle() {
    let (_database, region) = on_postgres().await;
    let all: Vec<ProductEdit> = (0..700).map(|n| counted(&format!("S-{n}"), 100 + n, n)).collect();
    import_now(&region, &all[..350], "before").await.unwrap();
    let mut other: Vec<ProductEdit> = all.iter().cloned().map(|edit| ProductEdit { price: eur(7), ..edit }).collect();
    other.reverse();
    let (one, two) =
        futures::join!(import_now(&region, &all, "forwards"), import_now(&region, &other[..500], "backwards"));
    one.unwrap();
    two.unwrap();
}
