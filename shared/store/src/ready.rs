//! Waiting for a database that is away, or not migrated.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use crate::database::Database;
use crate::error::Error;
use crate::migration::{self, Steps};

impl Database {
    /// Returns once the database answers, takes writes and is migrated; says in one line what it waits for, again when
    /// that changes, and when the wait is over. `stop` ends the wait. A schema that is newer is one to work with, with a
    /// warning: in a rolling upgrade it has been widened for the next release, and this one may have to start again.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] at once where the schema is newer and yet lacks a step that this release knows: another
    /// line of releases, which waiting does not mend; [`Error::Stopped`].
    pub async fn wait_until_ready(&self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::pin!(stop);
        tokio::select! {
            biased;
            () = &mut stop => Err(Error::Stopped(self.name().to_owned())),
            ready = self.ready() => ready,
        }
    }

    async fn ready(&self) -> Result<(), Error> {
        let longest = Duration::from_millis(self.config().max_ready_pause_ms);
        let mut pause = longest / 20;
        let mut said = None;
        loop {
            let missing = match self.missing().await? {
                None if said.is_some() => {
                    tracing::info!(store.database = self.name(), "the database is ready");
                    return Ok(());
                }
                None => return Ok(()),
                Some(missing) => missing,
            };
            if said.as_ref() != Some(&missing) {
                tracing::warn!(store.database = self.name(), "waiting for the database: {missing}");
                said = Some(missing);
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// What keeps the database from being used, in words.
    async fn missing(&self) -> Result<Option<String>, Error> {
        if let Err(error) = self.probe().await {
            return Ok(Some(error.to_string()));
        }
        let Steps { unknown, pending } = match migration::compare(self).await {
            Ok(steps) => steps,
            Err(error) => return Ok(Some(error.to_string())),
        };
        match (unknown.is_empty(), pending.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Ok(Some(format!("its schema lacks {}: run `millpond migrate`", pending.join(", ")))),
            (false, true) => {
                // Once: whoever sees this goes on.
                tracing::warn!(
                    store.database = self.name(),
                    newer = unknown.join(", "),
                    "a newer release has migrated the database: this one goes on, and should be upgraded soon"
                );
                Ok(None)
            }
            (false, false) => Err(migration::newer(self, &unknown)),
        }
    }
}
