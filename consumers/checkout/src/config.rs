//! Settings of checkout.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// The part `[checkout]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How messages are taken, batched and retried.
    pub worker: worker::Config,
    /// Who decides what becomes of an order.
    pub outcome: OutcomeSource,
    /// For orders of browser keys: how long before the page was shown a price may have been replaced and still stand,
    /// seconds. At least as long as the shop's pages may be cached.
    pub price_grace_s: u32,
    /// How long an order's units are held for its payment, seconds: it is `reserved`, and confirmed once the shop's own system
    /// says that it was paid. 0: nobody waits for a payment, and an order is confirmed at once. The same for every process of
    /// a region.
    pub reserve_s: u32,
    /// How reservations whose time is up are released.
    pub expiry: Expiry,
    /// Committed batches that may wait for the status cache; what does not fit is read from the database. 1 or more.
    pub status_queue_batches: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            // Measured: a transaction has eight round trips and a sync whatever its size. From 128 orders to 500 the drain
            // gains a quarter, beyond that little. An order has 64 KiB at most, so that 1,024 ahead hold 64 MiB at most.
            worker: worker::Config { prefetch: 1_024, batch: 500, ..worker::Config::default() },
            outcome: OutcomeSource::Own,
            price_grace_s: 900,
            reserve_s: 0,
            expiry: Expiry::default(),
            status_queue_batches: 64,
        }
    }
}

impl Config {
    /// Whether these settings can work.
    ///
    /// # Errors
    /// Which can't, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.status_queue_batches == 0 {
            return Err("checkout.status_queue_batches is 0: set it to 1 or more".to_owned());
        }
        if self.expiry.batch == 0 || self.expiry.interval_ms == 0 {
            return Err("checkout.expiry: batch and interval_ms must be 1 or more".to_owned());
        }
        self.worker.check().map_err(|error| format!("checkout.{error}"))
    }

    pub(crate) fn price_grace(&self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.price_grace_s))
    }
}

/// The part `[checkout.expiry]`: a sweep is one transaction, and each process that serves a region sweeps it. The two bound
/// what sweeping writes, however many reservations run out at once: it does not pay for its rows from the database's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expiry {
    /// Pause between two sweeps, milliseconds; half of it, up to half as much again, by chance. 1 or more.
    pub interval_ms: u64,
    /// Orders that one sweep releases at most; 1 or more.
    pub batch: u32,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { interval_ms: 1_000, batch: 200 }
    }
}

/// Where an order's outcome comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeSource {
    /// Millpond keeps the stock, and decides.
    #[default]
    Own,
}
