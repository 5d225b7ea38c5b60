//! Table `revenue_seen`.

use sea_orm::entity::prelude::*;

/// An order whose outcome was counted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revenue_seen")]
pub struct Model {
    /// [`model::OrderId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    /// The event's type.
    pub outcome: String,
    /// By the database's clock.
    pub seen_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
