//! Table `stock_requests`.

use sea_orm::entity::prelude::*;

/// A change of stock or of an order, and the answer that its repeats get.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stock_requests")]
pub struct Model {
    /// [`model::RegionNumber`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub region: i32,
    /// [`model::MarketId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub market: String,
    /// [`model::IdempotencyKey`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub idempotency_key: String,
    /// Digest of the change, 32 bytes.
    pub fingerprint: Vec<u8>,
    /// None within its transaction alone.
    #[sea_orm(column_type = "JsonBinary")]
    pub answer: Option<Json>,
    /// By the database's clock.
    pub created_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
