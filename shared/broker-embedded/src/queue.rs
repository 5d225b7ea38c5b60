//! A queue in memory: where it stands and who consumes it. Bodies and most keys stay in the file, so that a backlog
//! costs no memory; only what was handed out and came back is listed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use broker::{Delivery, QueueName};
use tokio::sync::mpsc;

use crate::command::ConsumerId;
use crate::key::{Key, QueueId};
use crate::store::Extent;

/// A subscription and how much more it takes.
pub(crate) struct Consumer {
    pub(crate) id: ConsumerId,
    pub(crate) prefetch: usize,
    pub(crate) credit: usize,
    pub(crate) deliveries: mpsc::Sender<Delivery>,
}

impl Consumer {
    /// Whether a quarter of its prefetch is free: always, where it has nothing in hand.
    pub(crate) fn wants_more(&self) -> bool {
        self.credit >= (self.prefetch / 4).max(1)
    }
}

pub(crate) struct Queue {
    pub(crate) id: QueueId,
    pub(crate) name: Arc<QueueName>,
    pub(crate) retry_delays: Vec<Duration>,
    /// The place of the next message.
    pub(crate) next: i64,
    /// Places from here on were not handed out since the file was opened.
    pub(crate) cursor: i64,
    /// Places before this are noted in the file as handed out.
    pub(crate) marked: i64,
    /// What came back, with how often it was handed out; before [`Queue::cursor`] and served first.
    pub(crate) returned: BTreeMap<Key, u32>,
    /// What is out, with how often it was handed out.
    pub(crate) held: HashMap<Key, u32>,
    /// How many wait for a consumer.
    pub(crate) ready: u64,
    /// How many wait for a retry.
    pub(crate) delayed: u64,
    consumers: Vec<Consumer>,
    /// Whose turn it is.
    turn: usize,
}

impl Queue {
    pub(crate) fn new(id: QueueId, name: QueueName, extent: &Extent, delayed: u64) -> Self {
        Self {
            id,
            name: Arc::new(name),
            retry_delays: Vec::new(),
            next: extent.last + 1,
            cursor: extent.first,
            marked: 0,
            returned: BTreeMap::new(),
            held: HashMap::new(),
            ready: extent.count,
            delayed,
            consumers: Vec::new(),
            turn: 0,
        }
    }

    pub(crate) fn take_place(&mut self) -> Key {
        let key = Key::new(self.id, self.next);
        self.next += 1;
        key
    }

    /// Everything that the queue answers for.
    pub(crate) fn messages(&self) -> u64 {
        self.ready + self.delayed + self.held.len() as u64
    }

    pub(crate) fn add_consumer(&mut self, consumer: Consumer) {
        self.consumers.push(consumer);
    }

    pub(crate) fn consumer_count(&mut self) -> u32 {
        self.forget_dropped_consumers();
        u32::try_from(self.consumers.len()).unwrap_or(u32::MAX)
    }

    /// A dropped subscription's channel is closed; letting go of our end frees what slipped into it meanwhile.
    pub(crate) fn forget_dropped_consumers(&mut self) {
        self.consumers.retain(|consumer| !consumer.deliveries.is_closed());
    }

    pub(crate) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.iter().find(|consumer| consumer.id == id)
    }

    pub(crate) fn give_credit(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.id == id) {
            consumer.credit += 1;
        }
    }

    /// Who gets the next messages, at most `limit`: one each in turn, as far as their prefetch goes. The credit is
    /// spent; what is not used has to be given back.
    pub(crate) fn spend_credit(&mut self, limit: usize) -> Vec<ConsumerId> {
        let mut takers = Vec::new();
        let mut dry = 0;
        while takers.len() < limit && dry < self.consumers.len() {
            self.turn = (self.turn + 1) % self.consumers.len();
            let consumer = &mut self.consumers[self.turn];
            if consumer.credit == 0 {
                dry += 1;
            } else {
                dry = 0;
                consumer.credit -= 1;
                takers.push(consumer.id);
            }
        }
        takers
    }

    pub(crate) fn has_credit(&self) -> bool {
        self.consumers.iter().any(|consumer| consumer.credit > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_with(credits: &[usize]) -> (Queue, Vec<mpsc::Receiver<Delivery>>) {
        let mut queue = Queue::new(1, QueueName::new("q"), &Extent::default(), 0);
        let mut receivers = Vec::new();
        for (id, credit) in (0..).zip(credits) {
            let (deliveries, receiver) = mpsc::channel(1);
            queue.add_consumer(Consumer { id, prefetch: *credit, credit: *credit, deliveries });
            receivers.push(receiver);
        }
        (queue, receivers)
    }

    #[test]
    fn consumers_take_turns_as_far_as_their_credit_goes() {
        let (mut queue, _receivers) = queue_with(&[4, 1, 2]);
        let takers = queue.spend_credit(100);
        assert_eq!(takers, [1, 2, 0, 2, 0, 0, 0]);
        assert!(queue.spend_credit(100).is_empty());
        queue.give_credit(1);
        assert_eq!(queue.spend_credit(100), [1]);
    }

    #[test]
    fn a_dropped_consumer_gets_nothing() {
        let (mut queue, mut receivers) = queue_with(&[2, 2]);
        receivers.remove(0);
        assert_eq!(queue.consumer_count(), 1);
        assert_eq!(queue.spend_credit(100), [1, 1]);
    }
}
