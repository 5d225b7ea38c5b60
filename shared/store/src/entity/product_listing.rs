//! Table `product_listings`.

use sea_orm::entity::prelude::*;

/// A list that a product which is for sale is in, and its place there.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "product_listings")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::CollectionName`]; empty: the list of everything.
    #[sea_orm(primary_key, auto_increment = false)]
    pub collection: String,
    /// The list's order: the title as it is sorted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sort_key: String,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
