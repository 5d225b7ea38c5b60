//! How a role stops: softly first, hard when that takes too long or somebody insists.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Two tokens that every role is given. *Soft*: take nothing new, finish what is held, return. *Hard*: return now; what
/// is held unsettled goes back to its queue. Clones share the tokens.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Shutdown {
    /// Tokens that nobody has pulled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take nothing new, finish, return.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Return now.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// Asks for a soft stop, and for a hard one on the second call.
    pub fn request(&self) {
        if self.soft.is_cancelled() {
            self.hard.cancel();
        }
        self.soft.cancel();
    }

    /// Hardens a soft stop that has lasted for `grace`. Returns when the hard token is pulled.
    pub async fn harden_after(&self, grace: Duration) {
        self.soft.cancelled().await;
        if self.hard.run_until_cancelled(tokio::time::sleep(grace)).await.is_some() {
            tracing::warn!(grace_s = grace.as_secs(), "the soft stop took too long: stopping hard");
            self.hard.cancel();
        }
    }

    /// Tokens of a part of the whole: pulled with these, and by themselves without pulling these.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { soft: self.soft.child_token(), hard: self.hard.child_token() }
    }
}
