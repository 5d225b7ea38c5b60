//! What a turn is made of: everything that was asked for meanwhile, and a little patience where that lets more of it share
//! one fsync.
//!
//! - **Acks ride.** Nobody waits until an ack is on the disk, so acks alone start no turn at once: they go with the next one,
//!   or by themselves after [`ACKS_WAIT`]. They do not wait where that would keep a consumer from work: once a quarter of its
//!   prefetch is free and there is something to fill it with, so that one with nothing in hand is never kept waiting.
//! - **A crowd is awaited.** Publishers that were answered together publish again together, but not in the same microsecond:
//!   a turn for the first of them would be one for two or three, and the others would wait for it. Where the last turn
//!   answered several, as many are given [`CROWD_WAIT`] to come; where it answered one, nobody is.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::command::{Command, Ticket};
use crate::queue::Consumer;
use crate::turn::acknowledge;
use crate::writer::Writer;

/// How long acks wait for something else to be written. A kill in this time means that the messages come again. Far below
/// `worker.alone_pause_ms`, in which a worker counts on its acks being on the disk.
const ACKS_WAIT: Duration = Duration::from_millis(3);
/// How long a turn waits for as many publishers as the last one answered: about what an fsync takes on a good disk.
const CROWD_WAIT: Duration = Duration::from_micros(300);
/// How often it looks for them. This thread sleeps in between: receiving each of them would wake it for each.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// How long nothing has to happen before space is given back to the file system.
const IDLE: Duration = Duration::from_secs(1);
/// The longest wait for a due time, because the machine's clock may be set.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Writer {
    /// Everything that was asked for, after a wait for the first of it; nothing where a turn is due for another reason.
    pub(crate) fn collect(&mut self, commands: &Receiver<Command>) -> Vec<Command> {
        let mut batch = Vec::new();
        if !self.more {
            batch.extend(self.wait(commands));
        }
        self.take_what_is_there(commands, &mut batch);
        self.await_crowd(commands, &mut batch);
        self.acks_due = None;
        self.unblock_in_time();
        batch
    }

    /// The first command that a turn can't wait with; none where something else is due: a message, space to give back, acks
    /// that have waited long enough or that a consumer waits for.
    fn wait(&mut self, commands: &Receiver<Command>) -> Option<Command> {
        loop {
            let command = self.next(commands)?;
            let Command::Ack(ticket) = command else { return Some(command) };
            let rides = self.ride(ticket);
            // Also where they never stop coming.
            if !rides || self.acks_due.is_some_and(|due| due <= Instant::now()) {
                return None;
            }
        }
    }

    fn next(&mut self, commands: &Receiver<Command>) -> Option<Command> {
        let until_due = self.next_due.map(|due| {
            let left = due.saturating_sub(self.clock.now().timestamp_millis());
            Duration::from_millis(u64::try_from(left).unwrap_or(0))
        });
        // While blocked, what is due waits too: writing it would fail.
        let until_due = match self.blocked_until {
            Some(until) => until.saturating_duration_since(Instant::now()),
            None => until_due.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT),
        };
        let until_acks = self.acks_due.map(|due| due.saturating_duration_since(Instant::now()));
        let until_due = until_acks.map_or(until_due, |until_acks| until_acks.min(until_due));
        let idle = self.may_have_free_pages && IDLE < until_due;
        match commands.recv_timeout(if idle { IDLE } else { until_due }) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => {
                if idle {
                    self.give_back_space();
                }
                None
            }
            // Not reached: this thread holds a sender. Should it be, nobody can ask for anything any more.
            Err(RecvTimeoutError::Disconnected) => Some(Command::Close),
        }
    }

    /// Takes an ack in, for the next turn to write; says whether that one can wait.
    fn ride(&mut self, ticket: Ticket) -> bool {
        acknowledge(self, ticket);
        self.acks_due.get_or_insert_with(|| Instant::now() + ACKS_WAIT);
        let queue = self.queues.get(&ticket.key.queue()).filter(|queue| queue.ready > 0);
        let is_awaited = queue.and_then(|queue| queue.consumer(ticket.consumer)).is_some_and(Consumer::wants_more);
        !is_awaited
    }

    fn take_what_is_there(&self, commands: &Receiver<Command>, batch: &mut Vec<Command>) {
        while !self.is_full(batch)
            && let Ok(command) = commands.try_recv()
        {
            batch.push(command);
        }
    }

    /// Nothing comes behind a close.
    fn is_full(&self, batch: &[Command]) -> bool {
        batch.len() >= self.config.max_commit_commands || matches!(batch.last(), Some(Command::Close))
    }

    fn await_crowd(&self, commands: &Receiver<Command>, batch: &mut Vec<Command>) {
        // Consumers that could take more are not made to wait.
        if self.more || self.crowd < 2 || publishes(batch) == 0 {
            return;
        }
        let until = Instant::now() + CROWD_WAIT;
        while publishes(batch) < self.crowd && !self.is_full(batch) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left.min(LOOK_EVERY));
            self.take_what_is_there(commands, batch);
        }
    }
}

