//! `millpond migrate`: every configured database to this version's schema, as a step of its own.

use std::process::ExitCode;

use anyhow::Context as _;
use store::{Database, Databases};

use super::say;
use crate::settings::Settings;

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    settings.prepare_data()?;
    let databases = Databases::open(&settings.store)?;
    for database in databases.databases() {
        let applied = one(database).await?;
        say(&match applied.len() {
            0 => format!("{}: up to date", database.name()),
            _ => format!("{}: {}", database.name(), applied.join(", ")),
        });
    }
    databases.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Migrates one database; what was applied, in order.
///
/// # Errors
/// Says which database; a step that failed is rolled back.
pub(crate) async fn one(database: &Database) -> anyhow::Result<Vec<String>> {
    store::migrate(database).await.with_context(|| format!("the database {} was not migrated", database.name()))
}
