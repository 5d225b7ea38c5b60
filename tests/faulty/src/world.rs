//! Processes around a server, on a clock that stands still while anybody works.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use model::Message;
use proptest::sample::Index;
use service::Shutdown;
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use worker::{Breaker, BreakerConfig, Config, Error, Handler, Worker, WorkerDeps};

use crate::client::Client;
use crate::mischief::Mischief;
use crate::notes::Notes;
use crate::server::Server;
use crate::state::Life;

/// Longer than any stop may take.
const STOPS_WITHIN: Duration = Duration::from_mins(10);
/// Longer than any message may be on its way once nothing goes wrong: eight rungs of ten minutes, several times over.
const CALM_WITHIN: Duration = Duration::from_hours(24);
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What follows from an event at once is over by then.
const A_MOMENT: Duration = Duration::from_millis(1);

/// Makes the handler of a process that begins.
pub type Make<H> = Box<dyn Fn(Client) -> H>;

/// How many processes there are, and how each works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Processes, 1 or more.
    pub processes: usize,
    /// The worker of each.
    pub worker: Config,
}

impl Shape {
    /// Processes whose prefetch is the smallest that holds their batches, so that messages wait in the queue, too.
    #[must_use]
    pub fn tight(processes: usize, mut worker: Config) -> Self {
        let batches = worker.batch * worker.parallel_batches;
        worker.prefetch = u16::try_from(batches * 4 / 3 + 2).unwrap_or(u16::MAX);
        Self { processes, worker }
    }
}

/// A server and the processes that consume from it. Dropped, all of it is gone.
pub struct World<H> {
    town: Town<H>,
    /// After everything that runs on it.
    runtime: Runtime,
}

struct Town<H> {
    server: Arc<Server>,
    make: Make<H>,
    shape: Shape,
    notes: Arc<Notes>,
    processes: BTreeMap<Life, Process>,
    tasks: JoinSet<(Life, Result<(), Error>)>,
    serving: JoinSet<Infallible>,
}

struct Process {
    shutdown: Shutdown,
    abort: AbortHandle,
}

impl<H: Handler> World<H> {
    /// Begins with `shape.processes` processes. The first is made on a runtime whose clock is paused.
    ///
    /// # Panics
    /// Where no runtime can be made.
    pub fn new(runtime: Runtime, server: Arc<Server>, shape: Shape, make: Make<H>) -> Self {
        let (processes, tasks, mut serving) = (BTreeMap::new(), JoinSet::new(), JoinSet::new());
        serving.spawn_on(Arc::clone(&server).run(), runtime.handle());
        let mut town = Town { server, make, shape, notes: Arc::default(), processes, tasks, serving };
        runtime.block_on(async {
            for _ in 0..town.shape.processes {
                town.begin();
            }
        });
        Self { town, runtime }
    }

    /// A runtime for a world: one thread, and a paused clock.
    ///
    /// # Panics
    /// Where the system has no room for one.
    pub fn runtime() -> Runtime {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime of one thread needs nothing but memory")
    }

    /// Where it runs.
    pub fn on(&self) -> &Runtime {
        &self.runtime
    }

    /// Its server.
    pub fn server(&self) -> &Server {
        &self.town.server
    }

    /// Publishes messages, and lets a moment pass.
    pub fn publish(&mut self, messages: impl IntoIterator<Item = Message>) {
        self.town.server.publish(messages);
        self.pass(A_MOMENT);
    }

    /// Lets time pass. Who dies meanwhile is followed by another.
    pub fn pass(&mut self, time: Duration) {
        self.runtime.block_on(self.town.pass(time));
    }

    /// Lets something happen, and a moment pass.
    pub fn suffer(&mut self, mischief: &Mischief) {
        let server = &self.town.server;
        match mischief {
            Mischief::Pass(time) => return self.pass(*time),
            Mischief::Arm(armed) => server.arm(*armed),
            Mischief::Cut(which) => server.cut(self.town.life(*which)),
            Mischief::Crash(which) => server.crash(self.town.life(*which)),
            Mischief::Restart { which, hard } => {
                let life = self.town.life(*which);
                return self.runtime.block_on(self.town.restart(life, *hard));
            }
            Mischief::Duplicate { which, times } => server.duplicate(|length| which.index(length), *times),
            Mischief::Reorder { which, to_front } => server.reorder(|length| which.index(length), *to_front),
            Mischief::Alarm(alarm) => server.set_alarm(*alarm),
            Mischief::Away(away) => server.set_away(*away),
        }
        self.pass(A_MOMENT);
    }

