//! Table `orders`.

use sea_orm::entity::prelude::*;

/// An order, from its acceptance to its end.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "orders")]
pub struct Model {
    /// [`model::OrderId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// [`model::RegionNumber`], 0 to 65,535.
    pub region: i32,
    /// [`model::MarketId`].
    pub market: String,
    /// [`model::IdempotencyKey`]; operators find orders by it.
    pub idempotency_key: String,
    /// The shop's own number for it.
    pub reference: Option<String>,
    /// [`model::CustomerRef`].
    pub customer: Option<String>,
    /// [`model::Fingerprint`], 32 bytes.
    pub fingerprint: Vec<u8>,
    /// `placed`, `reserved`, `paid`, `confirmed`, `rejected` or `released`.
    pub state: String,
    /// Why it was rejected (`events::Rejection`); set exactly in state `rejected`.
    #[sea_orm(column_type = "JsonBinary")]
    pub reason: Option<Json>,
    /// When a reservation ends, by the database's clock; set exactly in state `reserved`.
    pub expires_at: Option<DateTimeUtc>,
    /// Counts up with every change of state, from 1.
    pub version: i64,
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// Minor units, 0 or more.
    pub shipping_minor: i64,
    /// Minor units, 0 or more.
    pub tax_minor: i64,
    /// Minor units, 0 or more; taken off.
    pub discount_minor: i64,
    /// What the customer pays, minor units.
    pub total_minor: i64,
    /// Who vouches for the prices (`events::Pricing`).
    #[sea_orm(column_type = "JsonBinary")]
    pub pricing: Json,
    /// Where the sale came from (`events::Attribution`).
    #[sea_orm(column_type = "JsonBinary")]
    pub attribution: Json,
    /// Stamped by the ingress.
    pub accepted_at: DateTimeUtc,
    /// When its units left the warehouse, by the database's clock.
    pub shipped_at: Option<DateTimeUtc>,
    /// By the database's clock.
    pub created_at: DateTimeUtc,
    /// By the database's clock.
    pub updated_at: DateTimeUtc,
}

/// What belongs to an order.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Its lines.
    #[sea_orm(has_many = "super::order_line::Entity")]
    Lines,
}

impl Related<super::order_line::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Lines.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
