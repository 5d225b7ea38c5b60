//! The one thread that owns the file. It takes whatever was asked for meanwhile (`gather.rs`), does it in one transaction,
//! and answers once the commit returned: so many callers share one fsync, and no state is shared between threads.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use broker::QueueName;
use model::Clock;

use crate::Config;
use crate::command::{Command, ConsumerId};
use crate::key::{Key, QueueId};
use crate::queue::Queue;
use crate::router::Router;
use crate::shared::Shared;
use crate::store::Store;
use crate::turn::Turn;

/// How long publishes are refused after the file could not be written, before one is tried again.
const BLOCKED_FOR: Duration = Duration::from_secs(1);
/// Free pages worth giving back (16 MiB of 4 KiB pages), and how many go at once, so that a publish waits little.
const FREE_PAGES: i64 = 4_096;

pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) queues: BTreeMap<QueueId, Queue>,
    pub(crate) names: HashMap<QueueName, QueueId>,
    pub(crate) router: Router,
    pub(crate) next_consumer: ConsumerId,
    /// For the deliveries.
    pub(crate) to_self: Sender<Command>,
    /// Settled messages whose removal is not written yet.
    pub(crate) unwritten: Vec<Key>,
    /// Until when acks may wait for something else to be written; none where none waits.
    pub(crate) acks_due: Option<Instant>,
    /// How many publishes the last turn that had any answered.
    pub(crate) crowd: usize,
    /// When the first delayed message is due, milliseconds since 1970.
    pub(crate) next_due: Option<i64>,
    pub(crate) used_bytes: u64,
    /// Consumers could take more than the last turn gave.
    pub(crate) more: bool,
    pub(crate) blocked_until: Option<Instant>,
    pub(crate) may_have_free_pages: bool,
}

impl Writer {
    pub(crate) fn new(
        store: Store,
        config: Config,
        clock: Arc<dyn Clock>,
        shared: Arc<Shared>,
        to_self: Sender<Command>,
    ) -> Self {
        Self {
            store,
            config,
            clock,
            shared,
            to_self,
            queues: BTreeMap::new(),
            names: HashMap::new(),
            router: Router::default(),
            next_consumer: 0,
            unwritten: Vec::new(),
            acks_due: None,
            crowd: 0,
            next_due: None,
            used_bytes: 0,
            more: false,
            blocked_until: None,
            may_have_free_pages: false,
        }
    }

    /// Works until [`Command::Close`].
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        let mut open = true;
        while open {
            let mut batch = self.collect(commands);
            open = !matches!(batch.last(), Some(Command::Close));
            if !open {
                batch.pop();
            }
            Turn::run(&mut self, batch);
        }
        self.close();
    }

    pub(crate) fn give_back_space(&mut self) {
        let given = self.store.free_pages().and_then(|free| {
            self.may_have_free_pages = free > FREE_PAGES;
            if self.may_have_free_pages { self.store.give_back(FREE_PAGES) } else { Ok(()) }
        });
        if let Err(error) = given {
            self.may_have_free_pages = false;
            tracing::warn!(%error, "free space of the embedded broker's file was not given back");
        }
    }

    /// The file could not be written: publishes are refused at once for a while.
    pub(crate) fn block(&mut self, error: &rusqlite::Error) {
        if self.blocked_until.is_none() {
            tracing::error!(%error, "the embedded broker's file could not be written");
        }
        self.blocked_until = Some(Instant::now() + BLOCKED_FOR);
        self.more = false;
        self.shared.block(format!("its file could not be written: {error}"));
    }

    pub(crate) fn unblock_in_time(&mut self) {
        if self.blocked_until.is_some_and(|until| until <= Instant::now()) {
            self.blocked_until = None;
            self.shared.unblock();
        }
    }

    /// Notes who was handed what, then lets go of the file.
    fn close(mut self) {
        if let Err(error) = self.write_deliveries() {
            self.store.rollback();
            tracing::warn!(%error, "delivery counts were not written; what was out comes back as redelivered");
        }
        let Self { store, shared, queues, .. } = self;
        store.close();
        shared.close();
        // Last, because it ends the subscriptions: whoever sees that can open the file again.
        drop(queues);
    }

    fn write_deliveries(&mut self) -> rusqlite::Result<()> {
        self.store.begin()?;
        for key in self.unwritten.drain(..) {
            self.store.delete(key)?;
        }
        for queue in self.queues.values() {
            for (key, handed_out) in queue.held.iter().chain(&queue.returned) {
                self.store.set_deliveries(*key, *handed_out)?;
            }
        }
        self.store.clear_marks()?;
        self.store.commit()
    }
}
