//! The broker: one queue, its ladder, its parked queue, and whoever is connected.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use broker::{Delivery, QueueSpec};
use model::Message;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::plan::{Armed, Step};
use crate::settler::ClientSettler;
use crate::state::{Consumer, How, Judge, Life, Parked, Source, State, Struck, Waiting};

/// The broker of a [`crate::World`].
pub struct Server {
    pub(crate) spec: QueueSpec,
    judge: Judge,
    state: Mutex<State>,
    changed: Notify,
    died: Notify,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("queue", &self.spec.name).finish_non_exhaustive()
    }
}

impl Server {
    /// An empty queue. `judge` is asked about every delivery that ends, under the server's lock.
    pub fn new(spec: QueueSpec, judge: Judge) -> Arc<Self> {
        Arc::new(Self { spec, judge, state: Mutex::default(), changed: Notify::new(), died: Notify::new() })
    }

    /// A connection for a process that begins its life.
    pub fn connect(self: &Arc<Self>) -> Client {
        let life = self.with(State::be_born);
        Client::new(Arc::clone(self), life)
    }

    /// Adds messages at the end of the queue.
    pub fn publish(&self, messages: impl IntoIterator<Item = Message>) {
        self.with(|state| state.ready.extend(messages.into_iter().map(Waiting::new)));
    }

    /// A fault waits for its step from now on.
    pub fn arm(&self, armed: Armed) {
        self.with(|state| state.plan.arm(armed));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.with(|state| {
            state.plan.disarm();
            (state.alarm, state.away) = (false, false);
        });
    }

    /// Raises or clears an alarm, under which no copies are taken.
    pub fn set_alarm(&self, alarm: bool) {
        self.with(|state| state.alarm = alarm);
    }

    /// Cuts every connection, and takes none; or takes them again.
    pub fn set_away(&self, away: bool) {
        self.with(|state| {
            state.away = away;
            if away {
                let lives: Vec<Life> = state.connections.keys().copied().collect();
                for life in lives {
                    state.cut(life);
                }
            }
        });
    }

    /// Cuts the connection of `life`.
    pub fn cut(&self, life: Life) {
        self.with(|state| state.cut(life));
    }

    /// Ends `life`: nothing that it does from now on has an effect.
    pub fn crash(&self, life: Life) {
        self.with(|state| state.crash(life));
    }

    /// A message that waits, or is in somebody's hand, is there so many times more: at the end of the queue.
    pub fn duplicate(&self, which: impl Fn(usize) -> usize, times: usize) {
        self.with(|state| {
            let in_hand = state.connections.values().flat_map(|connection| connection.unsettled.values());
            let all: Vec<&Waiting> = state.ready.iter().chain(in_hand).collect();
            if !all.is_empty() {
                let twin = Waiting { copied: false, ..all[which(all.len())].clone() };
                state.ready.extend(std::iter::repeat_n(twin, times));
            }
        });
    }

    /// A message that waits overtakes all others, or is overtaken by all.
    pub fn reorder(&self, which: impl Fn(usize) -> usize, to_front: bool) {
        self.with(|state| {
            let taken = Some(state.ready.len()).filter(|length| *length > 0).and_then(|l| state.ready.remove(which(l)));
            match taken {
                Some(waiting) if to_front => state.ready.push_front(waiting),
                Some(waiting) => state.ready.push_back(waiting),
                None => {}
            }
        });
    }

    /// Whether no message waits, is delayed, or is in anybody's hand.
    pub fn is_idle(&self) -> bool {
        self.with(|state| state.is_idle())
    }

    /// Deliveries that `life` has not settled.
    pub fn in_hand(&self, life: Life) -> usize {
        self.with(|state| state.connections.get(&life).map_or(0, |connection| connection.unsettled.len()))
    }

    /// What was parked.
    pub fn parked(&self) -> Vec<Parked> {
        self.with(|state| state.parked.clone())
    }

    /// Something must not be; tests fail on it.
    pub fn complain(&self, complaint: String) {
        self.with(|state| state.complaints.push(complaint));
    }

    /// What must not be and was.
    pub fn complaints(&self) -> Vec<String> {
        self.with(|state| state.complaints.clone())
    }

