//! What handles see of the writer thread without asking it.

use std::sync::Mutex;
use std::sync::PoisonError;

use broker::{BrokerState, PublishError};

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Ready,
    Blocked(String),
    Closed,
}

/// Whether a publish would be tried now.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Phase>);

impl Shared {
    pub(crate) fn state(&self) -> BrokerState {
        self.with(|phase| match phase {
            Phase::Ready => BrokerState::Ready,
            Phase::Blocked(_) => BrokerState::Blocked,
            Phase::Closed => BrokerState::Disconnected,
        })
    }

    /// Why a publish is refused without asking the writer.
    pub(crate) fn refusal(&self) -> Option<PublishError> {
        self.with(|phase| match phase {
            Phase::Ready => None,
            Phase::Blocked(reason) => Some(PublishError::Blocked(reason.clone())),
            Phase::Closed => Some(PublishError::Unavailable),
        })
    }

    pub(crate) fn block(&self, reason: String) {
        self.with(|phase| {
            if !matches!(phase, Phase::Closed) {
                *phase = Phase::Blocked(reason);
            }
        });
    }

    pub(crate) fn unblock(&self) {
        self.with(|phase| {
            if matches!(phase, Phase::Blocked(_)) {
                *phase = Phase::Ready;
            }
        });
    }

    pub(crate) fn close(&self) {
        self.with(|phase| *phase = Phase::Closed);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Phase) -> T) -> T {
        // No code under this lock can panic half-way through a change.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
