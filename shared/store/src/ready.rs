//! Waiting for a database that is away, or not migrated.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use crate::database::Database;
use crate::error::Error;
use crate::migration::{self, Schema};

impl Database {
    /// Returns once the database answers, takes writes and is migrated; says in one line what it waits for, again when
    /// that changes, and when the wait is over. `stop` ends the wait.
    ///
    /// # Errors
    /// [`Error::NewerSchema`] at once, as waiting does not mend it; [`Error::Stopped`].
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
        match migration::schema(self).await {
            Ok(Schema::Current) => Ok(None),
            Ok(Schema::Pending(steps)) => {
                Ok(Some(format!("its schema lacks {}: run `millpond migrate`", steps.join(", "))))
            }
            Ok(Schema::Newer(steps)) => Err(migration::newer(self, &steps)),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}
