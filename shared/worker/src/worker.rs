//! The loop of one queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::{Broker, QueueSpec, Subscription};
use model::SystemClock;
use service::Shutdown;
use service::metrics::Metrics;
use tokio::sync::RwLock;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::alarm::Alarm;
use crate::batch::{Closed, Filled, Intake, Taken};
use crate::breaker::Breaker;
use crate::budget_meters;
use crate::config::Config;
use crate::context::Context;
use crate::crash::Suspects;
use crate::error::Error;
use crate::governor::{Seat, Spending};
use crate::handler::Handler;
use crate::heartbeat::beat_for_ever;
use crate::held::Held;
use crate::meters;
use crate::panic::panic_text;
use crate::pause::Pauses;
use crate::process::{Aftermath, process};
use crate::refusals::Refusals;
use crate::settle::Ladder;
use crate::stats::Stats;
use crate::witness::Witness;

/// What a worker is given.
pub struct WorkerDeps<H> {
    /// The broker that has the queue.
    pub broker: Arc<dyn Broker>,
    /// The queue, declared before, with the retry ladder that it was declared with.
    pub queue: QueueSpec,
    /// What is done with its messages.
    pub handler: Arc<H>,
    /// The breaker of the database behind the handler, shared by every worker of the process that uses that database.
    pub breaker: Arc<Breaker>,
    /// Its share of that database's budget; none for a handler that writes into no database.
    pub seat: Option<Seat>,
    /// Where it is noted that a message runs alone which is suspected of taking processes down: a database of the queue's,
    /// and the same one for every process that takes from it.
    pub witness: Arc<dyn Witness>,
}

/// Consumes one queue.
pub struct Worker<H> {
    context: Context<H>,
}

impl<H: Handler> Worker<H> {
    /// A worker that has not begun.
    pub fn new(deps: WorkerDeps<H>, config: Config) -> Self {
        let ladder = Ladder { delays: deps.queue.retry_delays, park_after_attempts: config.park_after_attempts };
        let context = Context {
            broker: deps.broker,
            queue: deps.queue.name,
            handler: deps.handler,
            breaker: deps.breaker,
            seat: deps.seat,
            witness: deps.witness,
            ladder,
            suspects: Suspects::new(&config),
            stats: Arc::default(),
            running: RwLock::default(),
            unknown: Alarm::new(Duration::from_millis(config.unknown_alarm_every_ms)),
            refusals: Refusals::new(&config),
            pauses: Pauses::none(),
            consuming: AtomicBool::new(false),
            clock: Arc::new(SystemClock),
            config,
        };
        Self { context }
    }

    /// Obeys `pauses`; without them nobody pauses it.
    #[must_use]
    pub fn paused_by(mut self, pauses: Pauses) -> Self {
        self.context.pauses = pauses;
        self
    }

    /// What it has done so far; to be kept beside a worker that runs.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.context.stats)
    }

    /// Shows its counters, batches, breaker and pauses there, under its queue's name.
    #[must_use]
    pub fn measured(self, metrics: &Metrics) -> Self {
        let Context { queue, stats, breaker, seat, .. } = &self.context;
        // A second call would show the same again.
        let first = stats.meters.set(meters::register(metrics, &self.context)).is_ok();
        if let Some(seat) = seat.as_ref().filter(|_| first) {
            budget_meters::register(metrics, queue.as_str(), breaker.name(), seat);
        }
        self
    }

    /// Consumes until it is stopped. A soft stop finishes and settles the batches in hand, a hard one drops them: both
    /// leave every message settled or in its queue. Waits for a broker that is away, and for a database that is.
    ///
    /// # Errors
    /// [`Error`], where waiting can't help. Nothing is lost by it.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        self.context.config.check()?;
        if let Some(seat) = &self.context.seat {
            seat.check()?;
        }
        let context = Arc::new(self.context);
        let mut batches = JoinSet::new();
        let running = Loop {
            context: &context,
            soft: shutdown.soft(),
            quiet: shutdown.soft().child_token(),
            batches: &mut batches,
            held: Held::new(&context.config, Instant::now()),
            let_go: false,
        };
        // Boxed, as a renewal is large, and a role holds several workers.
        let seated = Box::pin(seated(context.seat.as_ref(), running.run()));
        let running = async {
            tokio::select! {
                ended = seated => ended,
                never = beat_for_ever(Arc::clone(&context)) => match never {},
            }
        };
        let ended = shutdown.hard().run_until_cancelled(running).await;
        // What still runs after a hard stop ends here, and its deliveries go back.
        batches.shutdown().await;
        ended.unwrap_or_else(|| {
            let dropped = context.stats.snapshot().dropped;
            tracing::warn!(queue = %context.queue, dropped, "the worker was stopped hard: what it held is back in the queue");
            Ok(())
        })
    }
}