    /// Nothing goes wrong any more: lets time pass until every message has come to its end, and stops all processes.
    pub fn come_to_rest(&mut self) {
        self.town.server.heal();
        let Self { town, runtime } = self;
        runtime.block_on(async {
            let deadline = Instant::now() + CALM_WITHIN;
            while !town.server.is_idle() {
                if Instant::now() > deadline {
                    let picture = town.server.picture();
                    return town.server.complain(format!("messages are still on their way after a day: {picture}"));
                }
                town.pass(LOOK_EVERY).await;
            }
            let lives: Vec<Life> = town.processes.keys().copied().collect();
            for life in lives {
                town.stop(life, false).await;
            }
        });
    }

    /// # Panics
    /// Where something was that must not be.
    pub fn assert_no_complaints(&self) {
        let complaints = self.town.server.complaints();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

impl<H: Handler> Town<H> {
    fn life(&self, which: Index) -> Life {
        let lives: Vec<Life> = self.processes.keys().copied().collect();
        lives[which.index(lives.len())]
    }

    fn begin(&mut self) {
        let client = self.server.connect();
        let life = client.life();
        let breaker = BreakerConfig { ramp_until: 8, ..BreakerConfig::default() };
        let deps = WorkerDeps {
            broker: Arc::new(client.clone()),
            queue: self.server.spec.clone(),
            handler: Arc::new((self.make)(client)),
            breaker: Arc::new(Breaker::new("store", breaker)),
            seat: None,
            witness: self.notes.clone(),
        };
        let (worker, shutdown) = (Worker::new(deps, self.shape.worker.clone()), Shutdown::new());
        let stop = shutdown.clone();
        let abort = self.tasks.spawn(async move { (life, worker.run(stop).await) });
        self.processes.insert(life, Process { shutdown, abort });
    }

    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                dead = self.server.next_death() => self.follow(dead),
                Some(ended) = self.tasks.join_next() => self.note(ended.ok()),
                Some(ended) = self.serving.join_next() => panic!("the server ended: {ended:?}"),
                () = sleep_until(end) => return,
            }
        }
    }

    /// Another process in place of one that died.
    fn follow(&mut self, dead: Life) {
        if let Some(process) = self.processes.remove(&dead) {
            process.abort.abort();
            self.begin();
        }
    }

    /// `None`: it was aborted, as the dead are.
    fn note(&mut self, ended: Option<(Life, Result<(), Error>)>) {
        let Some((life, outcome)) = ended else { return };
        // The dead may say what they like.
        if self.processes.contains_key(&life) {
            self.server.complain(format!("process {life} ended by itself: {outcome:?}"));
        }
    }

    async fn restart(&mut self, life: Life, hard: bool) {
        self.stop(life, hard).await;
        while self.processes.len() < self.shape.processes {
            self.begin();
        }
        self.pass(A_MOMENT).await;
    }

    /// Stops a process, and sees that it leaves nothing in hand.
    async fn stop(&mut self, life: Life, hard: bool) {
        let Some(process) = self.processes.get(&life) else { return };
        if hard {
            process.shutdown.hard().cancel();
        } else {
            process.shutdown.soft().cancel();
        }
        let deadline = Instant::now() + STOPS_WITHIN;
        loop {
            tokio::select! {
                biased;
                dead = self.server.next_death() => {
                    self.follow(dead);
                    // It died on its way out.
                    if dead == life {
                        return;
                    }
                }
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok((ended, Ok(()))) if ended == life => break,
                    other => self.note(other.ok()),
                },
                () = sleep_until(deadline) => {
                    return self.server.complain(format!("process {life} did not stop: {}", self.server.picture()));
                }
            }
        }
        self.processes.remove(&life);
        // The last acks reach the server while the connection is closed.
        self.pass(A_MOMENT).await;
        let in_hand = self.server.in_hand(life);
        if in_hand > 0 {
            self.server.complain(format!("process {life} stopped with {in_hand} deliveries in hand"));
        }
        self.server.leave(life);
    }
}
