//! The statements of an edit, in the SQL that both databases share.
//!
//! # Lock, then read
//! A row is locked by one statement and read by the next. A statement that does both sees, after it waited for a lock, the row
//! as it is and everything that it joins as it was before: an old price beside a new product.
//!
//! A row that is not there can't be locked, so one with version 0 is made first. Two edits that make the same product meet in its
//! key, and the second one goes on with what the first one left.

use std::collections::HashMap;

use model::{CollectionName, Sku};
use sea_orm::{ConnectionTrait as _, DbErr};

use super::change::{Change, KnownProduct, KnownStock, StockChange};
use super::read::broken;
use super::{ProductEdit, words};
use crate::config::Backend;
use crate::database::Transaction;
use crate::regions::Region;
use crate::rows::Rows;

/// Where the statements run.
pub(super) struct Statements<'a> {
    pub(super) region: &'a Region,
    pub(super) tx: &'a Transaction,
}

fn of(skus: &[&Sku]) -> Rows {
    Rows::default().column("sku", "text", skus.iter().map(ToString::to_string))
}

impl Statements<'_> {
    fn backend(&self) -> Backend {
        self.region.database.backend()
    }

    /// The rest of an `INSERT … SELECT … FROM r` that makes rows which are missing and locks all of them, in the byte order of
    /// their SKUs, as the chunks are sorted, whatever the database's own collation. A row whose update is called off by its
    /// condition is locked all the same. SQLite's transaction holds the whole file.
    fn made_and_locked(&self, table: &str) -> String {
        match self.backend() {
            Backend::Postgres => format!(
                "WHERE true ORDER BY r.sku COLLATE \"C\" \
                 ON CONFLICT (region, sku) DO UPDATE SET version = {table}.version WHERE false"
            ),
            Backend::Sqlite => "WHERE true ON CONFLICT (region, sku) DO NOTHING".to_owned(),
        }
    }

    /// Locks the products of `skus`; those that are not there are made, not for sale, with version 0.
    pub(super) async fn make_and_lock_products(&self, skus: &[&Sku]) -> Result<(), DbErr> {
        let sql = format!(
            "INSERT INTO products (region, sku, title, collections, active, version) \
             SELECT {}, r.sku, '', '[]', false, 0 FROM r {}",
            self.region.number,
            self.made_and_locked("products"),
        );
        of(skus).execute(&**self.tx, &sql).await.map(drop)
    }

    /// Locks the product of `sku`, where there is one.
    pub(super) async fn lock_product(&self, sku: &Sku) -> Result<(), DbErr> {
        let lock = if self.backend() == Backend::Postgres { "FOR UPDATE" } else { "" };
        let sql = format!("SELECT 1 FROM products WHERE region = $1 AND sku = $2 {lock}");
        let key = [i32::from(self.region.number.0).into(), sku.as_str().into()];
        self.tx.query_one_raw(self.region.database.statement(sql, key)).await.map(drop)
    }

    /// The products of `skus`, locked, by SKU.
    pub(super) async fn products(&self, skus: &[&Sku]) -> Result<HashMap<String, KnownProduct>, DbErr> {
        let sql = format!(
            "SELECT p.sku, p.title, p.description, p.image, p.collections, p.active, p.version, c.currency, \
             c.amount_minor FROM r JOIN products p ON p.region = {} AND p.sku = r.sku LEFT JOIN product_prices c \
             ON c.region = p.region AND c.sku = p.sku AND c.superseded_at IS NULL",
            self.region.number
        );
        let mut known = HashMap::with_capacity(skus.len());
        for row in of(skus).query(&**self.tx, &sql).await? {
            let collections: serde_json::Value = row.try_get("", "collections")?;
            let currency: Option<String> = row.try_get("", "currency")?;
            let amount: Option<i64> = row.try_get("", "amount_minor")?;
            let product = KnownProduct {
                title: row.try_get("", "title")?,
                description: row.try_get("", "description")?,
                image: row.try_get("", "image")?,
                collections: serde_json::from_value(collections).unwrap_or_default(),
                active: row.try_get("", "active")?,
                version: row.try_get("", "version")?,
                price: currency.zip(amount),
            };
            known.insert(row.try_get("", "sku")?, product);
        }
        Ok(known)
    }

    /// Locks the stock rows of `skus`, with those that are not there made without units and with version 0; they are returned by
    /// SKU.
    pub(super) async fn make_and_lock_stock(&self, skus: &[&Sku]) -> Result<HashMap<String, KnownStock>, DbErr> {
        let region = self.region.number;
        let sql = format!(
            "INSERT INTO stock (region, sku, on_hand, version) SELECT {region}, r.sku, 0, 0 FROM r {}",
            self.made_and_locked("stock"),
        );
        of(skus).execute(&**self.tx, &sql).await?;
        let sql = format!(
            "SELECT stock.sku, on_hand, reserved, low_threshold, version FROM stock JOIN r ON r.sku = stock.sku \
             WHERE region = {region}"
        );
        let mut known = HashMap::with_capacity(skus.len());
        for row in of(skus).query(&**self.tx, &sql).await? {
            let stock = KnownStock {
                on_hand: row.try_get("", "on_hand")?,
                reserved: row.try_get("", "reserved")?,
                low_threshold: row.try_get("", "low_threshold")?,
                version: row.try_get("", "version")?,
            };
            known.insert(row.try_get("", "sku")?, stock);
        }
        Ok(known)
    }

    pub(super) async fn write_products(&self, changes: &[Change<'_>]) -> Result<(), DbErr> {
        let edits: Vec<(&ProductEdit, i64)> =
            changes.iter().filter_map(|change| Some((change.edit, change.product_version?))).collect();
        let collections = |edit: &ProductEdit| {
            let names = edit.collections.iter().map(CollectionName::as_str);
            serde_json::Value::from(names.collect::<Vec<_>>()).to_string()
        };
        let rows = Rows::default()
            .column("sku", "text", edits.iter().map(|(edit, _)| edit.sku.to_string()))
            .column("title", "text", edits.iter().map(|(edit, _)| edit.title.clone()))
            .column("description", "text", edits.iter().map(|(edit, _)| edit.description.clone()))
            // An empty text stands for none on its way: arrays carry no nulls here.
            .column("image", "text", edits.iter().map(|(edit, _)| edit.image.clone().unwrap_or_default()))
            .column("collections", "jsonb", edits.iter().map(|(edit, _)| collections(edit)))
            .column("version", "bigint", edits.iter().map(|(_, version)| *version));
        let sql = format!(
            "UPDATE products SET title = r.title, description = r.description, image = NULLIF(r.image, ''), \
             collections = r.collections, active = true, version = r.version, updated_at = {} FROM r \
             WHERE products.region = {} AND products.sku = r.sku",
            self.backend().moment_sql(),
            self.region.number
        );
        self.all(rows, edits.len(), &sql).await
    }

    /// Takes the product out of sale, as this version.
    pub(super) async fn withdraw_product(&self, sku: &Sku, version: i64) -> Result<(), DbErr> {
        let sql = format!(
            "UPDATE products SET active = false, version = r.version, updated_at = {} FROM r \
             WHERE products.region = {} AND products.sku = r.sku",
            self.backend().moment_sql(),
            self.region.number
        );
        self.all(of(&[sku]).column("version", "bigint", [version]), 1, &sql).await
    }

    /// Where the products are listed, and the words that they are found by.
    pub(super) async fn write_lists(&self, changes: &[Change<'_>]) -> Result<(), DbErr> {
        let region = self.region.number;
        let edits: Vec<&ProductEdit> =
            changes.iter().filter(|change| change.relisted).map(|change| change.edit).collect();
        self.unlist(&edits.iter().map(|edit| &edit.sku).collect::<Vec<_>>()).await?;
        let places: Vec<(&str, String, String)> = edits
            .iter()
            .flat_map(|edit| {
                // The list of everything has an empty name.
                let names = edit.collections.iter().map(CollectionName::as_str).chain([""]);
                names.map(|name| (name, words::sort_key(&edit.title), edit.sku.to_string()))
            })
            .collect();
        let rows = Rows::default()
            .column("collection", "text", places.iter().map(|(name, ..)| (*name).to_owned()))
            .column("sort_key", "text", places.iter().map(|(_, key, _)| key.clone()))
            .column("sku", "text", places.iter().map(|(.., sku)| sku.clone()));
        let sql = format!(
            "INSERT INTO product_listings (region, collection, sort_key, sku) \
             SELECT {region}, collection, sort_key, sku FROM r WHERE true ON CONFLICT DO NOTHING"
        );
        rows.execute(&**self.tx, &sql).await?;
        let words: Vec<(String, String)> = edits
            .iter()
            .flat_map(|edit| {
                words::of_product(&edit.title, &edit.sku).into_iter().map(|word| (word, edit.sku.to_string()))
            })
            .collect();
        let rows = Rows::default().column("word", "text", words.iter().map(|(word, _)| word.clone())).column(
            "sku",
            "text",
            words.iter().map(|(_, sku)| sku.clone()),
        );
        let sql = format!("INSERT INTO product_words (region, word, sku) SELECT {region}, word, sku FROM r");
        rows.execute(&**self.tx, &sql).await.map(drop)
    }

    /// Takes products out of every list.
    pub(super) async fn unlist(&self, skus: &[&Sku]) -> Result<(), DbErr> {
        for table in ["product_listings", "product_words"] {
            let sql =
                format!("DELETE FROM {table} WHERE region = {} AND sku IN (SELECT sku FROM r)", self.region.number);
            of(skus).execute(&**self.tx, &sql).await?;
        }
        Ok(())
    }

    pub(super) async fn write_prices(&self, changes: &[Change<'_>]) -> Result<(), DbErr> {
        let priced: Vec<(&ProductEdit, i64)> = changes
            .iter()
            .filter(|change| change.new_price)
            .filter_map(|change| Some((change.edit, change.product_version?)))
            .collect();
        self.end_prices(&priced.iter().map(|(edit, _)| &edit.sku).collect::<Vec<_>>()).await?;
        let rows = Rows::default()
            .column("sku", "text", priced.iter().map(|(edit, _)| edit.sku.to_string()))
            .column("version", "bigint", priced.iter().map(|(_, version)| *version))
            .column("currency", "text", priced.iter().map(|(edit, _)| edit.price.currency.code().to_owned()))
            .column("amount_minor", "bigint", priced.iter().map(|(edit, _)| edit.price.minor));
        let sql = format!(
            "INSERT INTO product_prices (region, sku, version, currency, amount_minor, valid_from) \
             SELECT {}, sku, version, currency, amount_minor, {} FROM r",
            self.region.number,
            self.backend().moment_sql()
        );
        rows.execute(&**self.tx, &sql).await.map(drop)
    }

    /// Ends the standing prices of `skus`. Now, and not when the transaction began: it may have waited for longer than a page
    /// with the price is honoured.
    pub(super) async fn end_prices(&self, skus: &[&Sku]) -> Result<(), DbErr> {
        let sql = format!(
            "UPDATE product_prices SET superseded_at = {} FROM r \
             WHERE product_prices.region = {} AND product_prices.sku = r.sku AND superseded_at IS NULL",
            self.backend().moment_sql(),
            self.region.number
        );
        of(skus).execute(&**self.tx, &sql).await.map(drop)
    }

    pub(super) async fn write_stock(&self, changes: &[Change<'_>], reference: &str) -> Result<(), DbErr> {
        let counted: Vec<(&Sku, StockChange)> =
            changes.iter().filter_map(|change| Some((&change.edit.sku, change.stock?))).collect();
        let rows = Rows::default()
            .column("sku", "text", counted.iter().map(|(sku, _)| sku.to_string()))
            .column("on_hand", "bigint", counted.iter().map(|(_, stock)| stock.on_hand))
            .column("shortfall", "bigint", counted.iter().map(|(_, stock)| stock.shortfall))
            .column("low_threshold", "bigint", counted.iter().map(|(_, stock)| stock.low_threshold))
            .column("version", "bigint", counted.iter().map(|(_, stock)| stock.version));
        let sql = format!(
            "UPDATE stock SET on_hand = r.on_hand, shortfall = r.shortfall, low_threshold = r.low_threshold, \
             version = r.version, updated_at = {} FROM r WHERE stock.region = {} AND stock.sku = r.sku",
            self.backend().moment_sql(),
            self.region.number
        );
        self.all(rows, counted.len(), &sql).await?;
        let moved: Vec<(&Sku, i64)> =
            counted.iter().map(|(sku, stock)| (*sku, stock.on_hand_delta)).filter(|(_, delta)| *delta != 0).collect();
        let rows = Rows::default()
            .column("sku", "text", moved.iter().map(|(sku, _)| sku.to_string()))
            .column("reference", "text", moved.iter().map(|_| reference.to_owned()))
            .column("units", "bigint", moved.iter().map(|(_, units)| *units));
        let sql = format!(
            "INSERT INTO stock_movements (region, sku, kind, reference, on_hand_change, reserved_change) \
             SELECT {}, sku, 'import', reference, units, 0 FROM r",
            self.region.number
        );
        rows.execute(&**self.tx, &sql).await.map(drop)
    }

    /// Runs an update of so many locked rows.
    async fn all(&self, rows: Rows, count: usize, sql: &str) -> Result<(), DbErr> {
        let updated = rows.execute(&**self.tx, sql).await?;
        if usize::try_from(updated).ok() == Some(count) { Ok(()) } else { Err(broken("a row that was locked is gone")) }
    }
}
