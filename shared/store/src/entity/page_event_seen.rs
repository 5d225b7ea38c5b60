//! Table `page_events_seen`.

use sea_orm::entity::prelude::*;

/// A page event that was counted; kept as long as a repeat must be known.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "page_events_seen")]
pub struct Model {
    /// The write key's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: String,
    /// [`model::ClientEventId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: String,
    /// By the database's clock.
    pub seen_at: DateTimeUtc,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
