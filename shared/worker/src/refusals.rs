//! Copies that the broker refuses, and the pause that follows.
//!
//! A retry or a park is a copy. Where the broker refuses it (the parked queue is full, say) the original is back at the
//! head of its queue, comes again at once and fails again at once, as fast as the machine can go. So after a refusal no
//! batch is taken for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::alarm::Alarm;
use crate::config::Config;

/// The refusals of one worker.
#[derive(Debug)]
pub(crate) struct Refusals {
    pause: Duration,
    until: Mutex<Option<Instant>>,
    alarm: Alarm,
}

impl Refusals {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            pause: config.give_back(),
            until: Mutex::default(),
            alarm: Alarm::new(Duration::from_millis(config.unknown_alarm_every_ms)),
        }
    }

    /// A copy was refused. `Some` when it is time to say so: how many there were since.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(now + self.pause);
        self.alarm.ring(now)
    }

    /// Ends when the next batch may be taken.
    pub(crate) async fn pause(&self) {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            sleep_until(until).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_costs_one_pause_and_is_told_once_in_a_while() {
        let refusals = Refusals::new(&Config { give_back_ms: 1_000, ..Config::default() });
        let start = Instant::now();
        refusals.pause().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!((refusals.note(start), refusals.note(start)), (Some(1), None));
        refusals.pause().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        refusals.pause().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1), "no refusal since");
    }
}
