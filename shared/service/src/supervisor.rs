//! The roles of one process, side by side.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::{Id, JoinError, JoinSet};

use crate::lifecycle::Shutdown;
use crate::tasks::panic_text;

/// How long stopping may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupervisorConfig {
    /// How long a soft stop may take before it is hardened, milliseconds. Kubernetes kills after 30 s by default, so
    /// stay below.
    pub soft_ms: u64,
    /// How long a hard stop may take before the roles that remain are dropped, milliseconds.
    pub hard_ms: u64,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self { soft_ms: 20_000, hard_ms: 5_000 }
    }
}

/// The first role that did not end as it should; everything was stopped because of it.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// It returned an error.
    #[error("the role {role} failed")]
    Failed {
        /// Which.
        role: String,
        /// Why.
        source: anyhow::Error,
    },
    /// It panicked.
    #[error("the role {role} panicked: {message}")]
    Panicked {
        /// Which.
        role: String,
        /// What the panic said.
        message: String,
    },
    /// It returned although nobody had asked it to stop.
    #[error("the role {role} ended although nobody asked it to")]
    Ended {
        /// Which.
        role: String,
    },
    /// It did not stop in time and was dropped.
    #[error("the role {role} did not stop within its time and was dropped")]
    Stuck {
        /// Which.
        role: String,
    },
}

/// Runs named roles until they are asked to stop or one of them fails.
#[derive(Debug)]
pub struct Supervisor {
    config: SupervisorConfig,
    shutdown: Shutdown,
    roles: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl Supervisor {
    /// No roles yet. `shutdown` is what the roles are given too.
    pub fn new(config: SupervisorConfig, shutdown: Shutdown) -> Self {
        Self { config, shutdown, roles: JoinSet::new(), names: HashMap::new() }
    }

    /// Starts a role.
    pub fn start<E: Into<anyhow::Error>>(
        &mut self,
        name: impl Into<String>,
        role: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let handle = self.roles.spawn(async move { role.await.map_err(Into::into) });
        self.names.insert(handle.id(), name.into());
    }

    /// Waits until every role has ended. The first that fails, panics or ends unasked stops the others softly; a soft
    /// stop that takes too long is hardened.
    ///
    /// # Errors
    /// [`SupervisorError`] of the first role that did not end as it should.
    pub async fn run(mut self) -> Result<(), SupervisorError> {
        let mut first = None;
        let deadlines = Self::deadlines(self.config.clone(), self.shutdown.clone());
        tokio::pin!(deadlines);
        loop {
            tokio::select! {
                ended = self.roles.join_next_with_id() => match ended {
                    None => break,
                    Some(ended) => self.note(ended, &mut first),
                },
                () = &mut deadlines => {
                    self.drop_stuck(&mut first).await;
                    break;
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Ends when the hard stop's time is over.
    async fn deadlines(config: SupervisorConfig, shutdown: Shutdown) {
        shutdown.harden_after(Duration::from_millis(config.soft_ms)).await;
        tokio::time::sleep(Duration::from_millis(config.hard_ms)).await;
    }

    fn note(&mut self, ended: Result<(Id, anyhow::Result<()>), JoinError>, first: &mut Option<SupervisorError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let role = self.names.remove(&id).unwrap_or_default();
        let error = match ended {
            Ok((_, Ok(()))) if self.shutdown.soft().is_cancelled() => {
                tracing::info!(role, "the role has stopped");
                return;
            }
            Ok((_, Ok(()))) => SupervisorError::Ended { role },
            Ok((_, Err(source))) => SupervisorError::Failed { role, source },
            Err(error) => SupervisorError::Panicked { role, message: panic_message(error) },
        };
        tracing::error!(
            error = format!("{:#}", Chain(&error)),
            "stopping the process softly because of one of its roles"
        );
        self.shutdown.soft().cancel();
        first.get_or_insert(error);
    }

    async fn drop_stuck(&mut self, first: &mut Option<SupervisorError>) {
        for role in self.names.values() {
            tracing::error!(role, "the role did not stop within its time: dropping it");
            first.get_or_insert_with(|| SupervisorError::Stuck { role: role.clone() });
        }
        self.roles.shutdown().await;
    }
}

fn panic_message(error: JoinError) -> String {
    error.try_into_panic().map_or_else(|error| error.to_string(), |panic| panic_text(&*panic).to_owned())
}

/// An error and its sources on one line.
struct Chain<'a>(&'a SupervisorError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        if let SupervisorError::Failed { source, .. } = self.0 {
            write!(f, ": {source:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> (Supervisor, Shutdown) {
        let shutdown = Shutdown::new();
        (Supervisor::new(SupervisorConfig::default(), shutdown.clone()), shutdown)
    }

    async fn until_soft(shutdown: Shutdown) -> anyhow::Result<()> {
        shutdown.soft().cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_role_that_fails_stops_the_others_softly_and_is_named() {
        let (mut supervisor, shutdown) = supervisor();
        supervisor.start("checkout", until_soft(shutdown.clone()));
        supervisor.start("relay", async { anyhow::Result::Err(anyhow::anyhow!("no database")) });
        let error = supervisor.run().await.unwrap_err();
        assert!(matches!(&error, SupervisorError::Failed { role, .. } if role == "relay"));
        assert!(shutdown.soft().is_cancelled() && !shutdown.hard().is_cancelled());
    }

    async fn panics() -> anyhow::Result<()> {
        tokio::task::yield_now().await;
        panic!("index out of bounds")
    }

    #[tokio::test]
    async fn a_role_that_panics_stops_the_others_and_its_words_are_kept() {
        let (mut supervisor, shutdown) = supervisor();
        supervisor.start("checkout", until_soft(shutdown));
        supervisor.start("relay", panics());
        let error = supervisor.run().await.unwrap_err().to_string();
        assert_eq!(error, "the role relay panicked: index out of bounds");
    }

    #[tokio::test]
    async fn a_role_that_ends_unasked_is_an_error_and_one_that_was_asked_is_none() {
        let (mut unasked, _) = supervisor();
        unasked.start("relay", async { anyhow::Ok(()) });
        assert!(matches!(unasked.run().await, Err(SupervisorError::Ended { .. })));

        let (mut asked, shutdown) = supervisor();
        asked.start("relay", until_soft(shutdown.clone()));
        shutdown.request();
        assert!(asked.run().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_that_never_stops_is_dropped_after_both_deadlines() {
        let (mut supervisor, shutdown) = supervisor();
        supervisor.start("relay", std::future::pending::<anyhow::Result<()>>());
        shutdown.request();
        let error = supervisor.run().await.unwrap_err();
        assert!(matches!(error, SupervisorError::Stuck { .. }));
        assert!(shutdown.hard().is_cancelled());
    }
}
