//! Table `outbox`.

use sea_orm::entity::prelude::*;

/// A message that committed with the state it tells of, and is not confirmed by the broker yet.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// [`model::EventId`], which is also the broker's message id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Where to.
    pub exchange: String,
    /// Matched by the exchange.
    pub routing_key: String,
    /// The event's type.
    pub kind: String,
    /// Media type of the body.
    pub content_type: String,
    /// An object of texts.
    #[sea_orm(column_type = "JsonBinary")]
    pub headers: Json,
    /// The payload.
    pub body: Vec<u8>,
    /// By the source's clock.
    pub occurred_at: DateTimeUtc,
    /// When its transaction began (SQLite: when the row was written), by the database's clock.
    pub created_at: DateTimeUtc,
    /// SQLite alone: until then another relay leaves it.
    pub claimed_until: Option<DateTimeUtc>,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
