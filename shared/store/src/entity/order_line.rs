//! Table `order_lines`.

use sea_orm::entity::prelude::*;

/// A line of an order. Lines of one SKU are merged where their unit prices agree, so a SKU may have two.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "order_lines")]
pub struct Model {
    /// The order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub order_id: Uuid,
    /// From 1, in the order posted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub line_no: i32,
    /// [`model::Sku`].
    pub sku: String,
    /// Units, 1 or more.
    pub quantity: i32,
    /// Price of one unit, minor units of the order's currency.
    pub unit_price_minor: i64,
}

/// What a line belongs to.
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
