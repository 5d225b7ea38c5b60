//! The open loop: a task for each connection, which takes the plan's next arrival whenever it is free.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::journal::{Journal, JournalError, Pen, Record};
use crate::line::{Line, Reply, Socket};
use crate::live::{Answered, Live, micros};
use crate::mix::Mix;
use crate::plan::{Arrival, Plan, Source};
use crate::request::Requests;
use crate::shape::Shape;
use crate::target::Target;

/// How often the waiting room is looked at while every connection is busy.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When requests are sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// At planned times, however long answers take: what users do. Latency counts from the planned time.
    Open(Shape),
    /// As fast as answers come, for this long: every connection sends its next request once the last is answered. It
    /// measures how much is taken, and says nothing about latency.
    Saturate(Duration),
}

/// How hard, and how long.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connections, and so the most requests in flight. 1 or more.
    pub connections: usize,
    /// Arrivals that may wait for a connection; more are not sent, and said so.
    pub max_waiting: usize,
    /// How long an answer may take; then the outcome is unknown.
    pub answer_within: Duration,
    /// The run ends after so many requests.
    pub max_requests: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self { connections: 64, max_waiting: 10_000, answer_within: Duration::from_secs(10), max_requests: None }
    }
}

/// What came out; the counts are in [`Live`].
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// From the first planned time to the last answer.
    pub took: Duration,
    /// It was stopped before its plan was over.
    pub stopped: bool,
}

/// Sends `mix` to `target` in the course of `load`, until its end or `stop`, and journals every attempt.
///
/// # Errors
/// [`JournalError`]: a run without its journal proves nothing, so it ends.
pub async fn generate(
    config: Config,
    load: Load,
    mix: Mix,
    (target, api_key): (Target, &str),
    journal: Option<Journal>,
    live: Arc<Live>,
    stop: CancellationToken,
) -> Result<Outcome, JournalError> {
    let requests = Arc::new(Requests::new(&mix, target.authority(), api_key));
    let target = Arc::new(target);
    let socket = || Socket::new(Arc::clone(&target), Arc::clone(&requests));
    let outcome = drive(config, load, mix, socket, Journal::pen(journal.as_ref()), live, stop).await;
    if let Some(journal) = journal {
        journal.finish().await?;
    }
    outcome
}

struct Run {
    plan: Mutex<Plan>,
    mix: Mix,
    pen: Pen,
    live: Arc<Live>,
    stop: CancellationToken,
    answer_within: Duration,
    start: Instant,
}

async fn drive<L: Line + 'static>(
    config: Config,
    load: Load,
    mix: Mix,
    connect: impl Fn() -> L,
    pen: Pen,
    live: Arc<Live>,
    stop: CancellationToken,
) -> Result<Outcome, JournalError> {
    let source = match load {
        Load::Open(shape) => Source::Open(Box::new(shape.arrivals())),
        Load::Saturate(lasts) => Source::Closed(lasts),
    };
    // The first stretch of the journal is reserved before the clock starts.
    pen.reserve(0).await?;
    let run = Arc::new(Run {
        plan: Mutex::new(Plan::new(source, config.max_waiting, config.max_requests)),
        mix,
        pen,
        live,
        stop,
        answer_within: config.answer_within,
        start: Instant::now(),
    });
    let mut connections = JoinSet::new();
    for _ in 0..config.connections.max(1) {
        let (run, connection) = (Arc::clone(&run), connect());
        connections.spawn(async move { run.serve(connection).await });
    }
    let mut look = interval(LOOK_EVERY);
    let mut served = Ok(());
    loop {
        tokio::select! {
            ended = connections.join_next() => match ended {
                None => break,
                Some(ended) => served = served.and(ended.map_err(|_| JournalError::Stopped).flatten()),
            },
            _ = look.tick() => run.look(),
        }
    }
    let took = run.start.elapsed();
    run.end();
    served.map(|()| Outcome { took, stopped: run.stop.is_cancelled() })
}

impl Run {
    /// One connection, until the plan is over.
    async fn serve(&self, mut line: impl Line) -> Result<(), JournalError> {
        while !self.stop.is_cancelled()
            && let Some(arrival) = self.take()
        {
            let planned = self.start + arrival.planned;
            // An arrival that is still to come when the run is stopped never was.
            if planned > Instant::now() && self.stop.run_until_cancelled(sleep_until(planned)).await.is_none() {
                break;
            }
            self.pen.reserve(arrival.n).await?;
            self.one(&mut line, arrival).await;
        }
        Ok(())
    }

    async fn one(&self, line: &mut impl Line, arrival: Arrival) {
        let Arrival { n, planned } = arrival;
        let what = self.mix.pick(n);
        self.pen.write(Record::Attempt { n, what });
        self.live.sent_at(planned, self.now());
        let reply = timeout(self.answer_within, line.post(n, what)).await.unwrap_or_else(|_| {
            line.hang_up();
            Reply::Nothing
        });
        let now = self.now();
        let latency = now.saturating_sub(planned);
        let (status, order_id, refusal) = match reply {
            Reply::NotSent => {
                self.live.never_left(now);
                return self.pen.write(Record::NotSent { n });
            }
            Reply::Nothing => (None, None, None),
            Reply::Answered { status, order_id, refusal } => (Some(status), order_id, refusal),
        };
        self.live.answered(now, &Answered { what, status, refusal: refusal.as_deref(), latency });
        self.pen.write(Record::Answer { n, status, order_id, latency_us: micros(latency) });
    }

    fn take(&self) -> Option<Arrival> {
        let now = self.now();
        let mut plan = self.plan();
        let arrival = plan.take(now);
        self.note(&mut plan, now);
        arrival
    }

    fn look(&self) {
        let now = self.now();
        let mut plan = self.plan();
        plan.admit(now);
        self.live.waits(now, plan.waiting());
        self.note(&mut plan, now);
    }

    /// What waits is not sent any more.
    fn end(&self) {
        let now = self.now();
        let mut plan = self.plan();
        plan.end(now);
        self.live.waits(now, 0);
        self.note(&mut plan, now);
    }

    fn note(&self, plan: &mut Plan, now: Duration) {
        for Arrival { n, planned } in plan.turned_away() {
            self.live.not_sent(planned, now);
            self.pen.write(Record::NotSent { n });
        }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // A plan that a panic left behind still names each arrival once.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests;