    /// What the queue looks like, for a failure's message.
    pub fn picture(&self) -> String {
        self.with(|state| {
            let waiting = |waiting: &Waiting| format!("{}×{}", waiting.message.id, waiting.handed_out);
            let in_hand: Vec<_> = state.connections.iter().map(|(life, c)| (life, c.unsettled.len())).collect();
            let ready: Vec<_> = state.ready.iter().map(waiting).collect();
            let delayed: Vec<_> = state.delayed.iter().map(|(_, delayed)| waiting(delayed)).collect();
            format!("ready {ready:?}, delayed {delayed:?}, in hand by life {in_hand:?}")
        })
    }

    /// Serves for ever.
    pub(crate) async fn run(self: Arc<Self>) -> Infallible {
        loop {
            // What is settled in the same turn of the scheduler goes together.
            tokio::task::yield_now().await;
            match self.turn() {
                None => self.changed.notified().await,
                Some(due) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(due) => {}
                },
            }
        }
    }

    /// One round: settlements in, what is due, deliveries out. Gives when something will be due.
    fn turn(self: &Arc<Self>) -> Option<Instant> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lives: Vec<Life> = state.connections.keys().copied().collect();
        for life in lives {
            let Some(connection) = state.connections.get_mut(&life) else { continue };
            let (epoch, frames) = (connection.epoch, connection.water.take());
            if frames == broker_rabbit::Frames::default() {
                continue;
            }
            // Lost on their way where the connection was cut there.
            let arrives = state.strike(life, Step::Flush) != Struck::Dead
                && state.connections.get(&life).is_some_and(|connection| connection.epoch == epoch);
            if arrives {
                state.receive(life, frames, &self.judge);
            }
        }
        let due = state.ripen(Instant::now());
        state.hand_out(|life, epoch, tag, waiting| {
            let settler = ClientSettler { server: Arc::clone(self), life, epoch, tag, handed_out: waiting.handed_out };
            let (message, count) = (waiting.message.clone(), waiting.handed_out);
            Delivery::new(message, count > 0, count, Box::new(settler))
        });
        if !state.died.is_empty() {
            self.died.notify_one();
        }
        due
    }

    pub(crate) fn consume(&self, life: Life, consumer: Consumer) -> bool {
        self.with(|state| match state.connections.get_mut(&life) {
            Some(connection) => {
                connection.consumer = Some(consumer);
                true
            }
            None => false,
        })
    }

    pub(crate) fn strike(&self, life: Life, step: Step) -> Struck {
        self.with(|state| state.strike(life, step))
    }

    /// Settles a delivery, where it is not stale.
    pub(crate) fn settle(&self, life: Life, epoch: u64, how: impl FnOnce(&mut broker_rabbit::LowWater)) -> bool {
        self.with(|state| {
            let connection = state.connections.get_mut(&life).filter(|connection| connection.epoch == epoch);
            connection.map(|connection| how(&mut connection.water)).is_some()
        })
    }

    pub(crate) fn store_copy(&self, from: &Source<'_>, how: How<'_>) {
        self.with(|state| state.store_copy(from, how, &self.spec, &self.judge));
    }

    /// Adds a message that `life` publishes itself. Where it has the same in hand, that one has its copy now.
    pub(crate) fn publish_copy(&self, life: Life, message: Message) {
        self.with(|state| {
            let in_hand = state.connections.get_mut(&life).into_iter().flat_map(|c| c.unsettled.values_mut());
            in_hand.filter(|waiting| waiting.message.id == message.id).for_each(|waiting| waiting.copied = true);
            state.ready.push_back(Waiting::new(message));
        });
    }

    pub(crate) fn takes_copies(&self) -> Result<(), &'static str> {
        self.with(|state| match (state.away, state.alarm) {
            (true, _) => Err("the broker is away"),
            (false, true) => Err("the broker has an alarm"),
            (false, false) => Ok(()),
        })
    }

    pub(crate) fn is_away(&self) -> bool {
        self.with(|state| state.away)
    }

    /// A process that died. Cancel-safe.
    pub(crate) async fn next_death(&self) -> Life {
        loop {
            if let Some(life) = self.with(|state| state.died.pop_front()) {
                return life;
            }
            self.died.notified().await;
        }
    }

    pub(crate) fn ready(&self) -> usize {
        self.with(|state| state.ready.len())
    }

    pub(crate) fn leave(&self, life: Life) {
        self.with(|state| {
            state.cut(life);
            state.connections.remove(&life);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        if !state.died.is_empty() {
            self.died.notify_one();
        }
        drop(state);
        self.changed.notify_one();
        result
    }
}
