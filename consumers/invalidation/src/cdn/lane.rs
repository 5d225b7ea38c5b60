//! One server or API, and what it has yet to be told: its own queue, rate and failures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use cache::Tag;
use flow::Bucket;
use service::metrics::{Family, Metrics};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Cdn;
use super::config::CdnConfig;
use super::schedule::{Schedule, Taken};
use super::send::{Answer, Sender};

static REQUESTS: Family = Family::counter(
    "millpond_cdn_requests_total",
    "Purges sent to a CDN, by its answer: done, later (failed, timed out, too many), refused, or unnamed (a tag can't be named)",
    &["cdn", "outcome"],
);
static PURGED: Family =
    Family::counter("millpond_cdn_purged_tags_total", "Tags that a CDN has purged, second purges included", &["cdn"]);
static PENDING: Family = Family::gauge(
    "millpond_cdn_pending_tags",
    "Tags that are to be purged in a CDN, second purges included; one for all pages where they were too many",
    &["cdn"],
);
static OVERDUE: Family = Family::gauge(
    "millpond_cdn_overdue_seconds",
    "For how long the oldest change has been due in a CDN: because of its rate, or because it fails",
    &["cdn"],
);
static UP: Family =
    Family::gauge("millpond_cdn_available", "Whether the last purge of a CDN was done: 1, else 0", &["cdn"]);

/// How far a request has got.
const OUTCOMES: [&str; 4] = ["done", "later", "refused", "unnamed"];

pub(super) struct Lane {
    name: String,
    cdn: Box<dyn Cdn>,
    config: CdnConfig,
    sender: Sender,
    schedule: Mutex<Schedule>,
    more: Notify,
    requests: [AtomicU64; 4],
    purged: AtomicU64,
    up: AtomicBool,
}

/// What a lane that runs knows of its CDN's patience.
struct Pace {
    start: Instant,
    bucket: Bucket,
    backoff: Option<ExponentialBackoff>,
}

/// The request failed: this long has to pass before the next.
struct Rest(Duration);

impl Pace {
    fn new(config: &CdnConfig) -> Self {
        let mut bucket = Bucket::new(Duration::ZERO);
        bucket.set(config.rate(), config.burst(), Duration::ZERO);
        bucket.give_back(config.burst(), Duration::ZERO);
        Self { start: Instant::now(), bucket, backoff: None }
    }

    /// How long until the rate allows a request.
    fn turn(&mut self) -> Duration {
        self.bucket.wait(1.0, self.start.elapsed()).unwrap_or_default()
    }

    fn next_pause(&mut self, config: &CdnConfig) -> Duration {
        let pauses = || {
            ExponentialBuilder::default()
                .with_min_delay(config.retry_min())
                .with_max_delay(config.retry_max())
                .without_max_times()
                .with_jitter()
                .build()
        };
        self.backoff.get_or_insert_with(pauses).next().unwrap_or(config.retry_max())
    }
}

impl Lane {
    pub(super) fn new(name: String, cdn: Box<dyn Cdn>, config: CdnConfig, sender: Sender) -> Self {
        let mut schedule = Schedule::new(config.after(), config.again(), config.max_pending_tags);
        if config.purge_at_start {
            schedule.add_everything(Instant::now());
        }
        Self {
            name,
            cdn,
            sender,
            schedule: Mutex::new(schedule),
            more: Notify::new(),
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            purged: AtomicU64::new(0),
            up: AtomicBool::new(true),
            config,
        }
    }

    pub(super) fn purged(&self, tags: &[Tag]) {
        let now = Instant::now();
        let mut schedule = self.schedule();
        for tag in tags {
            schedule.add(tag, now);
        }
        drop(schedule);
        self.more.notify_one();
    }

