//! The loop of one database: look, claim, publish, settle.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerState, ExchangeName, Publish, PublishError};
use model::EventId;
use sea_orm::DbErr;
use store::Database;
use store::outbox::{self, Claim, Outgoing};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::alarm::{AgeAlarm, Change, Pause};
use crate::config::Config;
use crate::meters::Meters;
use crate::run::Error;

/// How often the rows are counted, and how far: a count reads every row, so it is for people and not for each pass.
const COUNT_EVERY: Duration = Duration::from_secs(5);
const COUNT_UP_TO: u32 = 100_000;

pub(crate) struct Pump {
    config: Config,
    database: Arc<Database>,
    broker: Arc<dyn Broker>,
    age: AgeAlarm,
    meters: Meters,
    counted: Option<Instant>,
    /// What the last try failed for; told when it changes.
    trouble: Option<String>,
}

/// What one look at the outbox came to.
#[derive(Debug, Default)]
struct Pass {
    /// Rows that were confirmed, and deleted.
    confirmed: usize,
    /// The first reason why a row was not confirmed.
    refused: Option<PublishError>,
}

impl Pump {
    pub(crate) fn new(config: Config, database: Arc<Database>, broker: Arc<dyn Broker>, meters: Meters) -> Self {
        let age = AgeAlarm::new(config.alarm_age());
        Self { config, database, broker, age, meters, counted: None, trouble: None }
    }

    /// Runs until `stop`, then ends with the batch in hand.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        match self.database.wait_until_ready(stop.cancelled()).await {
            Err(store::Error::Stopped(_)) => return Ok(()),
            outcome => outcome?,
        }
        let mut idle = Pause::new(self.config.poll(), self.config.idle_poll());
        let mut backoff = Pause::new(self.config.poll(), self.config.max_backoff());
        while !stop.is_cancelled() {
            let pause = match self.pass().await {
                Ok(pass) => {
                    self.meters.relayed(pass.confirmed);
                    match &pass.refused {
                        Some(error) => self.failed(error.to_string()),
                        None => self.recovered(),
                    }
                    // One message that the broker won't have must not slow down its neighbours.
                    let stuck = pass.refused.is_some() && pass.confirmed == 0;
                    if !stuck {
                        backoff.reset();
                    }
                    if pass.confirmed > 0 {
                        idle.reset();
                    }
                    if pass.confirmed == self.config.batch as usize {
                        continue; // more is waiting
                    }
                    if stuck { backoff.take() } else { idle.take() }
                }
                Err(trouble) => {
                    self.failed(trouble);
                    backoff.take()
                }
            };
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        Ok(())
    }

    /// One batch. `Err` says in words what is in the way; the rows stay.
    async fn pass(&mut self) -> Result<Pass, String> {
        let age = outbox::oldest_age(&self.database).await.map_err(|error| {
            self.meters.unknown();
            in_words(error)
        })?;
        self.tell_age(age);
        if age.is_none() {
            self.meters.rows(0);
            return Ok(Pass::default());
        }
        self.count().await;
        // Asked before the claim: a claim that can't be published would keep its rows from a relay that can.
        match self.broker.state() {
            BrokerState::Ready => {}
            BrokerState::Blocked => return Err("the broker has an alarm and takes no publishes".to_owned()),
            BrokerState::Disconnected => return Err("the broker is not connected".to_owned()),
        }
        let claim = outbox::claim(&self.database, self.config.batch, self.config.lease()).await.map_err(in_words)?;
        if claim.rows().is_empty() { Ok(Pass::default()) } else { publish(&*self.broker, claim).await }
    }

    /// For people alone: where it fails, the messages are relayed all the same.
    async fn count(&mut self) {
        if self.counted.is_some_and(|last| last.elapsed() < COUNT_EVERY) {
            return;
        }
        self.counted = Some(Instant::now());
        match outbox::count(&self.database, COUNT_UP_TO).await {
            Ok(rows) => self.meters.rows(rows),
            Err(error) => {
                self.meters.unknown_rows();
                tracing::debug!(store.database = self.database.name(), %error, "the outbox could not be counted");
            }
        }
    }

    fn tell_age(&mut self, age: Option<Duration>) {
        self.meters.age(age);
        let database = self.database.name();
        let age_s = age.unwrap_or_default().as_secs();
        match self.age.observe(age) {
            Some(Change::Raised) => tracing::error!(
                store.database = database,
                outbox.age_s = age_s,
                "the oldest message of the outbox of {database} has waited for {age_s} s: is the broker away, or no \
                 relay quick enough?"
            ),
            Some(Change::Over) => tracing::info!(
                store.database = database,
                outbox.age_s = age_s,
                "the outbox of {database} has caught up"
            ),
            None => {}
        }
    }

    fn failed(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            let database = self.database.name();
            tracing::warn!(store.database = database, "the outbox of {database} is held: {trouble}");
            self.trouble = Some(trouble);
        }
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some() {
            let database = self.database.name();
            tracing::info!(store.database = database, "the outbox of {database} flows again");
        }
    }
}

/// Publishes what `claim` holds, deletes what was confirmed and gives the rest back.
async fn publish(broker: &dyn Broker, claim: Claim<'_>) -> Result<Pass, String> {
    let outcomes = broker.publish(claim.rows().iter().map(to_publish).collect()).await;
    let mut confirmed: Vec<EventId> = Vec::with_capacity(claim.rows().len());
    let mut refused = None;
    for (row, outcome) in claim.rows().iter().zip(outcomes) {
        match outcome {
            Ok(()) => confirmed.push(row.id),
            Err(_) if failpoint::broken!(DeleteUnconfirmed) => confirmed.push(row.id),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    claim.settle(&confirmed).await.map_err(in_words)?;
    Ok(Pass { confirmed: confirmed.len(), refused })
}

fn to_publish(row: &Outgoing) -> Publish {
    Publish {
        exchange: ExchangeName::new(row.exchange.clone()),
        routing_key: row.routing_key.clone(),
        message: row.message.clone(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn in_words(error: DbErr) -> String {
    error.to_string()
}
