//! Table `revenue_rollups_minute`.

use sea_orm::entity::prelude::*;

/// Outcomes of orders of one minute and campaign.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "revenue_rollups_minute")]
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
    /// ISO 4217 code; empty for rejections, which have none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub currency: String,
    /// Orders confirmed, less those that were cancelled.
    pub orders: i64,
    /// Units sold, less those that were taken back.
    pub units: i64,
    /// What customers paid, less what was paid back, minor units.
    pub revenue_minor: i64,
    /// Orders rejected.
    pub rejected: i64,
}

/// None: rows stand alone.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
