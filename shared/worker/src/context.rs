//! What the batches of one worker share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use broker::{Broker, Publish, QueueName, Settle, SettleError};
use futures::future::join_all;
use model::{Clock, Message, MessageId, headers};
use tokio::sync::RwLock;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::batch::Taken;
use crate::breaker::Breaker;
use crate::config::Config;
use crate::crash::Suspects;
use crate::governor::Seat;
use crate::held::{Unsent, Wanted};
use crate::pause::Pauses;
use crate::refusals::Refusals;
use crate::settle::Ladder;
use crate::stats::{Counter, Stats};
use crate::witness::Witness;

pub(crate) struct Context<H> {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) queue: QueueName,
    pub(crate) handler: Arc<H>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) seat: Option<Seat>,
    pub(crate) witness: Arc<dyn Witness>,
    pub(crate) config: Config,
    pub(crate) ladder: Ladder,
    pub(crate) suspects: Suspects,
    pub(crate) stats: Arc<Stats>,
    /// Held for reading by each batch that runs, and for writing by suspects: nothing runs beside them.
    pub(crate) running: RwLock<()>,
    pub(crate) unknown: Alarm,
    pub(crate) refusals: Refusals,
    pub(crate) pauses: Pauses,
    /// Whether there is a subscription, or something that one brought.
    pub(crate) consuming: AtomicBool,
    /// Tells how old messages are.
    pub(crate) clock: Arc<dyn Clock>,
}

impl<H> Context<H> {
    /// Whether the queue is paused, and nothing of it is in hand any more.
    pub(crate) fn obeys_pause(&self) -> bool {
        self.pauses.is_paused(&self.queue) == Some(true) && !self.consuming.load(Ordering::Acquire)
    }

    /// Notes the age of a batch by its first message, which a queue hands out first because it came first. A message that
    /// was out before is old because it failed, and so is one that was parked and is replayed: they say nothing about the
    /// queue.
    pub(crate) fn note_age(&self, batch: &[Taken]) {
        let Some(first) = batch.iter().find(|taken| is_fresh(taken)) else {
            return;
        };
        // A clock that is behind the publisher's makes a message of the future: it is new.
        let age = (self.clock.now() - first.message().timestamp).to_std().unwrap_or_default();
        self.stats.note_age(age);
    }

    /// Settles deliveries as decided. Gives back those whose copy the broker would not take now.
    pub(crate) async fn settle(&self, decided: Vec<(Taken, Settle)>) -> Vec<Unsent> {
        let takes_copies = self.takes_copies();
        let (mut unsent, mut copies, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for (taken, how) in decided {
            match how {
                Settle::Ack | Settle::Requeue => failures.extend(self.finish(taken, how).await.err()),
                Settle::Retry { .. } | Settle::Park { .. } if takes_copies => copies.push(self.finish(taken, how)),
                Settle::Retry { .. } | Settle::Park { .. } => {
                    unsent.push(Unsent { taken, wanted: Wanted::Settle(how) });
                }
            }
        }
        // Together, because each waits for a confirm.
        failures.extend(join_all(copies).await.into_iter().filter_map(Result::err));
        self.note_refusals(&mut failures);
        if let Some(first) = failures.first() {
            tracing::warn!(
                queue = %self.queue, settle.failed = failures.len(), reason = %first,
                "messages could not be settled: they come again, and effects that are done are not done twice"
            );
        }
        unsent
    }

    /// Does what is to be done with these. Gives back those that the broker still does not take.
    pub(crate) async fn send(&self, unsent: Vec<Unsent>) -> Vec<Unsent> {
        let (mut decided, mut left) = (Vec::new(), Vec::new());
        for Unsent { taken, wanted } in unsent {
            match wanted {
                Wanted::Settle(how) => decided.push((taken, how)),
                Wanted::LastChance => left.extend(self.give_last_chance(taken).await),
            }
        }
        left.extend(self.settle(decided).await);
        left
    }

    /// Sends a suspect on its last chance; gives it back where the broker takes no copies now.
    pub(crate) async fn give_last_chance(&self, suspect: Taken) -> Option<Unsent> {
        if !self.takes_copies() {
            return Some(Unsent { taken: suspect, wanted: Wanted::LastChance });
        }
        let record = suspect.record();
        tracing::warn!(
            queue = %self.queue, message.id = %record.id, redeliveries = record.redeliveries,
            "a message came back often enough to be one that takes processes down: it has one more chance, alone, and is \
             parked if nothing comes of that"
        );
        self.put_back_afresh(suspect, self.suspects.last_chance()).await;
        None
    }

    /// Takes from `failures` the copies that the broker would not have: they are told once in a while, and cost a pause.
    fn note_refusals(&self, failures: &mut Vec<SettleError>) {
        let now = Instant::now();
        for refused in failures.extract_if(.., |failure| matches!(failure, SettleError::Requeued(_))) {
            if let Some(since_last) = self.refusals.note(now) {
                tracing::error!(
                    queue = %self.queue, reason = %refused, since_last,
                    "the broker refuses copies of messages to retry or park, and the originals come again: look whether \
                     the queue's parked and retry queues are there and not full; until then the worker goes slowly"
                );
            }
        }
    }

    /// Puts deliveries back as they were. Those that have had their last chance go as copies, or their being given back
    /// would be held against them by whoever knows nothing of it.
    pub(crate) async fn give_back(&self, deliveries: impl IntoIterator<Item = Taken>) {
        let (suspected, others): (Vec<Taken>, Vec<Taken>) =
            deliveries.into_iter().partition(|taken| taken.record().suspicion > 0);
        self.settle(others.into_iter().map(|taken| (taken, Settle::Requeue)).collect()).await;
        for taken in suspected {
            let suspicion = taken.record().suspicion;
            self.put_back_afresh(taken, suspicion).await;
        }
    }

    /// Puts a fresh copy into the queue, whose deliveries the broker counts anew, with what is held against it. Where no
    /// copy can be made the message goes back as it is.
    pub(crate) async fn put_back_afresh(&self, taken: Taken, suspicion: u32) {
        let mut copy = Message { transient: false, ..taken.message().clone() };
        copy.headers.insert(headers::SUSPICION.to_owned(), suspicion.to_string());
        let copied = match self.broker.publish(vec![Publish::to_queue(&self.queue, copy)]).await.pop() {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::debug!(queue = %self.queue, message.id = %taken.message().id, %error, "no copy could be made");
                false
            }
            None => false,
        };
        let id = taken.message().id.clone();
        // The copy is confirmed before: a death in between gives the message twice, and never not at all.
        let settled = taken.settle(if copied { Settle::Ack } else { Settle::Requeue }).await;
        let counter = if settled.is_ok() { &self.stats.requeued } else { &self.stats.settle_failures };
        counter.one();
        if copied {
            self.suspects.forget(&id);
        } else {
            self.note_return(&id, &settled, true);
        }
    }

