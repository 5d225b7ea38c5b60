//! A queue in a directory of its own, a ledger for a database, and workers between them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::{Broker, Delivery, ExchangeName, Publish, QueueName, QueueSpec, Settle, Topology};
use broker_embedded::Embedded;
use bytes::Bytes;
use chrono::DateTime;
use events::DecodeError;
use faulty::Notes;
use model::{Message, MessageId, headers};
use service::{Shutdown, Tasks};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use worker::{
    BatchError, Breaker, BreakerConfig, Config, Error, Handled, Handler, Item, Pauses, Seat, Stats, StatsSnapshot,
    Verdict, Witness, Worker, WorkerDeps,
};

/// Far beyond what a loaded machine takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

const KEY: &str = "thing.happened";

/// Short rungs, and a last one that no test waits for.
pub(crate) const LADDER: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(40), Duration::from_mins(10)];

/// Small numbers, so that limits are met quickly.
pub(crate) fn config() -> Config {
    Config { prefetch: 64, batch: 16, linger_ms: 20, handle_timeout_ms: 300, ..Config::default() }
}

pub(crate) fn breaker() -> Arc<Breaker> {
    let config = BreakerConfig { probe_first_ms: 10, probe_max_ms: 50, ramp_until: 8, ..BreakerConfig::default() };
    Arc::new(Breaker::new("ledger", config))
}

pub(crate) fn queue() -> QueueSpec {
    QueueSpec { name: QueueName::new("things.v1"), retry_delays: LADDER.to_vec() }
}

fn exchange() -> ExchangeName {
    ExchangeName::new("things.v1")
}

fn message(id: &str, body: &str) -> Message {
    Message {
        id: id.parse().unwrap(),
        kind: KEY.to_owned(),
        timestamp: DateTime::UNIX_EPOCH,
        content_type: "text/plain".to_owned(),
        headers: BTreeMap::from([(headers::VERSION.to_owned(), "1".to_owned())]),
        transient: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

pub(crate) async fn open(directory: &Path) -> Arc<Embedded> {
    let broker = Embedded::open(directory.join("broker"), broker_embedded::Config::default()).await.unwrap();
    broker.declare(&Topology::default().with_queue(&exchange(), queue(), [KEY])).await.unwrap();
    broker
}

/// Publishes messages by id; the body says what each does to the handler.
pub(crate) async fn publish(broker: &dyn Broker, bodies: &[(&str, &str)]) {
    let publish = |(id, body): &(&str, &str)| Publish {
        exchange: exchange(),
        routing_key: KEY.to_owned(),
        message: message(id, body),
    };
    let outcomes = broker.publish(bodies.iter().map(publish).collect()).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begin = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(POLL);
    while !condition().await {
        assert!(begin.elapsed() < DEADLINE, "{what} did not happen");
        ticks.tick().await;
    }
}

/// What stands in for a database: commits a batch whole or not at all, each id once, and can be away.
#[derive(Default)]
pub(crate) struct Ledger {
    effects: Mutex<BTreeMap<String, u32>>,
    calls: Mutex<Vec<Vec<(MessageId, u32)>>>,
    probes: Mutex<u32>,
    away: Mutex<Option<&'static str>>,
    /// Whether a probe finds nothing wrong, whatever there is.
    blind: Mutex<bool>,
    /// Calls wait here while it is shut.
    gate: Mutex<bool>,
    opened: Notify,
}

impl Ledger {
    /// How often each message's effect was committed, by id, in the order of ids.
    pub(crate) fn effects(&self) -> Vec<(String, u32)> {
        self.effects.lock().unwrap().clone().into_iter().collect()
    }

    pub(crate) fn has(&self, count: usize) -> bool {
        self.effects.lock().unwrap().len() >= count
    }

    /// Each call's messages with their attempts.
    pub(crate) fn calls(&self) -> Vec<Vec<(MessageId, u32)>> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn probes(&self) -> u32 {
        *self.probes.lock().unwrap()
    }

    pub(crate) fn go_away(&self, reason: &'static str) {
        *self.away.lock().unwrap() = Some(reason);
    }

    /// Writes fail, and a probe does not notice.
    pub(crate) fn refuse_writes(&self, reason: &'static str) {
        *self.blind.lock().unwrap() = true;
        self.go_away(reason);
    }

    pub(crate) fn come_back(&self) {
        *self.away.lock().unwrap() = None;
    }

    pub(crate) fn shut(&self) {
        *self.gate.lock().unwrap() = true;
    }

    pub(crate) fn unshut(&self) {
        *self.gate.lock().unwrap() = false;
        self.opened.notify_waiters();
    }

    async fn pass_gate(&self) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if !*self.gate.lock().unwrap() {
                return;
            }
            opened.await;
        }
    }

    fn is_away(&self) -> Option<String> {
        self.away.lock().unwrap().map(ToOwned::to_owned)
    }
}

