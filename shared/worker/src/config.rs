//! Settings of the loop and of the breaker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How messages are taken, batched, tried and given up on. The default suits a database on the same network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Deliveries that the broker hands out ahead of their settlement, 1 to 65,535. A quarter of them may be retries
    /// that wait for a broker that takes no publishes; the other three quarters have to hold every batch.
    pub prefetch: u16,
    /// Messages in one call of the handler, at most; 1 or more.
    pub batch: usize,
    /// Bytes of bodies in one batch; the message that reaches it is the batch's last.
    pub batch_bytes: usize,
    /// How long a batch waits for its next messages once it has its first, milliseconds. Under load it never waits.
    pub linger_ms: u64,
    /// Batches handled at the same time; 1 or more. With more than one, messages of one queue overtake each other.
    pub parallel_batches: usize,
    /// How long one call of the handler may take, milliseconds. Longer than the database's own statement and lock
    /// timeouts, which say better what was wrong.
    pub handle_timeout_ms: u64,
    /// How often a batch that met a lock is tried again before it is bisected.
    pub contention_retries: u32,
    /// The first wait before that, milliseconds; it doubles, and half of it is chance.
    pub contention_backoff_ms: u64,
    /// The longest such wait, milliseconds.
    pub contention_backoff_max_ms: u64,
    /// The failure that parks a message, counted from 1. Waiting for the infrastructure is none, nor is a lock.
    pub park_after_attempts: u32,
    /// How long deliveries are held for a database that is away before they go back to the queue and the subscription
    /// is dropped until it answers, milliseconds. Stay well below the broker's consumer timeout (RabbitMQ: 30 minutes),
    /// which closes the channel and counts a delivery for each message on it.
    pub hold_ms: u64,
    /// How long a retry that found its share of the prefetch taken waits before it goes back to the queue, and how long no
    /// batch is taken after the broker refused a copy, milliseconds: what goes back comes again at once.
    pub give_back_ms: u64,
    /// How often the broker is looked at while retries are held for it, milliseconds; 1 or more.
    pub held_poll_ms: u64,
    /// Redeliveries that make a message a suspect, to be handled apart; 1 or more. A connection that breaks counts for
    /// everything that was prefetched on it, so leave room for some of those.
    pub alone_after: u32,
    /// Redeliveries beyond that, while it was handled in ever smaller company, after which a suspect is put on trial. 1 or more:
    /// with 1 every suspect runs with seven others at once, and a thousand neighbours of a culprit take some ten seconds.
    pub park_after_crashes: u32,
    /// Runs alone of a message on trial, noted in the database before each, that ended with the process; after so many it is
    /// parked before it runs again. 1 or more: with 1 a process that happens to be killed in such a moment parks an innocent.
    pub park_after_trials: u32,
    /// How long the worker pauses before it runs suspects, milliseconds: the acks of those before it should be with the
    /// broker, and on its disk, when the process dies. Else they come again, and the innocent stand first in line.
    pub alone_pause_ms: u64,
    /// How many messages that this process itself gave back are remembered, so that this is not held against them.
    pub remembered_redeliveries: usize,
    /// How often at most the alarm for messages of an unknown type or version is logged, and the one for copies that the
    /// broker refuses, milliseconds.
    pub unknown_alarm_every_ms: u64,
    /// How often the worker tells whoever listens how it does, milliseconds; 1 or more. What listens takes a worker that
    /// was silent for some seconds for unknown.
    pub heartbeat_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefetch: 512,
            batch: 128,
            batch_bytes: 8 << 20,
            linger_ms: 5,
            parallel_batches: 1,
            handle_timeout_ms: 30_000,
            contention_retries: 5,
            contention_backoff_ms: 10,
            contention_backoff_max_ms: 500,
            park_after_attempts: 8,
            hold_ms: 300_000,
            give_back_ms: 1_000,
            held_poll_ms: 100,
            alone_after: 3,
            park_after_crashes: 3,
            park_after_trials: 2,
            alone_pause_ms: 50,
            remembered_redeliveries: 10_000,
            unknown_alarm_every_ms: 60_000,
            heartbeat_ms: 1_000,
        }
    }
}