    /// Whether a retry's copy would be tried now.
    pub(crate) fn takes_copies(&self) -> bool {
        self.broker.state() == broker::BrokerState::Ready
    }

    async fn finish(&self, taken: Taken, how: Settle) -> Result<(), SettleError> {
        let id = taken.message().id.clone();
        self.log(&taken, &how);
        let requeued = how == Settle::Requeue;
        let counter = self.counter(&how);
        let settled = taken.settle(how).await;
        if settled.is_ok() {
            counter.one();
        } else {
            self.stats.settle_failures.one();
        }
        self.note_return(&id, &settled, requeued);
        settled
    }

    /// Remembers what comes back from this process, which lives.
    fn note_return(&self, id: &MessageId, settled: &Result<(), SettleError>, requeued: bool) {
        match settled {
            Ok(()) if !requeued => self.suspects.forget(id),
            Ok(()) | Err(SettleError::Requeued(_)) => self.suspects.gave_back(id),
            Err(SettleError::Gone) => {
                self.suspects.gave_back(id);
                self.suspects.lost_hold();
            }
        }
    }

    fn counter(&self, how: &Settle) -> &Counter {
        match how {
            Settle::Ack => &self.stats.handled,
            Settle::Retry { .. } => &self.stats.retried,
            Settle::Park { .. } => &self.stats.parked,
            Settle::Requeue => &self.stats.requeued,
        }
    }

    fn log(&self, taken: &Taken, how: &Settle) {
        let message = taken.message();
        match how {
            Settle::Park { reason } => tracing::warn!(
                queue = %self.queue, message.id = %message.id, message.kind, message.attempt = message.attempt(), reason,
                parked.queue = %self.queue.parked(),
                "a message is parked: the queue parked.queue holds it for a person, with the reason in its header {}",
                headers::REASON
            ),
            Settle::Retry { after, reason } => tracing::debug!(
                queue = %self.queue, message.id = %message.id, message.kind, message.attempt = message.attempt(),
                after_s = after.as_secs_f64(), reason, "a message is retried later"
            ),
            Settle::Ack | Settle::Requeue => {}
        }
    }
}

/// Whether the queue hands it out for the first time since it was published.
fn is_fresh(taken: &Taken) -> bool {
    !taken.redelivered() && taken.message().attempt() == 0 && taken.message().replay() == 0
}