    /// Purges until `finish`; then once what is left, and no retries.
    pub(super) async fn run(&self, finish: &CancellationToken) {
        let mut pace = Pace::new(&self.config);
        loop {
            let finishing = finish.is_cancelled();
            let next = self.schedule().next_due();
            match next {
                None if finishing => return,
                None => tokio::select! {
                    () = self.more.notified() => {}
                    () = finish.cancelled() => {}
                },
                Some(at) if !finishing && at > Instant::now() => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.more.notified() => {}
                    () = finish.cancelled() => {}
                },
                // The rate would take too long.
                Some(_) if finishing && pace.turn() > self.config.timeout() => return self.give_up(),
                Some(at) => {
                    // What is due in a moment is due now when all has to end.
                    match self.purge(&mut pace, at).await {
                        Ok(()) => {}
                        Err(_) if finishing => return self.give_up(),
                        Err(Rest(at_least)) => {
                            let pause = pace.next_pause(&self.config).max(at_least);
                            finish.run_until_cancelled(sleep(pause)).await;
                        }
                    }
                }
            }
        }
    }

    fn give_up(&self) {
        let pending = self.schedule().len();
        tracing::warn!(cdn = self.name, pending, "stopped before the CDN had purged what is due there");
    }

    /// One request for what is due by now and by `by`, as soon as the rate allows it.
    async fn purge(&self, pace: &mut Pace, by: Instant) -> Result<(), Rest> {
        sleep(pace.turn()).await;
        pace.bucket.spend(1.0, pace.start.elapsed());
        let taken = self.schedule().take(by.max(Instant::now()), self.cdn.limits());
        if taken.is_empty() {
            pace.bucket.give_back(1.0, pace.start.elapsed());
            return Ok(());
        }
        let tags: Vec<Tag> = taken.iter().map(|(tag, ..)| tag.clone()).collect();
        let answer = self.sender.send(&*self.cdn, &tags, self.config.timeout()).await;
        self.settle(pace, taken, answer)
    }

    /// What was sent is purged, or is due again.
    fn settle(&self, pace: &mut Pace, taken: Taken, answer: Answer) -> Result<(), Rest> {
        let now = Instant::now();
        let (outcome, why, rest) = match answer {
            Answer::Done => {
                self.requests[0].fetch_add(1, Ordering::Relaxed);
                self.purged.fetch_add(taken.len() as u64, Ordering::Relaxed);
                if !self.up.swap(true, Ordering::Relaxed) {
                    tracing::info!(cdn = self.name, "the CDN purges again");
                }
                pace.backoff = None;
                self.schedule().done(taken, now);
                return Ok(());
            }
            Answer::Later(why, after) => (1, why, after.unwrap_or_default().min(self.config.retry_after_max())),
            Answer::Refused(why) => (2, why, self.config.retry_max()),
            Answer::Unnamed(why) => (3, why, Duration::ZERO),
        };
        self.requests[outcome].fetch_add(1, Ordering::Relaxed);
        self.say(&why, OUTCOMES[outcome]);
        // It does not say which of the tags it can't take, so they are purged with all pages. If it does not take that either,
        // it refuses.
        let unnamed = outcome == 3 && taken.iter().any(|(tag, ..)| *tag != Tag::everything());
        if unnamed {
            self.schedule().add_everything(now);
        } else {
            self.schedule().failed(taken);
        }
        Err(Rest(rest))
    }

    fn say(&self, why: &str, outcome: &str) {
        if self.up.swap(false, Ordering::Relaxed) {
            tracing::error!(
                cdn = self.name,
                outcome,
                why,
                "the CDN does not purge: it keeps old pages until it does, or until they expire there; trying again for ever"
            );
        } else {
            tracing::debug!(cdn = self.name, outcome, why, "the CDN does not purge");
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows every lane.
pub(super) fn show(lanes: &Arc<Vec<Lane>>, metrics: &Metrics) {
    let lanes = Arc::clone(lanes);
    metrics.sample(&[&REQUESTS, &PURGED, &PENDING, &OVERDUE, &UP], move |samples| {
        for lane in lanes.iter() {
            let name = lane.name.as_str();
            for (outcome, count) in OUTCOMES.into_iter().zip(&lane.requests) {
                samples.count(&REQUESTS, &[name, outcome], count.load(Ordering::Relaxed));
            }
            samples.count(&PURGED, &[name], lane.purged.load(Ordering::Relaxed));
            let (pending, overdue) = {
                let schedule = lane.schedule();
                (schedule.len(), schedule.overdue(Instant::now()))
            };
            samples.number(&PENDING, &[name], pending as u64);
            samples.level(&OVERDUE, &[name], overdue.as_secs_f64());
            samples.number(&UP, &[name], u64::from(lane.up.load(Ordering::Relaxed)));
        }
    });
}