impl Handler for Ledger {
    type Event = String;

    fn decode(&self, message: &Message) -> Result<String, DecodeError> {
        match std::str::from_utf8(&message.body) {
            Ok("garbage") => Err(DecodeError::Malformed("expected a thing".to_owned())),
            Ok("newer") => Err(DecodeError::Unknown { kind: message.kind.clone(), version: Some(2) }),
            Ok("panics in decode") => panic!("slice out of range"),
            Ok(body) => Ok(body.to_owned()),
            Err(error) => Err(DecodeError::Malformed(error.to_string())),
        }
    }

    async fn handle(&self, batch: &[Item<String>]) -> Result<Handled, BatchError> {
        self.calls.lock().unwrap().push(batch.iter().map(|item| (item.id.clone(), item.attempt)).collect());
        self.pass_gate().await;
        if let Some(reason) = self.is_away() {
            return Err(BatchError::Infrastructure(reason));
        }
        for item in batch {
            match item.event.as_str() {
                "poison" => return Err(BatchError::Poison("22003".to_owned())),
                "panics" => panic!("attempt to divide by zero"),
                "hangs" => std::future::pending().await,
                "locked once" if item.attempt == 0 && batch.len() > 1 => {
                    return Err(BatchError::Contention("40P01".to_owned()));
                }
                "fails once" if item.attempt == 0 => panic!("not yet"),
                _ => {}
            }
        }
        let mut effects = self.effects.lock().unwrap();
        let verdict = |item: &Item<String>| match item.event.as_str() {
            "later" => Verdict::Later("its product is not there yet".to_owned()),
            "refused" => Verdict::Poison("no such region".to_owned()),
            _ => {
                *effects.entry(item.id.to_string()).or_default() += 1;
                Verdict::Done
            }
        };
        Ok(batch.iter().map(verdict).collect::<Vec<_>>().into())
    }

    async fn probe(&self) -> Result<(), String> {
        *self.probes.lock().unwrap() += 1;
        if *self.blind.lock().unwrap() { Ok(()) } else { self.is_away().map_or(Ok(()), Err) }
    }
}

/// A worker that runs.
pub(crate) struct Running {
    pub(crate) stats: Arc<Stats>,
    pub(crate) shutdown: Shutdown,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Stops softly, which must end well.
    pub(crate) async fn stop(self) -> StatsSnapshot {
        self.shutdown.soft().cancel();
        self.stopped().await
    }

    /// Stops hard.
    pub(crate) async fn stop_hard(self) -> StatsSnapshot {
        self.shutdown.hard().cancel();
        self.stopped().await
    }

    /// Waits for the end of a stop that was asked for.
    pub(crate) async fn stopped(self) -> StatsSnapshot {
        let stats = Arc::clone(&self.stats);
        self.ended().await.unwrap();
        stats.snapshot()
    }

    pub(crate) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker ends").unwrap()
    }
}