/// Why consuming paused.
enum End {
    /// Asked to.
    Stopped,
    /// The database has been away for long: the queue can keep the messages better.
    LetGo,
    /// An operator paused the queue.
    Paused,
    /// The broker was closed.
    Ended,
}

struct Loop<'a, H> {
    context: &'a Arc<Context<H>>,
    soft: &'a CancellationToken,
    /// Pulled by a pause too: batches that wait for a database go back.
    quiet: CancellationToken,
    /// Outside, so that a hard stop can end them.
    batches: &'a mut JoinSet<Aftermath>,
    held: Held,
    let_go: bool,
}

impl<H: Handler> Loop<'_, H> {
    async fn run(mut self) -> Result<(), Error> {
        while let Some(subscription) = self.subscribe().await? {
            match self.consume(subscription).await? {
                End::Stopped => break,
                End::LetGo => self.wait_for_database().await,
                // The next subscription waits until the queue is resumed.
                End::Paused => {}
                End::Ended => return Err(Error::Ended(self.context.queue.clone())),
            }
        }
        tracing::info!(queue = %self.context.queue, "the worker has stopped; every message is settled or in its queue");
        Ok(())
    }

    /// `None` once a stop was asked for.
    async fn subscribe(&mut self) -> Result<Option<Subscription>, Error> {
        let Context { broker, queue, config, consuming, .. } = &**self.context;
        if !self.wait_while_paused().await {
            return Ok(None);
        }
        consuming.store(true, Ordering::Release);
        match self.soft.run_until_cancelled(broker.subscribe(queue, config.prefetch)).await {
            None => Ok(None),
            Some(Ok(subscription)) => {
                tracing::info!(queue = %queue, prefetch = config.prefetch, "consuming");
                Ok(Some(subscription))
            }
            Some(Err(source)) => Err(Error::Subscribe { queue: queue.clone(), source }),
        }
    }

    /// Whether there is something to go on for: false once a stop was asked for.
    async fn wait_while_paused(&self) -> bool {
        let Context { pauses, queue, .. } = &**self.context;
        match pauses.is_paused(queue) {
            Some(false) => return true,
            Some(true) => tracing::info!(queue = %queue, "the queue is paused: nothing is taken until it is resumed"),
            None => tracing::info!(queue = %queue, "waiting to know whether the queue is paused"),
        }
        let open = self.soft.run_until_cancelled(pauses.until_open(queue)).await.is_some();
        if open {
            tracing::info!(queue = %queue, "the queue is not paused (any more)");
        }
        open
    }

    async fn consume(&mut self, subscription: Subscription) -> Result<End, Error> {
        let Context { config, pauses, queue, consuming, .. } = &**self.context;
        self.quiet = self.soft.child_token();
        let paused = pauses.until_paused(queue);
        tokio::pin!(paused);
        let mut intake = Intake::new(subscription, config, &self.context.stats);
        let end = loop {
            if self.let_go {
                break End::LetGo;
            }
            // No delivery lives in a future here: what is gathered stays in `intake`, the rest in tasks and in `held`.
            let free = self.batches.len() < config.parallel_batches && !self.held.is_over();
            tokio::select! {
                biased;
                () = self.soft.cancelled() => break End::Stopped,
                () = &mut paused => break End::Paused,
                Some(ended) = self.batches.join_next() => self.note(ended)?,
                () = self.held.look(), if !self.held.is_empty() => self.look_at_held().await,
                filled = paced(self.context, &mut intake), if free => match filled {
                    Filled::Batch => self.start(intake.take()),
                    Filled::Ended => break End::Ended,
                },
            }
        };
        if matches!(end, End::Paused) {
            self.quiet.cancel();
        }
        self.finish(intake.close(), &end).await?;
        consuming.store(false, Ordering::Release);
        Ok(end)
    }

    /// Ends what is in hand.
    async fn finish(&mut self, Closed { gathered, ahead }: Closed, end: &End) -> Result<(), Error> {
        self.context.give_back(ahead).await;
        match end {
            End::Stopped if !gathered.is_empty() => {
                while self.batches.len() >= self.context.config.parallel_batches {
                    self.join_one().await?;
                }
                self.start(gathered);
            }
            End::Stopped | End::LetGo | End::Paused | End::Ended => self.context.give_back(gathered).await,
        }
        while !self.batches.is_empty() {
            self.join_one().await?;
        }
        self.release_held().await;
        Ok(())
    }

    fn start(&mut self, batch: Vec<Taken>) {
        self.context.note_age(&batch);
        let spending = self.context.seat.as_ref().map_or_else(Spending::free, |seat| seat.begin(batch.len()));
        self.batches.spawn(process(Arc::clone(self.context), batch, spending, self.quiet.clone()));
    }

    async fn join_one(&mut self) -> Result<(), Error> {
        match self.batches.join_next().await {
            Some(ended) => self.note(ended),
            None => Ok(()),
        }
    }

    fn note(&mut self, ended: Result<Aftermath, JoinError>) -> Result<(), Error> {
        let aftermath = ended.map_err(|error| {
            let message = match error.try_into_panic() {
                Ok(panic) => panic_text(&*panic).to_owned(),
                Err(error) => error.to_string(),
            };
            Error::Panicked { queue: self.context.queue.clone(), message }
        })?;
        self.let_go |= aftermath.let_go;
        if !aftermath.unsent.is_empty() {
            tracing::warn!(
                queue = %self.context.queue, held = aftermath.unsent.len(),
                "the broker takes no publishes now: messages to retry, to park or to try once more are held"
            );
        }
        self.held.add(aftermath.unsent, Instant::now());
        Ok(())
    }

    async fn look_at_held(&mut self) {
        // Those that the broker refuses again meanwhile are held again.
        if self.context.takes_copies() {
            let unsent = self.context.send(self.held.take_all()).await;
            self.held.add(unsent, Instant::now());
        }
        let back = self.held.take_back(Instant::now());
        self.context.give_back(back.into_iter().map(|unsent| unsent.taken)).await;
    }

    async fn release_held(&mut self) {
        let unsent = self.context.send(self.held.take_all()).await;
        self.context.give_back(unsent.into_iter().map(|unsent| unsent.taken)).await;
    }

    /// Without a subscription, so that nothing is held however long it takes.
    async fn wait_for_database(&mut self) {
        self.let_go = false;
        let Context { breaker, handler, queue, .. } = &**self.context;
        tracing::warn!(
            queue = %queue, database = breaker.name(),
            "the database has been away for long: the messages in hand are back in the queue until it answers"
        );
        // The permit itself is given back: the next batch takes one of its own.
        drop(self.soft.run_until_cancelled(breaker.admit(|| handler.probe())).await);
    }
}

/// The next batch, once it may begin. Cancel-safe, as every part is.
async fn paced<H>(context: &Context<H>, intake: &mut Intake) -> Filled {
    context.refusals.pause().await;
    let messages = match &context.seat {
        Some(seat) => seat.ready().await,
        None => usize::MAX,
    };
    intake.fill(messages).await
}

/// Runs `work` while the lease on the database's budget is kept, which ends with it.
async fn seated<T>(seat: Option<&Seat>, work: impl Future<Output = T>) -> T {
    let Some(seat) = seat else { return work.await };
    let ended = tokio::select! {
        ended = work => ended,
        never = seat.keep() => match never {},
    };
    seat.leave().await;
    ended
}
