//! Imports against both databases.

use model::{Currency, Money, SystemClock};
use sea_orm::EntityTrait as _;
use testkit::postgres::FreshDatabase;

use super::*;
use crate::config::{Config, DatabaseConfig};
use crate::entity::{outbox as outbox_table, product, product_price, stock, stock_movement};
use crate::{Databases, migrate};

fn edit(sku: &str, minor: i64, on_hand: i64) -> ProductEdit {
    ProductEdit {
        sku: sku.parse().unwrap(),
        title: format!("The {sku}"),
        description: String::new(),
        collections: vec!["home".to_owned()],
        price: Money::new(minor, Currency::from_code("EUR").unwrap()),
        on_hand,
        low_threshold: 5,
    }
}

async fn region(url: String) -> Region {
    let mut config = Config::default();
    config.database.insert("main".to_owned(), DatabaseConfig::at(url));
    let databases = Databases::open(&config).unwrap();
    for database in databases.databases() {
        migrate(database).await.unwrap();
    }
    databases.regions().next().unwrap().clone()
}

async fn import_now(region: &Region, edits: &[ProductEdit], reference: &str) -> Result<Imported, DbErr> {
    import(region, edits, reference, &SystemClock, |_| ()).await
}

async fn told(region: &Region) -> Vec<String> {
    let rows = outbox_table::Entity::find().all(region.database.read()).await.unwrap();
    let mut kinds: Vec<String> = rows.into_iter().map(|row| row.kind).collect();
    kinds.sort();
    kinds
}

/// A second import with one new price and one new count: history is kept, and only what changed is told.
async fn a_change_is_told_once_and_an_old_price_is_kept(region: Region) {
    let first = import_now(&region, &[edit("PEN", 100, 50), edit("MUG", 1_250, 3)], "one").await.unwrap();
    assert_eq!((first.created, first.changed, first.unchanged), (2, 0, 0));
    assert_eq!(told(&region).await, ["product.changed", "product.changed", "stock.changed", "stock.changed"]);

    let second = import_now(&region, &[edit("PEN", 120, 50), edit("MUG", 1_250, 4)], "two").await.unwrap();
    assert_eq!((second.created, second.changed, second.unchanged), (0, 1, 1));
    assert_eq!(told(&region).await.len(), 5, "the count stays in its band, so only the price is told");

    let db = region.database.read();
    let pen = product::Entity::find_by_id((1, "PEN".to_owned())).one(db).await.unwrap().unwrap();
    assert_eq!(pen.version, 2);
    let prices = product_price::Entity::find().all(db).await.unwrap();
    let pens: Vec<(i64, bool)> = prices
        .iter()
        .filter(|price| price.sku == "PEN")
        .map(|price| (price.amount_minor, price.superseded_at.is_some()))
        .collect();
    assert!(pens.contains(&(100, true)) && pens.contains(&(120, false)) && pens.len() == 2, "{pens:?}");
    let counted: i64 = stock_movement::Entity::find()
        .all(db)
        .await
        .unwrap()
        .iter()
        .filter(|movement| movement.sku == "MUG")
        .map(|movement| movement.on_hand_change)
        .sum();
    assert_eq!(counted, 4, "the movements add up to the count");
}

/// A count below what orders were promised is stored, and the missing units are named.
async fn a_shortfall_is_reported_and_not_hidden(region: Region) {
    import_now(&region, &[edit("MUG", 1_250, 10)], "one").await.unwrap();
    let transaction = region.database.begin().await.unwrap();
    let promise = region.database.statement("UPDATE stock SET reserved = 8", []);
    sea_orm::ConnectionTrait::execute_raw(&*transaction, promise).await.unwrap();
    transaction.commit().await.unwrap();

    let imported = import_now(&region, &[edit("MUG", 1_250, 6)], "two").await.unwrap();
    assert_eq!(imported.shortfalls, [("MUG".parse().unwrap(), 2)]);
    let row = stock::Entity::find().one(region.database.read()).await.unwrap().unwrap();
    assert_eq!((row.on_hand, row.reserved, row.shortfall), (6, 8, 2));
    assert!(told(&region).await.contains(&"stock.shortfall".to_owned()));
}

/// The second import fails at its last row: nothing of it is there.
async fn an_import_that_fails_changes_nothing(region: Region) {
    import_now(&region, &[edit("MUG", 1_250, 10)], "one").await.unwrap();
    let wrong = [edit("AXE", 10, 1), edit("MUG", -1, 12)];
    assert!(import_now(&region, &wrong, "two").await.is_err());
    let products = product::Entity::find().all(region.database.read()).await.unwrap();
    assert_eq!(products.len(), 1);
    let row = stock::Entity::find().one(region.database.read()).await.unwrap().unwrap();
    assert_eq!(row.on_hand, 10);
}

macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("test.db").display());
                super::$case(super::region(url).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                let database = super::FreshDatabase::create().await.unwrap();
                super::$case(super::region(database.url().to_owned()).await).await;
            })+
        }
    };
}

on_both_databases!(
    a_change_is_told_once_and_an_old_price_is_kept,
    a_shortfall_is_reported_and_not_hidden,
    an_import_that_fails_changes_nothing,
);
