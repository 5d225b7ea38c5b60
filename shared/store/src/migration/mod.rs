//! The schema, as an append-only list of steps: a released step is never edited, a change is a new step. Each is written
//! once, in the SQL that PostgreSQL and SQLite share; `{words}` stand for what they spell differently (see [`dialect`]).

mod analytics;
mod catalogue;
mod catalogue_reads;
mod dialect;
mod governor;
mod ops;
mod order_lines;
mod orders;
mod outbox;
mod outbox_body;
mod outbox_upkeep;
mod parked;
mod probe;
mod runner;
mod stock;
mod stock_flows;
mod trials;

pub use runner::{Schema, migrate, schema};
pub(crate) use runner::{Steps, newer, steps as compare};

use sea_orm_migration::prelude::{DbErr, MigrationName, MigrationTrait, SchemaManager, async_trait};
use sea_orm_migration::sea_orm::ConnectionTrait as _;

/// One step of the schema's history.
struct Step {
    /// Permanent, and in the order of the list.
    name: &'static str,
    /// Run in this order, in one transaction.
    statements: &'static [&'static str],
}

/// Every step, oldest first.
fn steps() -> Vec<Step> {
    vec![
        orders::STEP,
        stock::STEP,
        catalogue::STEP,
        outbox::STEP,
        analytics::STEP,
        probe::STEP,
        governor::STEP,
        outbox_body::STEP,
        ops::STEP,
        parked::STEP,
        stock_flows::STEP,
        outbox_upkeep::STEP,
        catalogue_reads::STEP,
        trials::STEP,
        order_lines::STEP,
        order_lines::SQLITE_STEP,
    ]
}

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and spelt out here it would be bound differently"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        for statement in self.statements {
            let sql = dialect::render(statement, manager.get_database_backend());
            // What only the other database needs is nothing here.
            if !sql.is_empty() {
                db.execute_unprepared(&sql).await?;
            }
        }
        Ok(())
    }
}
