//! Exchanges, queues and bindings as data. An implementation adds what belongs to every queue: its retry ladder, its
//! parked queue, and the alternate exchange behind every exchange.

use std::fmt;
use std::time::Duration;

/// The queue (and the alternate exchange in front of it) that keeps what no binding wanted. One message in it is an
/// alarm: see [`crate::watch_unrouted`].
pub const UNROUTED: &str = "millpond.unrouted";

/// The exchange that leads to each declared queue by its name, and to no other: every broker has it, with [`UNROUTED`] as
/// its alternate. What goes to one consumer alone goes through it ([`crate::Publish::to_queue`]).
pub const QUEUES: &str = "millpond.copies.v1";

/// Delays of a queue's retry ladder, where its spec names no others: a blink, a restart, a failover, an outage.
pub const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1), Duration::from_mins(10)];

macro_rules! name_type {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name `text`.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// An exchange's name. Arguments of an exchange can't change later, so names carry a version.
    ExchangeName
);
name_type!(
    /// A queue's name. Arguments of a queue can't change later, so names carry a version.
    QueueName
);

impl QueueName {
    /// Where [`crate::Settle::Park`] puts this queue's messages.
    #[must_use]
    pub fn parked(&self) -> Self {
        Self(format!("{self}.parked"))
    }

    /// The queue that holds this queue's messages for `delay` and then hands them back.
    #[must_use]
    pub fn retry(&self, delay: Duration) -> Self {
        if delay.subsec_millis() == 0 {
            Self(format!("{self}.retry.{}s", delay.as_secs()))
        } else {
            Self(format!("{self}.retry.{}ms", delay.as_millis()))
        }
    }

    /// The queue of unroutable messages.
    pub fn unrouted() -> Self {
        Self::new(UNROUTED)
    }
}

/// A durable queue (quorum on RabbitMQ) with its ladder and its parked queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSpec {
    /// Its name.
    pub name: QueueName,
    /// The retry ladder, ascending, whole milliseconds; never empty.
    pub retry_delays: Vec<Duration>,
}

impl QueueSpec {
    /// A queue with the usual ladder, [`RETRY_DELAYS`].
    pub fn new(name: QueueName) -> Self {
        Self { name, retry_delays: RETRY_DELAYS.to_vec() }
    }

    /// The rung for a wish: the first delay that is no shorter, else the last.
    pub fn rung(&self, after: Duration) -> Duration {
        rung(&self.retry_delays, after)
    }
}

/// The first of `delays` that is no shorter than `after`, else the last; `after` itself where there are none.
pub fn rung(delays: &[Duration], after: Duration) -> Duration {
    delays.iter().find(|delay| **delay >= after).or(delays.last()).copied().unwrap_or(after)
}

/// Messages of `exchange` whose routing key equals `routing_key` go to `queue`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// From.
    pub exchange: ExchangeName,
    /// Matched exactly: the exchanges are direct ones.
    pub routing_key: String,
    /// To.
    pub queue: QueueName,
}

/// Everything that a role declares before it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Durable direct exchanges, each with [`UNROUTED`] as its alternate.
    pub exchanges: Vec<ExchangeName>,
    /// Queues.
    pub queues: Vec<QueueSpec>,
    /// Bindings.
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// Adds `queue`, bound to `exchange` by each of `routing_keys`.
    #[must_use]
    pub fn with_queue<'a>(
        mut self,
        exchange: &ExchangeName,
        queue: QueueSpec,
        routing_keys: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        if !self.exchanges.contains(exchange) {
            self.exchanges.push(exchange.clone());
        }
        self.bindings.extend(routing_keys.into_iter().map(|key| Binding {
            exchange: exchange.clone(),
            routing_key: key.to_owned(),
            queue: queue.name.clone(),
        }));
        self.queues.push(queue);
        self
    }

    /// Both topologies as one; what both have is there once.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.exchanges.extend(other.exchanges.into_iter().filter(|e| !self.exchanges.contains(e)).collect::<Vec<_>>());
        self.queues.extend(other.queues.into_iter().filter(|q| !self.queues.contains(q)).collect::<Vec<_>>());
        self.bindings.extend(other.bindings.into_iter().filter(|b| !self.bindings.contains(b)).collect::<Vec<_>>());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_at_least_as_long_as_asked_or_on_the_last_rung() {
        let queue = QueueSpec::new(QueueName::new("q"));
        assert_eq!(queue.rung(Duration::ZERO), Duration::from_secs(1));
        assert_eq!(queue.rung(Duration::from_millis(1_001)), Duration::from_secs(10));
        assert_eq!(queue.rung(Duration::from_hours(1)), Duration::from_mins(10));
    }

    #[test]
    fn queues_around_a_queue_are_named_after_it() {
        let queue = QueueName::new("millpond.checkout.eu.v1");
        assert_eq!(queue.parked().as_str(), "millpond.checkout.eu.v1.parked");
        assert_eq!(queue.retry(Duration::from_secs(10)).as_str(), "millpond.checkout.eu.v1.retry.10s");
        assert_eq!(queue.retry(Duration::from_millis(50)).as_str(), "millpond.checkout.eu.v1.retry.50ms");
    }
}
