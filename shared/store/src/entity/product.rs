//! Table `products`.

use sea_orm::entity::prelude::*;

/// A product as a region sells it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "products")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    /// Shown to shoppers.
    pub title: String,
    /// Shown to shoppers.
    pub description: String,
    /// URL of its picture.
    pub image: Option<String>,
    /// An array of [`model::CollectionName`].
    #[sea_orm(column_type = "JsonBinary")]
    pub collections: Json,
    /// Whether it is for sale.
    pub active: bool,
    /// Counts up with every change, its price included, from 1.
    pub version: i64,
    /// By the database's clock.
    pub updated_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
