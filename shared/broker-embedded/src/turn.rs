//! One transaction of the writer: what was asked for, what has become due, and what consumers can take. Memory follows
//! the file: it changes for good once the commit returned, and [`Turn::undo`] puts everything back where it did not.

use std::collections::BTreeMap;

use broker::{PublishError, QueueName, SettleError, topology};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::command::{Command, Destination, Outcomes, PublishBatch, Ticket};
use crate::hand_out::Pick;
use crate::key::{Key, QueueId};
use crate::record::Record;
use crate::writer::Writer;

/// How many delayed messages return to their queues in one turn.
const DUE_AT_ONCE: usize = 1_000;

/// A retry or a park of one delivery.
struct Move {
    key: Key,
    /// How often the original was handed out, should it go back.
    handed_out: u32,
    to: Destination,
    record: Record,
    reply: oneshot::Sender<Result<(), SettleError>>,
    /// Why it goes back although the file is well.
    refused: Option<String>,
}

/// Why a transaction did not take place.
enum Failure {
    /// Nothing was stored.
    Before(rusqlite::Error),
    /// Stored or not, after a kill either may show.
    AtCommit(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Before(error)
    }
}

#[derive(Default)]
pub(crate) struct Turn {
    publishes: Vec<PublishBatch>,
    outcomes: Vec<Outcomes>,
    moves: Vec<Move>,
    /// Messages that came to a queue, with the first place that they took.
    pub(crate) arrived: BTreeMap<QueueId, Arrived>,
    /// Messages that left a queue's delayed ones, or came to them.
    delayed: BTreeMap<QueueId, i64>,
    pub(crate) picks: Vec<Pick>,
    /// Queues that were read to their end.
    pub(crate) exhausted: Vec<QueueId>,
}

pub(crate) struct Arrived {
    pub(crate) first: i64,
    pub(crate) count: u64,
}

impl Turn {
    /// Does `batch` in one transaction and answers it.
    pub(crate) fn run(writer: &mut Writer, batch: Vec<Command>) {
        let mut turn = Self::default();
        for command in batch {
            turn.admit(writer, command);
        }
        match turn.write(writer) {
            Ok(()) => turn.confirm(writer),
            Err(failure) => {
                writer.store.rollback();
                turn.undo(writer, failure);
            }
        }
    }

    /// Answers what needs no transaction and notes the rest, so that a failing statement can't lose a command.
    fn admit(&mut self, writer: &mut Writer, command: Command) {
        match command {
            Command::Publish(batch) => self.publishes.push(batch),
            Command::Ack(ticket) => acknowledge(writer, ticket),
            Command::Release(ticket) => {
                if let Some(handed_out) = release(writer, ticket) {
                    put_back(writer, ticket.key, handed_out);
                }
            }
            Command::Move { ticket, to, record, reply } => {
                if let Some(handed_out) = release(writer, ticket) {
                    self.moves.push(Move { key: ticket.key, handed_out, to, record, reply, refused: None });
                }
            }
            Command::Declare { topology, reply } => drop(reply.send(writer.declare(&topology))),
            Command::Subscribe { queue, prefetch, deliveries, reply } => {
                drop(reply.send(writer.subscribe(&queue, prefetch, deliveries)));
            }
            Command::Depths { queues, reply } => drop(reply.send(writer.depths(&queues))),
            // Taken out by the loop.
            Command::Close => {}
        }
    }

    fn write(&mut self, writer: &mut Writer) -> Result<(), Failure> {
        writer.store.begin()?;
        for key in &writer.unwritten {
            writer.store.delete(*key)?;
        }
        self.write_moves(writer)?;
        if writer.blocked_until.is_none() {
            self.write_due(writer)?;
        }
        for number in 0..self.publishes.len() {
            let outcomes = self.write_publishes(writer, number)?;
            self.outcomes.push(outcomes);
        }
        self.hand_out(writer)?;
        writer.store.commit().map_err(Failure::AtCommit)
    }

