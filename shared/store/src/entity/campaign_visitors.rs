//! Table `campaign_visitors_minute`.

use sea_orm::entity::prelude::*;

/// The visitors of one minute and campaign, as a HyperLogLog sketch that can be merged.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaign_visitors_minute")]
pub struct Model {
    /// [`model::MarketId`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub market: String,
    /// Its start.
    #[sea_orm(primary_key, auto_increment = false)]
    pub minute: DateTimeUtc,
    /// Empty: none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub campaign: String,
    /// Written and read by analytics alone.
    pub sketch: Vec<u8>,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
