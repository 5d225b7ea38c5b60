//! What is told to everyone who listens, and may be lost: heartbeats, purges of what is cached in a process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The topic of workers' heartbeats.
pub const HEARTBEATS: &str = "heartbeats";

/// The topic of purges: tags whose generations were changed.
pub const PURGES: &str = "purges";

/// Announcements that a listener may be behind; what comes on top of them is lost to it.
pub const BEHIND: usize = 1_024;

/// An announcement at most, bytes; a longer one is dropped. It is a note, not a message.
pub const MAX_ANNOUNCEMENT: usize = 16 * 1_024;

/// What is announced under one topic, across reconnects. Dropping it stops listening.
#[derive(Debug)]
pub struct Listener {
    heard: mpsc::Receiver<Bytes>,
    _stop: DropGuard,
}

impl Listener {
    /// For implementations: `stop` is cancelled when the listener is dropped. The channel should hold [`BEHIND`].
    pub fn new(heard: mpsc::Receiver<Bytes>, stop: DropGuard) -> Self {
        Self { heard, _stop: stop }
    }

    /// The next announcement; `None` once the broker was closed by this process. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.heard.recv().await
    }
}

/// Announcements within one process: what an implementation without a server needs.
#[derive(Debug, Default)]
pub struct Topics {
    /// `None` once closed.
    listeners: Mutex<Option<HashMap<String, Vec<mpsc::Sender<Bytes>>>>>,
}

impl Topics {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self { listeners: Mutex::new(Some(HashMap::new())) }
    }

    /// Tells everyone who listens to `topic` and keeps up.
    pub fn announce(&self, topic: &str, payload: &Bytes) {
        if payload.len() > MAX_ANNOUNCEMENT {
            tracing::debug!(topic, bytes = payload.len(), "an announcement is too long and was dropped");
            return;
        }
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_topic) = listeners.as_mut().and_then(|topics| topics.get_mut(topic)) else { return };
        of_topic.retain(|listener| {
            !matches!(listener.try_send(payload.clone()), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    /// Listens to `topic` from now on.
    pub fn listen(&self, topic: &str) -> Listener {
        let (tell, heard) = mpsc::channel(BEHIND);
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        // Once closed, the sender is dropped here, and the listener has ended.
        if let Some(topics) = listeners.as_mut() {
            let of_topic = topics.entry(topic.to_owned()).or_default();
            of_topic.retain(|listener| !listener.is_closed());
            of_topic.push(tell);
        }
        Listener::new(heard, CancellationToken::new().drop_guard())
    }

    /// Ends every listener, those included that come later.
    pub fn close(&self) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