/// A broker in a directory of its own.
pub(crate) struct Site {
    pub(crate) broker: Arc<Embedded>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) breaker: Arc<Breaker>,
    /// Kept for as long as the broker's file is open.
    _directory: TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::of(open(directory.path()).await, directory)
    }

    /// Of a broker whose file is in `directory`.
    pub(crate) fn of(broker: Arc<Embedded>, directory: TempDir) -> Self {
        Self { broker, ledger: Arc::default(), breaker: breaker(), _directory: directory }
    }

    pub(crate) async fn publish(&self, bodies: &[(&str, &str)]) {
        publish(&*self.broker, bodies).await;
    }

    pub(crate) fn work(&self, config: Config) -> Running {
        start(self.broker.clone(), &self.ledger, &self.breaker, config)
    }

    /// A worker that obeys `pauses`.
    pub(crate) fn work_paused_by(&self, pauses: &Pauses, config: Config) -> Running {
        let (handler, breaker) = (Arc::clone(&self.ledger), Arc::clone(&self.breaker));
        let deps =
            WorkerDeps { broker: self.broker.clone(), queue: queue(), handler, breaker, seat: None, witness: notes() };
        run(Worker::new(deps, config).paused_by(pauses.clone()))
    }

    pub(crate) async fn ready(&self, queue: &QueueName) -> u64 {
        self.broker.depths(std::slice::from_ref(queue)).await.unwrap()[0].ready
    }

    /// What was parked, by id, with the reasons.
    pub(crate) async fn parked(&self, count: usize) -> BTreeMap<String, String> {
        let parked = queue().name.parked();
        eventually("parking", async || self.ready(&parked).await >= count as u64).await;
        let all = self.drain(&parked).await;
        assert_eq!(all.len(), count);
        all.into_iter().map(|m| (m.id.to_string(), m.headers[headers::REASON].clone())).collect()
    }

    /// As a process does that dies with a message in hand.
    pub(crate) async fn hand_out_and_die(&self) {
        let mut subscription = self.broker.subscribe(&queue().name, 1).await.unwrap();
        let delivery = tokio::time::timeout(DEADLINE, subscription.next()).await.expect("a delivery");
        drop((delivery, subscription));
        eventually("its return", async || self.ready(&queue().name).await == 1).await;
    }

    /// Everything ready in `queue`, acked.
    pub(crate) async fn drain(&self, queue: &QueueName) -> Vec<Message> {
        let expected = usize::try_from(self.ready(queue).await).unwrap();
        let mut subscription = self.broker.subscribe(queue, 1_000).await.unwrap();
        let mut messages = Vec::new();
        while messages.len() < expected {
            let delivery: Delivery =
                tokio::time::timeout(DEADLINE, subscription.next()).await.expect("a delivery").expect("an open broker");
            messages.push(delivery.message().clone());
            delivery.settle(Settle::Ack).await.unwrap();
        }
        messages
    }
}

pub(crate) fn start<H: Handler>(
    broker: Arc<dyn Broker>,
    handler: &Arc<H>,
    breaker: &Arc<Breaker>,
    config: Config,
) -> Running {
    start_seated(broker, handler, breaker, None, config)
}

/// With a share of a budget.
pub(crate) fn start_seated<H: Handler>(
    broker: Arc<dyn Broker>,
    handler: &Arc<H>,
    breaker: &Arc<Breaker>,
    seat: Option<Seat>,
    config: Config,
) -> Running {
    let (handler, breaker) = (Arc::clone(handler), Arc::clone(breaker));
    let deps = WorkerDeps { broker, queue: queue(), handler, breaker, seat, witness: notes() };
    run(Worker::new(deps, config))
}

/// Of a worker that sees no process die.
fn notes() -> Arc<dyn Witness> {
    Arc::new(Notes::default())
}

pub(crate) fn run<H: Handler>(worker: Worker<H>) -> Running {
    let (stats, shutdown) = (worker.stats(), Shutdown::new());
    let task = Tasks::new().spawn("worker", worker.run(shutdown.clone()));
    Running { stats, shutdown, task }
}

/// Effects, each once, for `ids`.
pub(crate) fn once<'a>(ids: impl IntoIterator<Item = &'a str>) -> Vec<(String, u32)> {
    let mut all: Vec<_> = ids.into_iter().map(|id| (id.to_owned(), 1)).collect();
    all.sort();
    all
}