fn publishes(batch: &[Command]) -> usize {
    batch.iter().filter(|command| matches!(command, Command::Publish(_))).count()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use broker::conformance::message;
    use broker::{Delivery, ExchangeName, QueueName, QueueSpec, Settle, Topology};
    use futures::executor::block_on;
    use model::SystemClock;
    use tempfile::TempDir;
    use tokio::sync::{Semaphore, mpsc, oneshot};

    use super::*;
    use crate::command::{Entry, PublishBatch};
    use crate::record::Record;
    use crate::store::Store;
    use crate::turn::Turn;
    use crate::{Config, file};

    /// A writer without its thread, and one consumer, which was handed as much as its prefetch takes.
    struct Desk {
        writer: Writer,
        commands: Receiver<Command>,
        deliveries: mpsc::Receiver<Delivery>,
        directory: TempDir,
    }

    impl Desk {
        fn new(prefetch: u16, messages: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let config = Config::default();
            let store = Store::new(file::open(&directory.path().join("broker"), &config).unwrap());
            let (to_self, commands) = channel();
            let mut writer = Writer::new(store, config, Arc::new(SystemClock), Arc::default(), to_self);
            writer.load().unwrap();
            let spec = QueueSpec::new(queue());
            writer.declare(&Topology::default().with_queue(&ExchangeName::new("x"), spec, ["k"])).unwrap();
            let (sender, deliveries) = mpsc::channel(usize::from(prefetch));
            writer.subscribe(&queue(), prefetch, sender).unwrap();
            Turn::run(&mut writer, vec![publish(messages)]);
            Self { writer, commands, deliveries, directory }
        }

        fn ack(&mut self) {
            let delivery = self.deliveries.try_recv().unwrap();
            block_on(delivery.settle(Settle::Ack)).unwrap();
        }

        fn ack_rides(&mut self) -> bool {
            self.ack();
            let Ok(Command::Ack(ticket)) = self.commands.try_recv() else { panic!("the ack was not asked for") };
            self.writer.ride(ticket)
        }

        fn publish(&self) {
            self.writer.to_self.send(publish(1)).unwrap();
        }

        fn collect(&mut self) -> Vec<Command> {
            self.writer.collect(&self.commands)
        }

        /// Messages in the file.
        fn stored(&self) -> u64 {
            self.writer.store.extent(self.writer.names[&queue()]).unwrap().count
        }
    }

    fn queue() -> QueueName {
        QueueName::new("q")
    }

    fn publish(messages: usize) -> Command {
        let entry = |number| {
            let record = Record::of(&message(&format!("m-{number}")));
            Ok(Entry { exchange: ExchangeName::new("x"), routing_key: "k".to_owned(), record })
        };
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (reply, _nobody_waits) = oneshot::channel();
        Command::Publish(PublishBatch { entries: (0..messages).map(entry).collect(), reply, permit })
    }

    #[test]
    fn an_ack_is_written_together_with_the_next_publish() {
        let mut desk = Desk::new(8, 1);
        desk.ack();
        desk.publish();
        let batch = desk.collect();
        assert!(matches!(batch[..], [Command::Publish(_)]), "the ack has no turn of its own");
        assert_eq!((desk.stored(), desk.writer.unwritten.len()), (1, 1));
        Turn::run(&mut desk.writer, batch);
        assert_eq!((desk.stored(), desk.writer.unwritten.len()), (1, 0), "one left and one came");
    }

    #[test]
    fn an_ack_alone_is_written_without_anybody_asking_for_it() {
        let mut desk = Desk::new(8, 1);
        desk.ack();
        let batch = desk.collect();
        assert!(batch.is_empty());
        Turn::run(&mut desk.writer, batch);
        assert_eq!(desk.stored(), 0);
    }

    #[test]
    fn an_ack_that_a_close_overtakes_is_written_by_it() {
        let mut desk = Desk::new(8, 1);
        desk.ack();
        desk.writer.to_self.send(Command::Close).unwrap();
        let Desk { writer, commands, directory, .. } = desk;
        writer.run(&commands);
        let reopened = Store::new(file::open(&directory.path().join("broker"), &Config::default()).unwrap());
        let stored = reopened.queues().unwrap();
        let id = stored.iter().find(|stored| stored.name == queue()).unwrap().id;
        assert_eq!(reopened.extent(id).unwrap().count, 0);
    }

    #[test]
    fn acks_wait_only_while_their_consumer_has_most_of_its_prefetch_in_hand() {
        let mut one_at_a_time = Desk::new(1, 2);
        assert!(!one_at_a_time.ack_rides());
        let mut with_a_backlog = Desk::new(8, 9);
        assert!(with_a_backlog.ack_rides());
        assert!(!with_a_backlog.ack_rides(), "a quarter of the prefetch is free");
        let mut without = Desk::new(8, 8);
        assert!((0..8).all(|_| without.ack_rides()), "there is nothing to hand out");
    }

    #[test]
    fn as_many_publishers_are_awaited_as_were_answered_and_none_for_long() {
        let mut desk = Desk::new(8, 1);
        for _ in 0..3 {
            desk.publish();
        }
        let batch = desk.collect();
        assert_eq!(batch.len(), 3);
        Turn::run(&mut desk.writer, batch);
        assert_eq!(desk.writer.crowd, 3);
        desk.publish();
        let batch = desk.collect();
        assert_eq!(batch.len(), 1, "the other two did not come back");
        Turn::run(&mut desk.writer, batch);
        assert_eq!(desk.writer.crowd, 1);
    }
}
