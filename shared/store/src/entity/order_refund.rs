//! Table `order_refunds`.

use sea_orm::entity::prelude::*;

/// Units of an order that were paid back, under one key.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_refunds")]
pub struct Model {
    /// The order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    /// The request's [`model::IdempotencyKey`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub reference: String,
    /// Units, 1 or more.
    pub quantity: i32,
    /// Whether they are for sale again; else they are gone.
    pub restocked: bool,
    /// What was paid back for them, minor units of the order's currency.
    pub amount_minor: i64,
    /// By the database's clock.
    pub created_at: DateTimeUtc,
}

/// What a refund belongs to.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Its order.
    #[sea_orm(belongs_to = "super::order::Entity", from = "Column::OrderId", to = "super::order::Column::Id")]
    Order,
}

impl Related<super::order::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Order.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
