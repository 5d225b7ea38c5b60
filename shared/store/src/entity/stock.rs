//! Table `stock`.

use sea_orm::entity::prelude::*;

/// Units of a SKU in a region; `on_hand - reserved` are for sale, or `shortfall` are missing.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    /// Units in the warehouse, reserved ones included.
    pub on_hand: i64,
    /// Units promised to orders and not shipped yet.
    pub reserved: i64,
    /// `max(reserved - on_hand, 0)`: promised units that a count did not find. An allocation never raises it.
    pub shortfall: i64,
    /// At or below this many for sale, stock is shown as low.
    pub low_threshold: i64,
    /// Counts up with every change, from 1.
    pub version: i64,
    /// By the database's clock.
    pub updated_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
