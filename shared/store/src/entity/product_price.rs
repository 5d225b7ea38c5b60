//! Table `product_prices`.

use sea_orm::entity::prelude::*;

/// A price that a product has or had.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "product_prices")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    /// The product's version that brought it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Price of one unit, minor units, 0 or more.
    pub amount_minor: i64,
    /// By the database's clock.
    pub valid_from: DateTimeUtc,
    /// When the next price came; none for the standing price, of which there is at most one.
    pub superseded_at: Option<DateTimeUtc>,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
