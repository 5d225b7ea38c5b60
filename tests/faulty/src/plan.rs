//! What goes wrong, and where.

use proptest::prelude::*;

/// A place in the life of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The server hands a message out.
    HandOut,
    /// The handler is called.
    Handle,
    /// The handler is about to commit.
    Commit,
    /// The handler has committed, and nobody knows yet.
    Committed,
    /// The worker settles a delivery without a copy.
    Settle,
    /// Settlements are on their way to the server.
    Flush,
    /// A copy for retry or park is about to be published.
    Copy,
    /// It is stored, and its original not acked yet.
    Copied,
}

/// What goes wrong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies.
    Crash,
    /// Its connection to the broker is lost.
    Cut,
    /// The broker refuses the copy.
    Refuse,
    /// The broker stores the copy, and its confirm is lost.
    LoseConfirm,
    /// The database fails. At [`Step::Committed`] that is an answer that is lost.
    Fail,
    /// The database reports a lock.
    Lock,
    /// The database does not answer, and no probe either, until the handler gives up.
    Stall,
    /// The process dies in the middle of the handler, at its so-many-th wait.
    Midway(u8),
}

/// A fault that waits for its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    /// Where.
    pub at: Step,
    /// How often the step passes before.
    pub skip: u8,
    /// What then.
    pub fault: Fault,
}

impl Armed {
    /// Any fault at any step where it can happen.
    pub fn any() -> impl Strategy<Value = Self> + Clone {
        let pairs: Vec<(Step, Fault)> = [
            (Step::HandOut, [].as_slice()),
            (Step::Handle, &[Fault::Fail, Fault::Lock, Fault::Stall]),
            (Step::Commit, &[Fault::Fail]),
            (Step::Committed, &[Fault::Fail, Fault::Stall]),
            (Step::Settle, &[]),
            (Step::Flush, &[]),
            (Step::Copy, &[Fault::Refuse]),
            (Step::Copied, &[Fault::LoseConfirm]),
        ]
        .into_iter()
        .flat_map(|(at, own)| [Fault::Crash, Fault::Cut].iter().chain(own).map(move |fault| (at, *fault)))
        .collect();
        (proptest::sample::select(pairs), 0_u8..6).prop_map(|((at, fault), skip)| Self { at, skip, fault })
    }
}

/// Faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    armed: Vec<Armed>,
}

impl Plan {
    pub(crate) fn arm(&mut self, armed: Armed) {
        self.armed.push(armed);
    }

    pub(crate) fn disarm(&mut self) {
        self.armed.clear();
    }

    /// The step is passed: the fault that was waiting for that, if there is one. Others come one step nearer.
    pub(crate) fn pass(&mut self, step: Step) -> Option<Fault> {
        let due = self.armed.iter().position(|armed| armed.at == step && armed.skip == 0);
        for armed in self.armed.iter_mut().filter(|armed| armed.at == step) {
            armed.skip = armed.skip.saturating_sub(1);
        }
        due.map(|at| self.armed.remove(at).fault)
    }
}
