//! Table `parked_messages`.

use sea_orm::entity::prelude::*;

/// A message that a consumer gave up on, for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parked_messages")]
pub struct Model {
    /// Its home queue.
    #[sea_orm(primary_key, auto_increment = false)]
    pub queue: String,
    /// [`model::MessageId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: String,
    /// The event's type.
    pub kind: String,
    /// Why, for people.
    pub reason: String,
    /// Media type of the body.
    pub content_type: String,
    /// An object of texts.
    #[sea_orm(column_type = "JsonBinary")]
    pub headers: Json,
    /// The payload.
    pub body: Vec<u8>,
    /// When it was published first.
    pub published_at: DateTimeUtc,
    /// `open`, `replayed`, `discarded` or `closed` (its effect exists).
    pub state: String,
    /// How often it was parked.
    pub times: i32,
    /// By the database's clock.
    pub first_parked_at: DateTimeUtc,
    /// By the database's clock.
    pub last_parked_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
