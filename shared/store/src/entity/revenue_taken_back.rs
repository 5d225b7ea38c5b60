//! Table `revenue_taken_back`.

use sea_orm::entity::prelude::*;

/// A cancellation or a refund that was counted.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revenue_taken_back")]
pub struct Model {
    /// [`model::OrderId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    /// `release`, or `refund/` and the refund's reference.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reference: String,
    /// By the database's clock.
    pub seen_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
