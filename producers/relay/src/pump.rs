//! The loop of one database: look, claim, publish, settle.

use std::sync::Arc;

use broker::{Broker, BrokerState, ExchangeName, Publish, PublishError};
use model::EventId;
use sea_orm::DbErr;
use store::Database;
use store::outbox::{self, Claim, Outgoing};
use tokio_util::sync::CancellationToken;

use crate::alarm::{AgeAlarm, Change, Pause};
use crate::config::Config;
use crate::run::Error;

pub(crate) struct Pump {
    config: Config,
    database: Arc<Database>,
    broker: Arc<dyn Broker>,
    age: AgeAlarm,
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
    pub(crate) fn new(config: Config, database: Arc<Database>, broker: Arc<dyn Broker>) -> Self {
        let age = AgeAlarm::new(config.alarm_age());
        Self { config, database, broker, age, trouble: None }
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
        let age = outbox::oldest_age(&self.database).await.map_err(in_words)?;
        self.tell_age(age);
        if age.is_none() {
            return Ok(Pass::default());
        }
        // Asked before the claim: a claim that can't be published would keep its rows from a relay that can.
        match self.broker.state() {
            BrokerState::Ready => {}
            BrokerState::Blocked => return Err("the broker has an alarm and takes no publishes".to_owned()),
            BrokerState::Disconnected => return Err("the broker is not connected".to_owned()),
        }
        let claim = outbox::claim(&self.database, self.config.batch, self.config.lease()).await.map_err(in_words)?;
        if claim.rows().is_empty() { Ok(Pass::default()) } else { publish(&*self.broker, claim).await }
    }

    fn tell_age(&mut self, age: Option<std::time::Duration>) {
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
