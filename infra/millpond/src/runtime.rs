//! The threads that run tasks. What blocks (files, compression, embedded queues) has threads of its own.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};

use crate::role::Role;

/// How many threads a process has for its tasks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Threads, at most [`MOST`]; 0: one where a process has nothing but workers, else as many as cores.
    pub(crate) threads: u16,
}

/// More than any machine has cores for.
const MOST: u16 = 1_024;

impl Config {
    /// # Errors
    /// More threads than [`MOST`].
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Self { threads } = self;
        ensure!(*threads <= MOST, "runtime.threads = {threads}: at most {MOST}, and 0 for what suits the roles");
        Ok(())
    }

    /// A worker takes one batch after the other, and more of them are more processes: with a second thread it hands tasks
    /// over and keeps freed memory twice. None: what tokio takes by itself.
    pub(crate) fn threads_for(&self, roles: &BTreeSet<Role>) -> Option<usize> {
        match self.threads {
            0 => roles.iter().all(|role| role.works_by_itself()).then_some(1),
            threads => Some(usize::from(threads)),
        }
    }
}

/// A runtime of so many threads; none: what tokio takes by itself, a thread for each core or `TOKIO_WORKER_THREADS`.
///
/// # Errors
/// The operating system's, where it gives no thread.
pub(crate) fn build(threads: Option<usize>) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("the runtime can't be started")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_by_themselves_have_one_thread_and_whoever_answers_requests_has_the_cores() {
        let threads = |roles: &[Role]| Config::default().threads_for(&roles.iter().copied().collect());
        assert_eq!(threads(&[Role::Checkout]), Some(1));
        assert_eq!(threads(&[Role::Checkout, Role::Relay, Role::Analytics, Role::Parker, Role::Invalidation]), Some(1));
        assert_eq!(threads(&[Role::Ingress]), None);
        assert_eq!(threads(&[Role::Checkout, Role::Storefront]), None);
        assert_eq!(threads(&Role::ALL), None);
    }

    #[test]
    fn more_threads_than_any_machine_is_worth_are_refused() {
        assert!(Config { threads: MOST }.check().is_ok());
        let refused = Config { threads: MOST + 1 }.check().unwrap_err().to_string();
        assert!(refused.contains("runtime.threads = 1025"), "{refused}");
    }

    #[test]
    fn a_number_that_is_set_holds_for_every_role() {
        let threads = |role| Config { threads: 3 }.threads_for(&BTreeSet::from([role]));
        assert_eq!((threads(Role::Checkout), threads(Role::Ingress)), (Some(3), Some(3)));
    }
}
