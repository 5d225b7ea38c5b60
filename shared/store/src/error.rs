//! Why the store can't be opened or used.

use sea_orm::DbErr;

use crate::fault::Fault;

/// What can go wrong beside the work itself. For the work's own statements see [`Fault`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that can't work; waiting does not mend it.
    #[error("{0}")]
    Config(String),
    /// The schema was migrated by a newer release: this one migrates it no further, and works on it only if it has every
    /// step that this one knows.
    #[error(
        "database {database} was migrated by a newer release of Millpond, to {newest}: run that release or a later one \
         against it"
    )]
    NewerSchema {
        /// The database's name in the configuration.
        database: String,
        /// A step that this release does not know.
        newest: String,
    },
    /// A process was asked to stop while it waited.
    #[error("stopped while waiting for database {0}")]
    Stopped(String),
    /// A statement failed.
    #[error("database {database}: {fault}")]
    Database {
        /// The database's name in the configuration.
        database: String,
        /// What that means.
        fault: Fault,
    },
}

impl Error {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    pub(crate) fn database(name: &str, error: &DbErr) -> Self {
        Self::Database { database: name.to_owned(), fault: Fault::classify(error) }
    }
}
