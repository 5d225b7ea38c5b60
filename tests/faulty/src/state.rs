//! What the server has, without a clock and without waiting.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use broker::{Delivery, QueueSpec};
use broker_rabbit::{Frames, LowWater};
use model::{Message, headers};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::plan::{Fault, Plan, Step};

/// A process, by number. Each is new.
pub type Life = u64;

/// How a delivery ended at the server.
#[derive(Debug)]
pub struct End<'a> {
    /// The message as it was delivered.
    pub message: &'a Message,
    /// Whose it was.
    pub life: Life,
    /// How often it had been handed out before.
    pub handed_out: u32,
    /// What became of it.
    pub how: How<'a>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How<'a> {
    /// Gone, and no copy was made of it.
    Acked,
    /// A copy comes back later.
    Retried {
        /// The delay that was asked for.
        after: Duration,
        /// Why.
        reason: &'a str,
    },
    /// A copy is parked.
    Parked {
        /// Why.
        reason: &'a str,
    },
}

/// Says of each end whether it is right.
pub type Judge = Box<dyn Fn(&End<'_>) -> Result<(), String> + Send + Sync>;

/// A parked message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The copy.
    pub message: Message,
    /// Why.
    pub reason: String,
}

/// A message in the queue.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) message: Message,
    pub(crate) handed_out: u32,
    /// A copy of this delivery was stored.
    pub(crate) copied: bool,
}

impl Waiting {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, handed_out: 0, copied: false }
    }
}

pub(crate) struct Consumer {
    pub(crate) deliveries: mpsc::Sender<Delivery>,
    pub(crate) stop: CancellationToken,
    pub(crate) prefetch: usize,
}

/// A process's connection, with one channel.
#[derive(Default)]
pub(crate) struct Connection {
    /// Counts its channels: a delivery of an earlier one is stale.
    pub(crate) epoch: u64,
    last_tag: u64,
    pub(crate) water: LowWater,
    pub(crate) unsettled: BTreeMap<u64, Waiting>,
    pub(crate) consumer: Option<Consumer>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) ready: VecDeque<Waiting>,
    pub(crate) delayed: Vec<(Instant, Waiting)>,
    pub(crate) parked: Vec<Parked>,
    pub(crate) connections: BTreeMap<Life, Connection>,
    pub(crate) plan: Plan,
    /// An alarm: no copy is taken.
    pub(crate) alarm: bool,
    /// Nobody is connected.
    pub(crate) away: bool,
    /// Processes that died and were not buried yet.
    pub(crate) died: VecDeque<Life>,
    /// What must not be.
    pub(crate) complaints: Vec<String>,
    born: Life,
}

/// What became of a process at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Struck {
    /// It is dead, since now or earlier.
    Dead,
    /// It goes on, with a fault that is its own to suffer.
    On(Option<Fault>),
}

impl State {
    pub(crate) fn be_born(&mut self) -> Life {
        self.born += 1;
        self.connections.insert(self.born, Connection::default());
        self.born
    }

    /// `life` passes `step`.
    pub(crate) fn strike(&mut self, life: Life, step: Step) -> Struck {
        if !self.connections.contains_key(&life) {
            return Struck::Dead;
        }
        match self.plan.pass(step) {
            Some(Fault::Crash) => {
                self.crash(life);
                Struck::Dead
            }
            Some(Fault::Cut) => {
                self.cut(life);
                Struck::On(None)
            }
            fault => Struck::On(fault),
        }
    }

    pub(crate) fn crash(&mut self, life: Life) {
        self.cut(life);
        if self.connections.remove(&life).is_some() {
            self.died.push_back(life);
        }
    }

    /// What was handed out on the connection goes back as it came, and stands first.
    pub(crate) fn cut(&mut self, life: Life) {
        let Some(connection) = self.connections.get_mut(&life) else { return };
        connection.epoch += 1;
        connection.last_tag = 0;
        connection.water = LowWater::default();
        let back: Vec<Waiting> = std::mem::take(&mut connection.unsettled).into_values().collect();
        self.give_back(back);
    }

    fn give_back(&mut self, in_order: Vec<Waiting>) {
        for waiting in in_order.into_iter().rev() {
            self.ready.push_front(Waiting { handed_out: waiting.handed_out + 1, copied: false, ..waiting });
        }
    }

