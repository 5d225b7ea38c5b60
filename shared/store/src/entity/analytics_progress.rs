//! Table `analytics_progress`.

use sea_orm::entity::prelude::*;

/// How far a feed of analytics is.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "analytics_progress")]
pub struct Model {
    /// What is counted and for which market: `pages/eu`, `orders/eu`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub feed: String,
    /// The newest time of which everything before was counted.
    pub counted_through: DateTimeUtc,
    /// Events that were thrown away under load.
    pub shed: i64,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
