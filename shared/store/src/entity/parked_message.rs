//! Table `parked_messages`.

use sea_orm::entity::prelude::*;

/// A message that a consumer gave up on, for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "parked_messages")]
pub struct Model {
    /// Its home queue, or `millpond.unrouted`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub queue: String,
    /// Its key within the queue: `own_id`, but where another message there says the same of itself.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: String,
    /// [`model::MessageId`]; replays carry it.
    pub own_id: String,
    /// SHA-256 of what no copy changes: type, body, foreign headers.
    pub digest: Vec<u8>,
    /// The event's type.
    pub kind: String,
    /// Why, for people; of the last time.
    pub reason: String,
    /// The reason without what differs between messages: equal reasons are a group.
    pub reason_key: String,
    /// Media type of the body.
    pub content_type: String,
    /// An object of texts.
    #[sea_orm(column_type = "JsonBinary")]
    pub headers: Json,
    /// The payload, whole.
    pub body: Vec<u8>,
    /// When it was published first.
    pub published_at: DateTimeUtc,
    /// `open`, `replaying` (asked for), `replayed` (in its home queue again), `discarded` or `closed` (its effect exists).
    pub state: String,
    /// How often it was parked; a delivery that came twice counts twice.
    pub times: i32,
    /// By the database's clock.
    pub first_parked_at: DateTimeUtc,
    /// By the database's clock.
    pub last_parked_at: DateTimeUtc,
    /// The number of its newest replay, as the message carries it; 0: none.
    pub replays: i32,
    /// The replay that it is a part of.
    pub replay_id: Option<Uuid>,
    /// Until when a parker alone may publish it, by the database's clock.
    pub claimed_until: Option<DateTimeUtc>,
    /// When the broker confirmed the newest replay.
    pub replayed_at: Option<DateTimeUtc>,
    /// When it was closed or discarded.
    pub ended_at: Option<DateTimeUtc>,
    /// Why it was discarded or closed, or why its replay failed.
    pub note: Option<String>,
    /// When its effect was last looked for.
    pub checked_at: Option<DateTimeUtc>,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
