//! What a role starts on the side, and waits for before it returns.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one role or one server: each has a name, none is forgotten. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `future`. It runs to its end whether or not the handle is kept; a panic is logged with `name` and is a
    /// `JoinError` to whoever awaits the handle.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn(async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(value) => value,
                Err(panic) => {
                    tracing::error!(task = name, panic = panic_text(&*panic), "a task panicked");
                    std::panic::resume_unwind(panic)
                }
            }
        })
    }

    /// Starts `future` and drops it when `stop` is pulled: for loops that hold nothing.
    pub fn spawn_until(
        &self,
        name: &'static str,
        stop: CancellationToken,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        self.spawn(name, async move {
            stop.run_until_cancelled(future).await;
        })
    }

    /// How many run now.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until every task has ended, those included that start while it waits.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// What a panic said, where it said it in text.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_whose_handle_is_dropped_still_runs_to_its_end_before_join_returns() {
        let tasks = Tasks::new();
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        drop(tasks.spawn("slow", async move {
            tokio::task::yield_now().await;
            flag.store(true, Ordering::SeqCst);
        }));
        tasks.join().await;
        assert!(done.load(Ordering::SeqCst) && tasks.is_empty());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_to_who_awaits_it_and_does_not_hang_join() {
        let tasks = Tasks::new();
        let handle = tasks.spawn("broken", async { panic!("no good") });
        assert!(handle.await.unwrap_err().is_panic());
        tasks.join().await;
    }
}
