//! Limits under overload, as an operator sets them.

use std::time::Duration;

use flow::{Limits, Policy};
use serde::{Deserialize, Serialize};

/// When requests are not taken any more although there is room for them here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OverloadConfig {
    /// How often the queues are looked at, milliseconds; 100 or more.
    pub look_ms: u64,
    /// How long a worker's last heartbeat is believed, milliseconds.
    pub heartbeat_expires_ms: u64,
    /// Once shed, a class is taken again when the load is below so many percent of its limit, 1 to 100.
    pub resume_percent: u8,
    /// `Retry-After` where nothing is known of the queue, seconds: up to twice as much; 1 or more.
    pub retry_after_s: u32,
    /// `Retry-After` at most, seconds: up to twice as much; 1 or more.
    pub max_retry_after_s: u32,
    /// Where orders end.
    pub orders: LimitsConfig,
    /// Where page events end; none above those of orders.
    pub events: LimitsConfig,
}

/// Where a class ends; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Bytes of bodies in this process, orders and events together.
    pub held_bytes: u64,
    /// Bytes that wait on the broker; an estimate. Of orders: orders alone; of events: all that their broker carries, orders
    /// and events together where both have one.
    pub waiting_bytes: u64,
    /// Age of the oldest message of the class's queue that a worker just took, seconds.
    pub oldest_s: u64,
}

impl Default for OverloadConfig {
    fn default() -> Self {
        Self {
            look_ms: 1_000,
            heartbeat_expires_ms: 5_000,
            resume_percent: 80,
            retry_after_s: 5,
            max_retry_after_s: 60,
            orders: LimitsConfig { held_bytes: 0, waiting_bytes: 4 << 30, oldest_s: 0 },
            events: LimitsConfig { held_bytes: 96 << 20, waiting_bytes: 256 << 20, oldest_s: 900 },
        }
    }
}

impl OverloadConfig {
    /// The policy, or what can't work, in words.
    pub(crate) fn policy(&self) -> Result<Policy, String> {
        let times = [
            ("look_ms", self.look_ms, 100),
            ("heartbeat_expires_ms", self.heartbeat_expires_ms, 1),
            ("retry_after_s", self.retry_after_s.into(), 1),
            ("max_retry_after_s", self.max_retry_after_s.into(), self.retry_after_s.into()),
        ];
        if let Some((name, _, least)) = times.iter().find(|(_, value, least)| !(*least..=3_600_000).contains(value)) {
            return Err(format!("overload.{name} must be {least} to 3600000"));
        }
        let (orders, events) = (self.orders.limits(), self.events.limits());
        // Nobody edits the catalogue through this role: a class between the two, as near to orders as can be.
        Policy::new([orders, orders, events], self.resume_percent).map_err(|fault| format!("overload: {fault}"))
    }
}

impl LimitsConfig {
    fn limits(self) -> Limits {
        Limits {
            held_bytes: self.held_bytes,
            waiting_bytes: self.waiting_bytes,
            oldest: Duration::from_secs(self.oldest_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_would_shed_orders_first_are_refused_by_name() {
        assert!(OverloadConfig::default().policy().is_ok());
        let orders = LimitsConfig { waiting_bytes: 1, ..LimitsConfig::default() };
        let wrong = OverloadConfig { orders, ..OverloadConfig::default() };
        assert!(wrong.policy().unwrap_err().contains("waiting_bytes of orders is below that of events"));
        let wrong = OverloadConfig { look_ms: 5, ..OverloadConfig::default() };
        assert!(wrong.policy().unwrap_err().contains("overload.look_ms must be 100"));
    }
}
