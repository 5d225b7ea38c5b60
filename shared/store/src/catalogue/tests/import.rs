//! Imports.

use model::{Fingerprint, SystemClock};
use sea_orm::EntityTrait as _;

use super::*;
use crate::entity::{product, stock, stock_movement};

/// A second import with one new price and one new count: history is kept, and only what changed is told.
async fn a_change_is_told_once_and_an_old_price_is_kept(region: Region) {
    let first = import_now(&region, &[counted("PEN", 100, 50), counted("MUG", 1_250, 3)], "one").await.unwrap();
    assert_eq!((first.created, first.changed, first.unchanged), (2, 0, 0));
    assert_eq!(told(&region).await, ["product.changed", "product.changed", "stock.changed", "stock.changed"]);

    let second = import_now(&region, &[counted("PEN", 120, 50), counted("MUG", 1_250, 4)], "two").await.unwrap();
    assert_eq!((second.created, second.changed, second.unchanged), (0, 1, 1));
    assert_eq!(told(&region).await.len(), 5, "the count stays in its band, so only the price is told");

    let db = region.database.read();
    let pen = product::Entity::find_by_id((1, "PEN".to_owned())).one(db).await.unwrap().unwrap();
    assert_eq!(pen.version, 2);
    assert_eq!(prices(&region, "PEN").await, (vec![100], Some(120)));
    let units: i64 = stock_movement::Entity::find()
        .all(db)
        .await
        .unwrap()
        .iter()
        .filter(|movement| movement.sku == "MUG")
        .map(|movement| movement.on_hand_change)
        .sum();
    assert_eq!(units, 4, "the movements add up to the count");
}

/// A count below what orders were promised is stored, and the missing units are named.
async fn a_shortfall_is_reported_and_not_hidden(region: Region) {
    import_now(&region, &[counted("MUG", 1_250, 10)], "one").await.unwrap();
    execute(&region, "UPDATE stock SET reserved = 8").await;

    let imported = import_now(&region, &[counted("MUG", 1_250, 6)], "two").await.unwrap();
    assert_eq!(imported.shortfalls, [Shortfall { sku: sku("MUG"), missing: 2 }]);
    let row = stock::Entity::find().one(region.database.read()).await.unwrap().unwrap();
    assert_eq!((row.on_hand, row.reserved, row.shortfall), (6, 8, 2));
    assert!(told(&region).await.contains(&"stock.shortfall".to_owned()));
}

/// The second import fails at its last row: nothing of it is there.
async fn an_import_that_fails_changes_nothing(region: Region) {
    import_now(&region, &[counted("MUG", 1_250, 10)], "one").await.unwrap();
    let wrong = [counted("AXE", 10, 1), counted("MUG", -1, 12)];
    assert!(import_now(&region, &wrong, "two").await.is_err());
    let products = product::Entity::find().all(region.database.read()).await.unwrap();
    assert_eq!(products.len(), 1);
    let row = stock::Entity::find().one(region.database.read()).await.unwrap().unwrap();
    assert_eq!(row.on_hand, 10);
}

/// What an import says nothing of stays: stock without a count, a threshold without a threshold.
async fn a_line_without_a_count_leaves_stock_alone(region: Region) {
    import_now(&region, &[edit("PEN", 100), counted("MUG", 1_250, 10)], "one").await.unwrap();
    let rows = stock::Entity::find().all(region.database.read()).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.sku.as_str(), row.low_threshold)).collect::<Vec<_>>(), [("MUG", 5)]);

    let threshold = ProductEdit { low_threshold: Some(20), ..edit("MUG", 1_250) };
    import_now(&region, &[threshold], "two").await.unwrap();
    import_now(&region, &[counted("MUG", 1_250, 30)], "three").await.unwrap();
    import_now(&region, &[edit("MUG", 1_300)], "four").await.unwrap();
    let row = stock::Entity::find().one(region.database.read()).await.unwrap().unwrap();
    assert_eq!((row.on_hand, row.low_threshold, row.version), (30, 20, 3));
    let bands = told(&region).await.into_iter().filter(|kind| kind == "stock.changed").count();
    assert_eq!(bands, 3, "it was in, then low by its threshold, then in again");
}

async fn an_import_under_a_key_is_made_once(region: Region) {
    let (market, key) = ("eu".parse().unwrap(), "k-1".parse().unwrap());
    let fingerprint = Fingerprint::of([b"one".as_slice()]);
    let once = async |edits: &[ProductEdit], fingerprint| {
        import_once(&region, &market, &key, fingerprint, edits, &SystemClock).await
    };
    let edits = [counted("PEN", 100, 50)];
    let (first, replayed) = once(&edits, fingerprint).await.unwrap();
    assert_eq!((&first["created"], replayed), (&1.into(), false));
    import_now(&region, &[counted("PEN", 120, 40)], "meanwhile").await.unwrap();
    let (repeat, replayed) = once(&edits, fingerprint).await.unwrap();
    assert_eq!((repeat, replayed), (first, true));
    assert_eq!(shown(&region, "PEN").await.unwrap().price, eur(120), "the repeat did nothing");
    let other = once(&edits, Fingerprint::of([b"two".as_slice()])).await;
    assert!(matches!(other, Err(ImportError::KeyReused)));
}

/// More than one round trip, and the SKUs in no order.
async fn a_large_import_is_whole(region: Region) {
    let edits: Vec<ProductEdit> = (0..1_234).rev().map(|n| counted(&format!("SKU-{n}"), 100 + n, n)).collect();
    let mut progress = Vec::new();
    let imported = import(&region, &edits, "one", &SystemClock, |done| progress.push(done)).await.unwrap();
    assert_eq!((imported.created, progress), (1_234, vec![500, 1_000, 1_234]));
    let again = import_now(&region, &edits, "two").await.unwrap();
    assert_eq!((again.unchanged, again.changed), (1_234, 0));
    assert_eq!(shown(&region, "SKU-77").await.unwrap().price, eur(177));
}

on_both_databases!(
    a_change_is_told_once_and_an_old_price_is_kept,
    a_shortfall_is_reported_and_not_hidden,
    an_import_that_fails_changes_nothing,
    a_line_without_a_count_leaves_stock_alone,
    an_import_under_a_key_is_made_once,
    a_large_import_is_whole,
);
