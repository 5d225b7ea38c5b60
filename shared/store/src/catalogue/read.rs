//! What shoppers read of the catalogue, product by product.
//!
//! Each read is one statement of a [`Reader`], so that whoever reads chooses what it may be behind: `region.reader(…)` may be
//! behind by the lag limit, `region.reader_at(…, position)` knows everything up to a position, and with `None` it is the
//! primary.

use chrono::{DateTime, Utc};
use events::Band;
use model::{CollectionName, Currency, Money, RegionNumber, Sku};
use sea_orm::{ConnectionTrait as _, DbErr, QueryResult};

use crate::replica::Reader;

/// Collections that are told at most: a shop's navigation, and not its database.
const MOST_COLLECTIONS: u32 = 500;

/// A product that is for sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Which.
    pub sku: Sku,
    /// Counts up with every change of what shoppers see, its price included, from 1.
    pub version: i64,
    /// Shown to shoppers.
    pub title: String,
    /// Shown to shoppers; may be empty.
    pub description: String,
    /// URL of its picture, or a path on the shop's own host.
    pub image: Option<String>,
    /// Collections that list it.
    pub collections: Vec<CollectionName>,
    /// The standing price of one unit.
    pub price: Money,
    /// Its last change, by the database's clock.
    pub updated_at: DateTime<Utc>,
}

/// What is told of a product's stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Availability {
    /// Plenty, few or none.
    pub band: Band,
    /// The version of the stock row: counts up with every movement, also within a band.
    pub version: i64,
}

/// The product `sku`; none where there is none, or it is not for sale any more.
///
/// # Errors
/// The database's.
pub async fn product(reader: &Reader, region: RegionNumber, sku: &Sku) -> Result<Option<Product>, DbErr> {
    let sql = "SELECT p.version, p.title, p.description, p.image, p.collections, p.updated_at, c.currency, \
               c.amount_minor FROM products p JOIN product_prices c \
               ON c.region = p.region AND c.sku = p.sku AND c.superseded_at IS NULL \
               WHERE p.region = $1 AND p.sku = $2 AND p.active";
    let key = [i32::from(region.0).into(), sku.as_str().into()];
    let row = reader.query_one_raw(reader.statement(sql, key)).await?;
    row.map(|row| {
        Ok(Product {
            sku: sku.clone(),
            version: row.try_get("", "version")?,
            title: row.try_get("", "title")?,
            description: row.try_get("", "description")?,
            image: row.try_get("", "image")?,
            collections: collection_names(&row)?,
            price: price(&row)?.ok_or_else(|| broken("a price without a currency or an amount"))?,
            updated_at: row.try_get("", "updated_at")?,
        })
    })
    .transpose()
}

/// How much of `sku` there is, as shoppers are told; none where nobody ever counted it.
///
/// # Errors
/// The database's.
pub async fn availability(reader: &Reader, region: RegionNumber, sku: &Sku) -> Result<Option<Availability>, DbErr> {
    let sql = "SELECT on_hand, reserved, low_threshold, version FROM stock WHERE region = $1 AND sku = $2";
    let key = [i32::from(region.0).into(), sku.as_str().into()];
    let row = reader.query_one_raw(reader.statement(sql, key)).await?;
    row.map(|row| {
        let band = band(&row)?.unwrap_or(Band::Out);
        Ok(Availability { band, version: row.try_get("", "version")? })
    })
    .transpose()
}

/// The collections that list a product which is for sale, by name; the first 500 of them.
///
/// # Errors
/// The database's.
pub async fn collections(reader: &Reader, region: RegionNumber) -> Result<Vec<CollectionName>, DbErr> {
    // From name to name, each one look into the index, however many products it lists.
    let next = "SELECT min(collection) FROM product_listings WHERE region = $1 AND collection >";
    let sql = format!(
        "WITH RECURSIVE c (name) AS (SELECT ({next} '') UNION ALL SELECT ({next} c.name) FROM c \
         WHERE c.name IS NOT NULL) SELECT name FROM c WHERE name IS NOT NULL LIMIT {MOST_COLLECTIONS}"
    );
    let rows = reader.query_all_raw(reader.statement(sql, [i32::from(region.0).into()])).await?;
    rows.iter().map(|row| name(row.try_get("", "name")?)).collect()
}

/// The names in column `collections`. One that no page could have is left out: it was stored before names were checked.
pub(super) fn collection_names(row: &QueryResult) -> Result<Vec<CollectionName>, DbErr> {
    let stored: serde_json::Value = row.try_get("", "collections")?;
    let names: Vec<String> = serde_json::from_value(stored).map_err(|error| DbErr::Json(error.to_string()))?;
    Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
}

/// The price in columns `currency` and `amount_minor`, of an outer join.
pub(super) fn price(row: &QueryResult) -> Result<Option<Money>, DbErr> {
    let currency: Option<String> = row.try_get("", "currency")?;
    let minor: Option<i64> = row.try_get("", "amount_minor")?;
    let money = |(code, minor): (String, i64)| {
        let currency = Currency::from_code(&code).map_err(|error| broken(&error.to_string()))?;
        Ok(Money::new(minor, currency))
    };
    currency.zip(minor).map(money).transpose()
}

/// The band of columns `on_hand`, `reserved` and `low_threshold`, of an outer join.
pub(super) fn band(row: &QueryResult) -> Result<Option<Band>, DbErr> {
    let on_hand: Option<i64> = row.try_get("", "on_hand")?;
    let reserved: Option<i64> = row.try_get("", "reserved")?;
    let low_threshold: Option<i64> = row.try_get("", "low_threshold")?;
    Ok(on_hand.zip(reserved).zip(low_threshold).map(|((on_hand, reserved), low)| Band::of(on_hand - reserved, low)))
}

pub(super) fn sku(row: &QueryResult) -> Result<Sku, DbErr> {
    let text: String = row.try_get("", "sku")?;
    text.parse().map_err(|error| broken(&format!("{text:?}: {error}")))
}

fn name(text: String) -> Result<CollectionName, DbErr> {
    text.try_into().map_err(|error: model::TextError| broken(&error.to_string()))
}

/// What the database holds is not what was put in: an operator has to look.
pub(super) fn broken(what: &str) -> DbErr {
    DbErr::Custom(what.to_owned())
}
