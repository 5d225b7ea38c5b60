//! Messages between their send and the broker's word on each.

use std::future::{Future, poll_fn};
use std::task::Poll;

use broker::{Publish, PublishError};
use futures::FutureExt as _;
use lapin::Confirmation;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use crate::lane::{Confirm, Lane};
use crate::wire::{self, Limits};

/// Room among what is in flight, for as long as lapin holds on to the messages.
pub(crate) struct Permits {
    pub(crate) _messages: OwnedSemaphorePermit,
    pub(crate) _kib: OwnedSemaphorePermit,
}

/// Awaits the confirms that nobody waits for any longer, so that their permits are held until lapin has let go of them.
#[derive(Clone)]
pub(crate) struct Reaper {
    tasks: TaskTracker,
    runtime: Handle,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self { tasks: TaskTracker::new(), runtime: Handle::current() }
    }

    fn take(&self, rest: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn_on(rest, &self.runtime);
    }

    /// Waits for every confirm; the connection is closed by then, so that each of them is decided.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

enum Slot {
    Told(Result<(), PublishError>),
    /// Acked; told once it is clear that it did not come back.
    Acked(String),
    Pending {
        id: String,
        confirm: Confirm,
    },
}

/// The messages of one caller on their way. Whatever of it is still pending when it is dropped (nobody waits for it any
/// longer) goes to the reaper, and its permits with it.
pub(crate) struct Flight {
    slots: Vec<Slot>,
    permits: Option<Permits>,
    reaper: Reaper,
}

impl Flight {
    /// Messages that are not sent yet. A body may have `max_body` bytes.
    pub(crate) fn new(
        publishes: Vec<Publish>,
        permits: Permits,
        lane: &Lane,
        max_body: usize,
        reaper: &Reaper,
    ) -> Self {
        let slots = publishes.into_iter().map(|publish| {
            let id = publish.message.id.as_str().to_owned();
            match wire::outbound(publish, Limits { body_bytes: max_body, header_bytes: lane.max_headers() }) {
                Ok(outbound) => Slot::Pending { id, confirm: lane.confirm(outbound) },
                Err(error) => Slot::Told(Err(error)),
            }
        });
        Self { slots: slots.collect(), permits: Some(permits), reaper: reaper.clone() }
    }

    /// Queues every frame, in order, without waiting for any.
    pub(crate) async fn send(&mut self, lane: &Lane) {
        poll_fn(|context| {
            for slot in &mut self.slots {
                if let Slot::Pending { id, confirm } = slot
                    && let Poll::Ready(confirmed) = confirm.as_mut().poll(context)
                {
                    // An error at the first poll means that the channel was closed: nothing was sent.
                    *slot = match confirmed {
                        Err(_error) => Slot::Told(Err(PublishError::Unavailable)),
                        Ok(confirmation) => landed(lane, std::mem::take(id), confirmation),
                    };
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Awaits every confirm.
    pub(crate) async fn land(&mut self, lane: &Lane) {
        if failpoint::broken!(ConfirmNotAwaited) {
            return;
        }
        for slot in &mut self.slots {
            if let Slot::Pending { id, confirm } = slot {
                *slot = confirmed(lane, std::mem::take(id), confirm.await);
            }
        }
    }

    /// Takes what has come so far: behind one that is never confirmed, others may be.
    pub(crate) fn look(&mut self, lane: &Lane) {
        for slot in &mut self.slots {
            if let Slot::Pending { id, confirm } = slot
                && let Some(came) = confirm.as_mut().now_or_never()
            {
                *slot = confirmed(lane, std::mem::take(id), came);
            }
        }
    }

    pub(crate) fn outcomes(&mut self, lane: &Lane) -> Vec<Result<(), PublishError>> {
        let outcome = |slot: &Slot| match slot {
            Slot::Told(outcome) => outcome.clone(),
            Slot::Acked(id) if lane.came_back(id) => Err(PublishError::Unroutable),
            Slot::Acked(_) => Ok(()),
            Slot::Pending { .. } if failpoint::broken!(ConfirmNotAwaited) => Ok(()),
            Slot::Pending { .. } => Err(PublishError::Unknown),
        };
        self.slots.iter().map(outcome).collect()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let is_pending = |slot: &Slot| matches!(slot, Slot::Pending { .. });
        if !self.slots.iter().any(is_pending) {
            return;
        }
        let (slots, permits) = (std::mem::take(&mut self.slots), self.permits.take());
        self.reaper.take(async move {
            for slot in slots {
                if let Slot::Pending { confirm, .. } = slot {
                    drop(confirm.await);
                }
            }
            drop(permits);
        });
    }
}

fn confirmed(lane: &Lane, id: String, came: lapin::Result<Confirmation>) -> Slot {
    came.map_or(Slot::Told(Err(PublishError::Unknown)), |confirmation| landed(lane, id, confirmation))
}

fn landed(lane: &Lane, id: String, confirmation: Confirmation) -> Slot {
    match confirmation {
        Confirmation::Ack(None) => Slot::Acked(id),
        Confirmation::Ack(Some(came_back)) => {
            lane.remember(&came_back);
            Slot::Acked(id)
        }
        Confirmation::Nack(came_back) => {
            if let Some(came_back) = came_back {
                lane.remember(&came_back);
            }
            Slot::Told(Err(PublishError::Refused("a queue that it goes to is full or not available".to_owned())))
        }
        Confirmation::NotRequested => {
            tracing::error!("a channel published without confirms: its messages are not known to be stored");
            Slot::Told(Err(PublishError::Unknown))
        }
    }
}
