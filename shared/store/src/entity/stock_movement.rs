//! Table `stock_movements`.

use sea_orm::entity::prelude::*;

/// A change of stock, which happens once: its key is its identity.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock_movements")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::Sku`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub sku: String,
    /// `order`, `release`, `cancel`, `refund`, `ship`, `restock`, `count`, `allotment` or `import`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kind: String,
    /// What caused it, unique for the SKU and kind: an order id, a line of an import.
    #[sea_orm(primary_key, auto_increment = false)]
    pub reference: String,
    /// The order behind it, if any.
    pub order_id: Option<Uuid>,
    /// Units, signed.
    pub on_hand_change: i64,
    /// Units, signed.
    pub reserved_change: i64,
    /// By the database's clock.
    pub created_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
