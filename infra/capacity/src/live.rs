//! Counters that a terminal or a report reads while the run goes on.

use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened so far. Relaxed counters: each is true by itself, together they are a moment's picture.
#[derive(Debug, Default)]
pub struct Live {
    sent: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

impl Live {
    pub(crate) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_answer(&self, status: Option<u16>) {
        let counter = match status {
            Some(202) => &self.accepted,
            Some(_) => &self.refused,
            None => &self.unanswered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests whose planned time has come.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Answers 202.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Any other answer.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that no answer came to.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }
}
