//! The statements of an import, in the SQL that both databases share.

use std::collections::HashMap;

use model::RegionNumber;
use sea_orm::{ConnectionTrait as _, DbErr, Value};

use super::ProductEdit;
use super::change::{Change, KnownProduct, KnownStock};
use crate::config::Backend;
use crate::database::{Database, Transaction};

/// Where the statements run.
pub(super) struct Statements<'a> {
    pub(super) database: &'a Database,
    pub(super) transaction: &'a Transaction,
    pub(super) region: RegionNumber,
}

impl Statements<'_> {
    fn region(&self) -> Value {
        i32::from(self.region.0).into()
    }

    /// Locks the rows of `table` one by one in the byte order of their SKUs, as the chunks are sorted, whatever the
    /// database's own collation; SQLite's transaction holds the whole file.
    fn locked(&self, table: &str) -> String {
        match self.database.backend() {
            Backend::Postgres => format!("ORDER BY {table}.sku COLLATE \"C\" FOR UPDATE OF {table}"),
            Backend::Sqlite => String::new(),
        }
    }

    /// The products of `chunk` that are there, by SKU.
    pub(super) async fn products(&self, chunk: &[&ProductEdit]) -> Result<HashMap<String, KnownProduct>, DbErr> {
        let sql = format!(
            "SELECT p.sku, p.title, p.description, p.collections, p.active, p.version, c.currency, c.amount_minor \
             FROM products p LEFT JOIN product_prices c \
             ON c.region = p.region AND c.sku = p.sku AND c.superseded_at IS NULL \
             WHERE p.region = $1 AND p.sku IN ({}) {}",
            placeholders(2, chunk.len()),
            self.locked("p"),
        );
        let rows = self.transaction.query_all_raw(self.database.statement(sql, self.region_and_skus(chunk))).await?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
            let collections: serde_json::Value = row.try_get("", "collections")?;
            let currency: Option<String> = row.try_get("", "currency")?;
            let amount: Option<i64> = row.try_get("", "amount_minor")?;
            let product = KnownProduct {
                title: row.try_get("", "title")?,
                description: row.try_get("", "description")?,
                collections: serde_json::from_value(collections).unwrap_or_default(),
                active: row.try_get("", "active")?,
                version: row.try_get("", "version")?,
                price: currency.zip(amount),
            };
            known.insert(row.try_get("", "sku")?, product);
        }
        Ok(known)
    }

    /// The stock rows of `chunk` that are there, locked, by SKU.
    pub(super) async fn stock(&self, chunk: &[&ProductEdit]) -> Result<HashMap<String, KnownStock>, DbErr> {
        let sql = format!(
            "SELECT sku, on_hand, reserved, low_threshold, version FROM stock \
             WHERE region = $1 AND sku IN ({}) {}",
            placeholders(2, chunk.len()),
            self.locked("stock"),
        );
        let rows = self.transaction.query_all_raw(self.database.statement(sql, self.region_and_skus(chunk))).await?;
        let mut known = HashMap::with_capacity(rows.len());
        for row in rows {
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
        let rows: Vec<[Value; 6]> = changes
            .iter()
            .filter_map(|change| {
                let version = change.product_version?;
                let edit = change.edit;
                Some([
                    self.region(),
                    edit.sku.as_str().into(),
                    edit.title.as_str().into(),
                    edit.description.as_str().into(),
                    serde_json::Value::from(edit.collections.clone()).into(),
                    version.into(),
                ])
            })
            .collect();
        let now = self.database.backend().now_sql();
        self.insert(
            "products (region, sku, title, description, collections, version)",
            rows,
            &format!(
                "ON CONFLICT (region, sku) DO UPDATE SET title = excluded.title, description = excluded.description, \
                 collections = excluded.collections, active = true, version = excluded.version, updated_at = {now}"
            ),
        )
        .await
    }

    pub(super) async fn write_prices(&self, changes: &[Change<'_>]) -> Result<(), DbErr> {
        let priced: Vec<(&Change<'_>, i64)> = changes
            .iter()
            .filter(|change| change.new_price)
            .filter_map(|change| Some((change, change.product_version?)))
            .collect();
        if priced.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "UPDATE product_prices SET superseded_at = {} WHERE region = $1 AND superseded_at IS NULL AND sku IN ({})",
            self.database.backend().now_sql(),
            placeholders(2, priced.len()),
        );
        let edits: Vec<&ProductEdit> = priced.iter().map(|(change, _)| change.edit).collect();
        self.transaction.execute_raw(self.database.statement(sql, self.region_and_skus(&edits))).await?;
        let rows: Vec<[Value; 5]> = priced
            .iter()
            .map(|(change, version)| {
                let price = change.edit.price;
                let sku = change.edit.sku.as_str().into();
                [self.region(), sku, (*version).into(), price.currency.code().into(), price.minor.into()]
            })
            .collect();
        self.insert("product_prices (region, sku, version, currency, amount_minor)", rows, "").await
    }

    pub(super) async fn write_stock(&self, changes: &[Change<'_>], reference: &str) -> Result<(), DbErr> {
        let counted: Vec<(&Change<'_>, i64)> =
            changes.iter().filter_map(|change| Some((change, change.stock_version?))).collect();
        // The locked row's `reserved` goes along although it stays: a CHECK looks at the row to insert before the conflict.
        let rows: Vec<[Value; 7]> = counted
            .iter()
            .map(|(change, version)| {
                let edit = change.edit;
                [
                    self.region(),
                    edit.sku.as_str().into(),
                    edit.on_hand.into(),
                    change.reserved.into(),
                    change.shortfall.into(),
                    edit.low_threshold.into(),
                    (*version).into(),
                ]
            })
            .collect();
        let now = self.database.backend().now_sql();
        self.insert(
            "stock (region, sku, on_hand, reserved, shortfall, low_threshold, version)",
            rows,
            &format!(
                "ON CONFLICT (region, sku) DO UPDATE SET on_hand = excluded.on_hand, shortfall = excluded.shortfall, \
                 low_threshold = excluded.low_threshold, version = excluded.version, updated_at = {now}"
            ),
        )
        .await?;
        let movements: Vec<[Value; 6]> = counted
            .iter()
            .filter(|(change, _)| change.on_hand_delta != 0)
            .map(|(change, _)| {
                let sku = change.edit.sku.as_str().into();
                let count = change.on_hand_delta.into();
                [self.region(), sku, "import".into(), reference.into(), count, 0_i64.into()]
            })
            .collect();
        self.insert("stock_movements (region, sku, kind, reference, on_hand_change, reserved_change)", movements, "")
            .await
    }

    async fn insert<const N: usize>(&self, into: &str, rows: Vec<[Value; N]>, then: &str) -> Result<(), DbErr> {
        if rows.is_empty() {
            return Ok(());
        }
        let values: Vec<String> = (0..rows.len()).map(|row| format!("({})", placeholders(row * N + 1, N))).collect();
        let sql = format!("INSERT INTO {into} VALUES {} {then}", values.join(", "));
        self.transaction.execute_raw(self.database.statement(sql, rows.into_iter().flatten())).await?;
        Ok(())
    }

    fn region_and_skus(&self, chunk: &[&ProductEdit]) -> Vec<Value> {
        std::iter::once(self.region()).chain(chunk.iter().map(|edit| edit.sku.as_str().into())).collect()
    }
}

/// `$FIRST, …`, `count` of them.
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}