    /// Settlements of `life`, as RabbitMQ takes them.
    pub(crate) fn receive(&mut self, life: Life, frames: Frames, judge: &Judge) {
        let Some(connection) = self.connections.get_mut(&life) else { return };
        let (mut back, mut gone, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for tag in frames.nacks {
            match connection.unsettled.remove(&tag) {
                Some(waiting) => back.push((tag, waiting)),
                None => unknown.push(tag),
            }
        }
        for tag in frames.acks {
            match connection.unsettled.remove(&tag) {
                Some(waiting) => gone.push(waiting),
                None => unknown.push(tag),
            }
        }
        if let Some(up_to) = frames.up_to {
            if !connection.unsettled.contains_key(&up_to) {
                unknown.push(up_to);
            }
            let above = connection.unsettled.split_off(&(up_to + 1));
            gone.extend(std::mem::replace(&mut connection.unsettled, above).into_values());
        }
        back.sort_by_key(|(tag, _)| *tag);
        self.give_back(back.into_iter().map(|(_, waiting)| waiting).collect());
        for waiting in gone.iter().filter(|waiting| !waiting.copied) {
            self.judge(life, waiting, How::Acked, judge);
        }
        if !unknown.is_empty() {
            self.complaints.push(format!("tags {unknown:?} were settled and are unknown: the channel is closed"));
            self.cut(life);
        }
    }

    /// Hands out what there is to whoever has room, in turns.
    pub(crate) fn hand_out(&mut self, delivery: impl Fn(Life, u64, u64, &Waiting) -> Delivery) {
        let lives: Vec<Life> = self.connections.keys().copied().collect();
        let mut gave = !self.away;
        while gave {
            gave = false;
            for life in &lives {
                gave |= self.hand_one_out(*life, &delivery);
            }
        }
    }

    fn hand_one_out(&mut self, life: Life, delivery: &impl Fn(Life, u64, u64, &Waiting) -> Delivery) -> bool {
        if self.ready.is_empty() || !self.has_room(life) || self.strike(life, Step::HandOut) == Struck::Dead {
            return false;
        }
        let (Some(connection), Some(waiting)) = (self.connections.get_mut(&life), self.ready.pop_front()) else {
            return false;
        };
        let permit = connection.consumer.as_ref().and_then(|consumer| consumer.deliveries.try_reserve().ok());
        let Some(permit) = permit else {
            self.ready.push_front(waiting);
            return false;
        };
        connection.last_tag += 1;
        let tag = connection.last_tag;
        connection.water.deliver(tag);
        permit.send(delivery(life, connection.epoch, tag, &waiting));
        connection.unsettled.insert(tag, waiting);
        true
    }

    fn has_room(&mut self, life: Life) -> bool {
        let Some(connection) = self.connections.get_mut(&life) else { return false };
        // Stopped: what it has not looked at comes back by itself.
        connection.consumer.take_if(|consumer| consumer.stop.is_cancelled() || consumer.deliveries.is_closed());
        let Some(consumer) = &connection.consumer else { return false };
        connection.unsettled.len() < consumer.prefetch && consumer.deliveries.capacity() > 0
    }

    /// What was to wait until `now` is ready; when the next will be.
    pub(crate) fn ripen(&mut self, now: Instant) -> Option<Instant> {
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.delayed).into_iter().partition(|d| d.0 <= now);
        due.sort_by_key(|(at, _)| *at);
        self.delayed = later;
        self.ready.extend(due.into_iter().map(|(_, waiting)| waiting));
        self.delayed.iter().map(|(at, _)| *at).min()
    }

    /// Stores a copy of a delivery, whose original is still in hand, or was.
    pub(crate) fn store_copy(&mut self, from: &Source<'_>, how: How<'_>, spec: &QueueSpec, judge: &Judge) {
        let waiting = Waiting { message: from.message.clone(), handed_out: from.handed_out, copied: false };
        self.judge(from.life, &waiting, how, judge);
        let mut message = waiting.message;
        match how {
            How::Retried { after, reason } => {
                let attempt = message.attempt() + 1;
                message.headers.insert(headers::ATTEMPT.to_owned(), attempt.to_string());
                message.headers.insert(headers::REASON.to_owned(), reason.to_owned());
                self.delayed.push((Instant::now() + spec.rung(after), Waiting::new(message)));
            }
            How::Parked { reason } => self.parked.push(Parked { message, reason: reason.to_owned() }),
            How::Acked => {}
        }
        let connection = self.connections.get_mut(&from.life).filter(|connection| connection.epoch == from.epoch);
        if let Some(original) = connection.and_then(|connection| connection.unsettled.get_mut(&from.tag)) {
            original.copied = true;
        }
    }

    fn judge(&mut self, life: Life, waiting: &Waiting, how: How<'_>, judge: &Judge) {
        let end = End { message: &waiting.message, life, handed_out: waiting.handed_out, how };
        if let Err(complaint) = judge(&end) {
            self.complaints.push(complaint);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        let in_hand = |connection: &Connection| !connection.unsettled.is_empty();
        self.ready.is_empty() && self.delayed.is_empty() && !self.connections.values().any(in_hand)
    }
}

/// The delivery that a copy is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) life: Life,
    pub(crate) epoch: u64,
    pub(crate) tag: u64,
    pub(crate) handed_out: u32,
    pub(crate) message: &'a Message,
}