    fn write_moves(&mut self, writer: &mut Writer) -> rusqlite::Result<()> {
        let now = writer.clock.now().timestamp_millis();
        for index in 0..self.moves.len() {
            let moving = &self.moves[index];
            let origin = moving.key.queue();
            let Some(queue) = writer.queues.get(&origin) else { continue };
            match &moving.to {
                Destination::Delayed(after) => {
                    let delay = topology::rung(&queue.retry_delays, *after);
                    // One more, because the present millisecond has begun already.
                    let due =
                        now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX - 1)).saturating_add(1);
                    writer.store.delay(origin, due, &moving.record)?;
                    *self.delayed.entry(origin).or_default() += 1;
                }
                Destination::Parked => {
                    let parked = queue.name.parked();
                    let Some(parked) = writer.names.get(&parked).copied() else {
                        self.moves[index].refused = Some(format!("the queue {parked} does not exist"));
                        continue;
                    };
                    if let Some(key) = self.arrive(writer, parked) {
                        writer.store.insert(key, &self.moves[index].record)?;
                    }
                }
            }
            writer.store.delete(self.moves[index].key)?;
        }
        Ok(())
    }

    /// Brings back what has waited long enough, to the end of its own queue.
    fn write_due(&mut self, writer: &mut Writer) -> rusqlite::Result<()> {
        let now = writer.clock.now().timestamp_millis();
        if writer.next_due.is_none_or(|due| due > now) {
            return Ok(());
        }
        for (id, queue) in writer.store.due(now, DUE_AT_ONCE)? {
            if let Some(key) = self.arrive(writer, queue) {
                writer.store.move_delayed(id, key)?;
                *self.delayed.entry(queue).or_default() -= 1;
            }
        }
        Ok(())
    }

    fn write_publishes(&mut self, writer: &mut Writer, number: usize) -> rusqlite::Result<Outcomes> {
        let entries = std::mem::take(&mut self.publishes[number].entries);
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            outcomes.push(match entry {
                Ok(entry) => match self.targets(writer, &entry.exchange, &entry.routing_key) {
                    Ok(queues) => {
                        for queue in queues {
                            if let Some(key) = self.arrive(writer, queue) {
                                writer.store.insert(key, &entry.record)?;
                                writer.used_bytes += entry.record.bytes() as u64;
                            }
                        }
                        Ok(())
                    }
                    Err(refused) => Err(refused),
                },
                Err(refused) => Err(refused),
            });
        }
        Ok(outcomes)
    }

    /// The queues that a publish goes to; all of them have room, or none gets it.
    fn targets(
        &self,
        writer: &Writer,
        exchange: &broker::ExchangeName,
        routing_key: &str,
    ) -> Result<Vec<QueueId>, PublishError> {
        if writer.used_bytes >= writer.config.max_file_bytes {
            let (used, max) = (writer.used_bytes, writer.config.max_file_bytes);
            return Err(PublishError::Refused(format!("its file holds {used} bytes, max_file_bytes is {max}")));
        }
        let queues = if exchange.as_str() == topology::QUEUES {
            writer.names.get(&QueueName::new(routing_key)).map(|queue| vec![*queue]).unwrap_or_default()
        } else {
            writer.router.route(exchange, routing_key).ok_or(PublishError::Unroutable)?.to_vec()
        };
        let queues = if queues.is_empty() {
            let unrouted = writer.names.get(&QueueName::unrouted()).ok_or(PublishError::Unroutable)?;
            vec![*unrouted]
        } else {
            queues
        };
        for queue in queues.iter().filter_map(|id| writer.queues.get(id)) {
            let arrived = self.arrived.get(&queue.id).map_or(0, |arrived| arrived.count);
            if queue.messages() + arrived >= writer.config.max_queue_messages {
                let max = writer.config.max_queue_messages;
                let name = &queue.name;
                return Err(PublishError::Refused(format!("{name} is full, max_queue_messages is {max}")));
            }
        }
        Ok(queues)
    }

    /// The place of one more message at the end of `queue`.
    fn arrive(&mut self, writer: &mut Writer, queue: QueueId) -> Option<Key> {
        let queue = writer.queues.get_mut(&queue)?;
        let first = queue.next;
        self.arrived.entry(queue.id).or_insert(Arrived { first, count: 0 }).count += 1;
        Some(queue.take_place())
    }

    /// The commit returned: memory follows, and everyone hears of it.
    fn confirm(mut self, writer: &mut Writer) {
        let removed = !writer.unwritten.is_empty();
        writer.unwritten.clear();
        let timetable_changed = !self.delayed.is_empty();
        for (id, arrived) in &self.arrived {
            if let Some(queue) = writer.queues.get_mut(id) {
                queue.ready += arrived.count;
            }
        }
        for (id, change) in &self.delayed {
            if let Some(queue) = writer.queues.get_mut(id) {
                queue.delayed = queue.delayed.saturating_add_signed(*change);
            }
        }
        for moved in std::mem::take(&mut self.moves) {
            let outcome = match moved.refused {
                None => Ok(()),
                Some(reason) => {
                    put_back(writer, moved.key, moved.handed_out);
                    Err(SettleError::Requeued(reason))
                }
            };
            drop(moved.reply.send(outcome));
        }
        if !self.publishes.is_empty() {
            writer.crowd = self.publishes.len();
        }
        answer(std::mem::take(&mut self.publishes), std::mem::take(&mut self.outcomes));
        writer.may_have_free_pages |= removed;
        if removed || !self.arrived.is_empty() {
            writer.measure();
        }
        if timetable_changed {
            writer.read_next_due();
        }
        self.deliver(writer);
    }

    /// The transaction did not take place: what was to leave a queue is still there. What was acked stays among the unwritten:
    /// its effect is committed elsewhere, and it is removed as soon as that can be written.
    fn undo(mut self, writer: &mut Writer, failure: Failure) {
        let (error, outcome) = match failure {
            Failure::Before(error) => {
                let reason = format!("its file could not be written: {error}");
                (error, PublishError::Blocked(reason))
            }
            Failure::AtCommit(error) => (error, PublishError::Unknown),
        };
        writer.block(&error);
        for moved in std::mem::take(&mut self.moves) {
            put_back(writer, moved.key, moved.handed_out);
            drop(moved.reply.send(Err(SettleError::Requeued(error.to_string()))));
        }
        for batch in std::mem::take(&mut self.publishes) {
            drop(batch.reply.send(vec![Err(outcome.clone()); batch.permit.num_permits()]));
        }
        writer.measure();
        self.take_back(writer);
    }
}

fn answer(publishes: Vec<PublishBatch>, outcomes: Vec<Outcomes>) {
    for (batch, outcomes) in publishes.into_iter().zip(outcomes) {
        let permit: OwnedSemaphorePermit = batch.permit;
        // Before the answer, so that its caller can publish as much again at once.
        drop(permit);
        // Nobody may wait for it any more; the messages are stored all the same.
        drop(batch.reply.send(outcomes));
    }
}

/// Ends a hand-out for good: the next transaction removes the message.
pub(crate) fn acknowledge(writer: &mut Writer, ticket: Ticket) {
    if release(writer, ticket).is_some() {
        writer.unwritten.push(ticket.key);
    }
}

/// Ends a hand-out: its consumer may take another, and nothing is held. How often it was handed out, if it was.
fn release(writer: &mut Writer, ticket: Ticket) -> Option<u32> {
    let queue = writer.queues.get_mut(&ticket.key.queue())?;
    queue.give_credit(ticket.consumer);
    queue.held.remove(&ticket.key)
}

fn put_back(writer: &mut Writer, key: Key, handed_out: u32) {
    if let Some(queue) = writer.queues.get_mut(&key.queue()) {
        queue.returned.insert(key, handed_out);
        queue.ready += 1;
    }
}
