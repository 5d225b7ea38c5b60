//! Table `page_rollups_minute`.

use sea_orm::entity::prelude::*;

/// Page events of one minute, path and campaign.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "page_rollups_minute")]
pub struct Model {
    /// [`model::MarketId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub market: String,
    /// Its start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: DateTimeUtc,
    /// Empty: none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub path: String,
    /// Empty: none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub campaign: String,
    /// Page views.
    pub views: i64,
    /// Events of every kind, views included.
    pub events: i64,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
