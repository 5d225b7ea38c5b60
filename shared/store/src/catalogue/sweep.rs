//! Old prices, thrown away once nobody can have been shown them.

use std::time::Duration;

use sea_orm::DbErr;

use crate::database::Database;
use crate::sweep;

/// Throws at most `batch` prices away that ended longer than `age` ago, by the database's clock; says how many. Any number of
/// processes may do so at once. A standing price is never among them.
///
/// # Errors
/// The database's.
pub async fn forget_prices(database: &Database, age: Duration, batch: u32) -> Result<u64, DbErr> {
    sweep::forget(database, ("product_prices", "superseded_at"), age, batch).await
}