impl Config {
    /// Whether these settings can work together.
    ///
    /// # Errors
    /// [`Error::Config`], which names the setting and what to do.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [
            ("prefetch", usize::from(self.prefetch)),
            ("batch", self.batch),
            ("parallel_batches", self.parallel_batches),
            ("park_after_attempts", self.park_after_attempts as usize),
            ("alone_after", self.alone_after as usize),
            ("park_after_crashes", self.park_after_crashes as usize),
            ("park_after_trials", self.park_after_trials as usize),
            ("handle_timeout_ms", usize::try_from(self.handle_timeout_ms).unwrap_or(usize::MAX)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(Error::Config(format!("worker.{name} is 0: set it to 1 or more")));
        }
        let room = usize::from(self.prefetch) - self.held_share();
        let wanted = self.batch.saturating_mul(self.parallel_batches);
        if wanted > room {
            return Err(Error::Config(format!(
                "worker.batch times worker.parallel_batches is {wanted}, but of worker.prefetch = {} only {room} are \
                 for batches (a quarter is kept for retries): raise prefetch, or lower one of the others",
                self.prefetch
            )));
        }
        Ok(())
    }

    /// How many retries may be held: a quarter of the prefetch.
    pub(crate) fn held_share(&self) -> usize {
        usize::from(self.prefetch) / 4
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    pub(crate) fn handle_timeout(&self) -> Duration {
        Duration::from_millis(self.handle_timeout_ms)
    }

    pub(crate) fn alone_pause(&self) -> Duration {
        Duration::from_millis(self.alone_pause_ms)
    }

    pub(crate) fn hold(&self) -> Duration {
        Duration::from_millis(self.hold_ms)
    }

    pub(crate) fn held_poll(&self) -> Duration {
        Duration::from_millis(self.held_poll_ms.max(1))
    }

    pub(crate) fn give_back(&self) -> Duration {
        Duration::from_millis(self.give_back_ms)
    }
}

/// How a breaker probes and recovers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerConfig {
    /// The wait before the first probe, milliseconds; it doubles with each failure, and half of it is chance, so that
    /// many processes do not ask in step.
    pub probe_first_ms: u64,
    /// The longest wait between probes, milliseconds.
    pub probe_max_ms: u64,
    /// How long a probe may take, milliseconds.
    pub probe_timeout_ms: u64,
    /// After an outage batches begin with one message and double with each success; the one that would reach this size
    /// closes the breaker. 1 or more.
    pub ramp_until: usize,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { probe_first_ms: 100, probe_max_ms: 10_000, probe_timeout_ms: 2_000, ramp_until: 64 }
    }
}

impl BreakerConfig {
    pub(crate) fn probe_timeout(&self) -> Duration {
        Duration::from_millis(self.probe_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_work() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn batches_that_the_prefetch_can_not_fill_are_refused_with_what_to_do() {
        let config = Config { prefetch: 100, batch: 40, parallel_batches: 2, ..Config::default() };
        let Err(Error::Config(message)) = config.check() else { panic!("accepted") };
        assert!(message.contains("75 are for batches") && message.contains("raise prefetch"), "{message}");
        assert!(Config { batch: 0, ..Config::default() }.check().is_err());
    }

    #[test]
    fn an_unknown_setting_is_an_error_and_a_missing_one_has_its_default() {
        let config: Config = serde_json::from_str(r#"{"batch": 7}"#).unwrap();
        assert_eq!(config, Config { batch: 7, ..Config::default() });
        assert!(serde_json::from_str::<Config>(r#"{"batches": 7}"#).is_err());
        assert!(serde_json::from_str::<BreakerConfig>(r#"{"ramp": 7}"#).is_err());
    }
}
