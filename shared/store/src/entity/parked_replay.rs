//! Table `parked_replays`.

use sea_orm::entity::prelude::*;

/// A replay of parked messages that is under way; gone when its last message is published.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parked_replays")]
pub struct Model {
    /// Names it in `parked_messages`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who asked for it.
    pub operator: String,
    /// How many messages it began with.
    pub messages: i64,
    /// Microseconds from one message to the next.
    pub pace_us: i64,
    /// The time up to which its pace has been used, by the database's clock.
    pub paced_at: DateTimeUtc,
    /// By the database's clock.
    pub requested_at: DateTimeUtc,
}

/// None: messages name it, and it may go before them.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
