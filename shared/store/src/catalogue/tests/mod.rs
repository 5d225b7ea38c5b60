//! The catalogue against both databases.

mod edits;
mod import;
mod lists;
mod races;

use model::{Currency, Money, RegionName, RegionNumber, Sku, SystemClock};
use sea_orm::{ConnectionTrait as _, DbErr, EntityTrait as _};
use testkit::postgres::FreshDatabase;

use super::*;
use crate::config::{Config, DatabaseConfig};
use crate::entity::{outbox as outbox_table, product_price};
use crate::regions::Region;
use crate::{Databases, Reader, Reads, migrate};

fn sku(text: &str) -> Sku {
    text.parse().unwrap()
}

fn eur(minor: i64) -> Money {
    Money::new(minor, Currency::from_code("EUR").unwrap())
}

fn names(names: &[&str]) -> Vec<CollectionName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn edit(text: &str, minor: i64) -> ProductEdit {
    ProductEdit {
        sku: sku(text),
        title: format!("The {text}"),
        description: String::new(),
        image: None,
        collections: names(&["home"]),
        price: eur(minor),
        on_hand: None,
        low_threshold: None,
    }
}

fn counted(text: &str, minor: i64, on_hand: i64) -> ProductEdit {
    ProductEdit { on_hand: Some(on_hand), ..edit(text, minor) }
}

async fn region(url: String) -> Region {
    let mut config = Config::default();
    config.database.insert("main".to_owned(), DatabaseConfig { acquire_timeout_ms: 30_000, ..DatabaseConfig::at(url) });
    let databases = Databases::open(&config).unwrap();
    for database in databases.databases() {
        migrate(database).await.unwrap();
    }
    databases.regions().next().unwrap().clone()
}

/// A region beside `region`, in the same database.
fn beside(region: &Region) -> Region {
    let name: RegionName = "us".parse().unwrap();
    Region { name, number: RegionNumber(2), database: region.database.clone() }
}

fn primary(region: &Region) -> Reader {
    region.reader_at(Reads::Listing, None)
}

async fn import_now(region: &Region, edits: &[ProductEdit], reference: &str) -> Result<Imported, DbErr> {
    import(region, edits, reference, &SystemClock, |_| ()).await
}

async fn shown(region: &Region, text: &str) -> Option<Product> {
    product(&primary(region), region.number, &sku(text)).await.unwrap()
}

/// What is waiting in the outbox, by type.
async fn told(region: &Region) -> Vec<String> {
    let rows = outbox_table::Entity::find().all(region.database.read()).await.unwrap();
    let mut kinds: Vec<String> = rows.into_iter().map(|row| row.kind).collect();
    kinds.sort();
    kinds
}

/// The versions and collections of `product.changed`, oldest first.
async fn changes(region: &Region) -> Vec<(i64, Vec<String>)> {
    let rows = outbox_table::Entity::find().all(region.database.read()).await.unwrap();
    let mut changes: Vec<_> = rows
        .iter()
        .filter(|row| row.kind == "product.changed")
        .map(|row| {
            let body: serde_json::Value = serde_json::from_slice(&row.body).unwrap();
            let names = serde_json::from_value(body["data"]["collections"].clone()).unwrap();
            (body["data"]["version"].as_i64().unwrap(), names)
        })
        .collect();
    changes.sort();
    changes
}

/// Amounts of `sku`'s prices that have ended, and the standing one.
async fn prices(region: &Region, sku: &str) -> (Vec<i64>, Option<i64>) {
    let mut prices = product_price::Entity::find().all(region.database.read()).await.unwrap();
    prices.retain(|price| price.sku == sku && price.region == i32::from(region.number.0));
    prices.sort_by_key(|price| price.version);
    let standing = prices.iter().find(|price| price.superseded_at.is_none()).map(|price| price.amount_minor);
    let ended = prices.iter().filter(|price| price.superseded_at.is_some()).map(|price| price.amount_minor);
    (ended.collect(), standing)
}

async fn execute(region: &Region, sql: &str) {
    let transaction = region.database.begin().await.unwrap();
    transaction.execute_raw(region.database.statement(sql, [])).await.unwrap();
    transaction.commit().await.unwrap();
}

macro_rules! on_both_databases {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", folder.path().join("test.db").display());
                super::$case($crate::catalogue::tests::region(url).await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                let database = $crate::catalogue::tests::FreshDatabase::create().await.unwrap();
                super::$case($crate::catalogue::tests::region(database.url().to_owned()).await).await;
            })+
        }
    };
}

pub(crate) use on_both_databases;
