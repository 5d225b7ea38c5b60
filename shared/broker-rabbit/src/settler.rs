//! How one delivery ends.

use std::sync::Arc;
use std::time::Duration;

use broker::{Publish, QueueName, QueueSpec, Settle, SettleError, Settler};
use futures::future::BoxFuture;
use model::{Message, headers};

use crate::publisher::Publisher;
use crate::window::Window;
use crate::wire;

/// The longest reason that is kept, in bytes: headers have a limit, and people have one, too.
const MAX_REASON: usize = 1_024;

/// What a copy's own headers may take beside the original's, in bytes.
const ROOM_FOR_OURS: usize = 2 * MAX_REASON;

/// The longest value of a header of ours that is kept where the others are left behind.
const MAX_OURS: usize = 256;

/// Headers that mean something to Millpond.
const OURS: [&str; 7] = [
    headers::ATTEMPT,
    headers::VERSION,
    headers::EVENT_COUNT,
    headers::ORIGIN_QUEUE,
    headers::REPLAYED,
    headers::SUSPICION,
    headers::TRACEPARENT,
];

/// What the deliveries of a subscription share.
pub(crate) struct Home {
    pub(crate) queue: QueueName,
    /// Where the queue was declared here: only then are its ladder and its parked queue known.
    pub(crate) spec: Option<QueueSpec>,
    pub(crate) publisher: Arc<Publisher>,
}

pub(crate) struct RabbitSettler {
    pub(crate) tag: u64,
    pub(crate) window: Arc<Window>,
    pub(crate) home: Arc<Home>,
}

impl Settler for RabbitSettler {
    fn settle(self: Box<Self>, message: &Message, how: Settle) -> BoxFuture<'_, Result<(), SettleError>> {
        Box::pin(async move {
            match how {
                Settle::Ack => settled(self.window.ack(self.tag)),
                Settle::Requeue => settled(self.window.nack(self.tag)),
                Settle::Retry { after, reason } => self.copy(self.home.retry(message, after, &reason)).await,
                Settle::Park { .. } if failpoint::broken!(ParkedDropped) => settled(self.window.ack(self.tag)),
                Settle::Park { reason } => self.copy(self.home.park(message, &reason)).await,
            }
        })
    }

    fn release(self: Box<Self>) {
        self.window.release(self.tag);
    }
}

impl RabbitSettler {
    /// The copy is confirmed before the original is acked: a death in between gives the message twice, never not at
    /// all.
    async fn copy(&self, copy: Result<Publish, String>) -> Result<(), SettleError> {
        let guard = Unsettled(self);
        let refused = match copy {
            Ok(copy) => match self.home.publisher.publish(vec![copy]).await.pop() {
                Some(Ok(())) => None,
                Some(Err(error)) => Some(error.to_string()),
                None => Some("the publisher gave no outcome".to_owned()),
            },
            Err(why) => Some(why),
        };
        std::mem::forget(guard);
        match refused {
            None => settled(self.window.ack(self.tag)),
            Some(why) => {
                self.window.nack(self.tag);
                Err(SettleError::Requeued(why))
            }
        }
    }
}

/// Gives the delivery back where its settlement is dropped half done.
struct Unsettled<'a>(&'a RabbitSettler);

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        self.0.window.release(self.0.tag);
    }
}

fn settled(told: bool) -> Result<(), SettleError> {
    if told { Ok(()) } else { Err(SettleError::Gone) }
}

impl Home {
    fn retry(&self, message: &Message, after: Duration, reason: &str) -> Result<Publish, String> {
        let rung = self.queue.retry(self.spec()?.rung(after));
        let attempt = message.attempt().saturating_add(1);
        let mut copy = self.with_reason(message, reason);
        copy.headers.insert(headers::ATTEMPT.to_owned(), attempt.to_string());
        Ok(Publish::to_queue(&rung, copy))
    }

    fn park(&self, message: &Message, reason: &str) -> Result<Publish, String> {
        self.spec()?;
        let mut copy = self.with_reason(message, reason);
        copy.headers.insert(headers::ORIGIN_QUEUE.to_owned(), self.queue.to_string());
        Ok(Publish::to_queue(&self.queue.parked(), copy))
    }

    /// A copy is persistent, whatever the original was: somebody wants it to come back. Headers that are too many for a
    /// copy are somebody else's, and are left behind: what can't be copied would come again for ever.
    fn with_reason(&self, message: &Message, reason: &str) -> Message {
        let mut copy = Message { transient: false, ..message.clone() };
        let bytes = wire::header_bytes(message);
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
        if bytes + ROOM_FOR_OURS > self.publisher.max_headers() {
            copy.headers.retain(|name, value| OURS.contains(&name.as_str()) && value.len() <= MAX_OURS);
            let reason = format!("{reason} (its {bytes} bytes of headers were too many for a copy and are gone)");
            copy.headers.insert(headers::REASON.to_owned(), reason);
        } else {
            copy.headers.insert(headers::REASON.to_owned(), reason.to_owned());
        }
        copy
    }

    fn spec(&self) -> Result<&QueueSpec, String> {
        self.spec.as_ref().ok_or_else(|| format!("{} has neither a retry ladder nor a parked queue", self.queue))
    }
}
