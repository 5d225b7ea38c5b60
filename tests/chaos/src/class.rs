//! The closed list of faults: what each is called, where it strikes, and how long it lasts.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::world::Flow;

/// Faults of one room follow each other; those of different rooms overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// Millpond's own processes, the messages that reach them, Redis.
    Roles,
    /// RabbitMQ.
    Broker,
    /// PostgreSQL and the network.
    Database,
}

impl Room {
    /// Every room.
    pub const ALL: [Self; 3] = [Self::Roles, Self::Broker, Self::Database];
}

/// How long a class lasts and what it needs around it, in seconds.
struct Span {
    /// In a short run, which still has to see each class.
    short: RangeInclusive<u64>,
    /// In a run of ten minutes and more.
    long: RangeInclusive<u64>,
    /// How long undoing it takes at most: a server that starts, a queue that is emptied.
    undo: u64,
}

const fn span(short: RangeInclusive<u64>, long: RangeInclusive<u64>, undo: u64) -> Span {
    Span { short, long, undo }
}

const AT_ONCE: RangeInclusive<u64> = 0..=0;

macro_rules! classes {
    ($($(#[doc = $what:literal])+ $variant:ident = $name:literal, $room:ident, $span:expr, $targets:expr;)+) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class {
            $($(#[doc = $what])+ $variant),+
        }

        impl Class {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name, on the command line and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it does, in words.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => concat!($($what),+)),+ }
            }

            /// Where it strikes.
            pub const fn room(self) -> Room {
                match self { $(Self::$variant => Room::$room),+ }
            }

            /// What it can strike there; each in turn.
            pub const fn targets(self) -> &'static [&'static str] {
                match self { $(Self::$variant => $targets),+ }
            }

            const fn span(self) -> Span {
                match self { $(Self::$variant => $span),+ }
            }
        }
    };
}

/// A process of each role; as many as a run of 20 minutes has rounds, so that it strikes all of them.
const ROLES: &[&str] = &["checkout", "ingress", "relay", "parker", "analytics", "invalidation", "storefront", "ops"];
const WORKERS: &[&str] = &["checkout", "analytics", "parker", "relay", "checkout-2", "invalidation", "checkout-held"];
const SERVERS: &[&str] = &["rabbit", "postgres", "redis"];
const WAYS: &[&str] = &[
    "rabbit, to the server",
    "postgres, to the client",
    "rabbit, to the client",
    "postgres, to the server",
    "redis, to the client",
    "redis, to the server",
];
const RABBIT: &[&str] = &["rabbit"];
const POSTGRES: &[&str] = &["postgres"];
const REDIS: &[&str] = &["redis"];
const CHECKOUT: &[&str] = &["checkout"];

classes! {
    /// A role's process is killed with SIGKILL and started again.
    RoleKilled = "role-killed", Roles, span(0..=2, 0..=4, 2), ROLES;
    /// Every role is stopped with SIGTERM and started again, one after the other, under load.
    RollingRestart = "rolling-restart", Roles, span(AT_ONCE, AT_ONCE, 23), &["all roles"];
    /// A worker's process is stopped with SIGSTOP and goes on with SIGCONT.
    WorkerFrozen = "worker-frozen", Roles, span(5..=7, 5..=30, 1), WORKERS;
    /// A role's wall clock jumps by an hour, forward or back, and later returns.
    ClockStepped = "clock-stepped", Roles, span(3..=5, 5..=15, 4), &["checkout-held +1h", "ingress -1h", "ingress +1h", "relay -1h", "analytics +1h", "checkout -1h", "relay +1h", "analytics -1h"];
    /// Redis is killed with SIGKILL and comes back empty.
    RedisKilled = "redis-killed", Roles, span(1..=3, 2..=10, 2), REDIS;
    /// Everything in Redis is deleted.
    RedisFlushed = "redis-flushed", Roles, span(AT_ONCE, AT_ONCE, 0), REDIS;
    /// Redis is stopped with SIGSTOP: connections stay open and nobody answers.
    RedisFrozen = "redis-frozen", Roles, span(3..=5, 5..=30, 1), REDIS;
    /// Every order, batch of page events, fact of an order, or change of a product or its stock is delivered two to five times,
    /// and in another order.
    Duplicated = "duplicated", Roles, span(4..=6, 6..=15, 4), &Flow::NAMES;
    /// Messages that are no JSON.
    PoisonJson = "poison-json", Roles, span(AT_ONCE, AT_ONCE, 0), CHECKOUT;
    /// Messages of a version that nobody knows.
    PoisonVersion = "poison-version", Roles, span(AT_ONCE, AT_ONCE, 0), CHECKOUT;
    /// Orders that the database can't store.
    PoisonConstraint = "poison-constraint", Roles, span(AT_ONCE, AT_ONCE, 0), CHECKOUT;
    /// Orders on which checkout panics.
    PoisonPanic = "poison-panic", Roles, span(AT_ONCE, AT_ONCE, 0), CHECKOUT;
    /// Orders that take checkout's process down.
    PoisonAbort = "poison-abort", Roles, span(1..=1, 6..=10, 1), CHECKOUT;
    /// RabbitMQ is killed with SIGKILL and started again.
    BrokerKilled = "broker-killed", Broker, span(0..=1, 0..=5, 11), RABBIT;
    /// RabbitMQ is stopped in order and started again.
    BrokerRestarted = "broker-restarted", Broker, span(AT_ONCE, AT_ONCE, 16), RABBIT;
    /// RabbitMQ is stopped with SIGSTOP: connections stay open and nobody answers.
    BrokerFrozen = "broker-frozen", Broker, span(5..=6, 5..=30, 1), RABBIT;
    /// RabbitMQ raises its memory alarm.
    MemoryAlarm = "memory-alarm", Broker, span(2..=4, 3..=12, 3), RABBIT;
    /// RabbitMQ raises its disk alarm.
    DiskAlarm = "disk-alarm", Broker, span(2..=4, 3..=12, 3), RABBIT;
    /// The file system under RabbitMQ is full to the last byte, past its alarm.
    BrokerDiskFull = "broker-disk-full", Broker, span(4..=6, 5..=15, 12), RABBIT;
    /// Checkout's queue is deleted, once it has been emptied, and is declared again by those who need it.
    QueueDeleted = "queue-deleted", Broker, span(1..=2, 2..=5, 10), CHECKOUT;
    /// What binds checkout's queue to its exchange is removed; orders are parked as unrouted until it is back, and replayed.
    BindingRemoved = "binding-removed", Broker, span(3..=4, 4..=10, 7), CHECKOUT;
    /// A consumer is cancelled by the broker: the queue of purges, which are worth nothing later, is deleted.
    ConsumerCancelled = "consumer-cancelled", Broker, span(AT_ONCE, AT_ONCE, 2), &["invalidation"];
    /// All processes of PostgreSQL are stopped with SIGSTOP: connections stay open and nobody answers.
    DatabaseFrozen = "database-frozen", Database, span(5..=7, 5..=30, 1), POSTGRES;
    /// PostgreSQL is stopped with SIGQUIT, as `pg_ctl stop -m immediate` does, and started again.
    DatabaseStopped = "database-stopped", Database, span(1..=3, 2..=15, 4), POSTGRES;
    /// Every backend of the roles is ended by `pg_terminate_backend`.
    BackendsKilled = "backends-killed", Database, span(AT_ONCE, AT_ONCE, 1), POSTGRES;
    /// Connections to PostgreSQL are cut after COMMIT was sent and before its answer came.
    CommitCut = "commit-cut", Database, span(3..=5, 5..=12, 1), POSTGRES;
    /// The file system under PostgreSQL is full to the last byte.
    DatabaseDiskFull = "database-disk-full", Database, span(4..=6, 5..=15, 5), POSTGRES;
    /// The line to a server is slow in one direction: 20 to 200 ms for each piece.
    Latency = "net-latency", Database, span(3..=5, 5..=15, 1), WAYS;
    /// Connections to a server stay open on one side alone.
    HalfOpen = "net-half-open", Database, span(AT_ONCE, AT_ONCE, 1), WAYS;
    /// Connections to a server are reset.
    Reset = "net-reset", Database, span(AT_ONCE, AT_ONCE, 1), SERVERS;
    /// Connections to a server break in the middle of a frame.
    CutMidFrame = "net-cut", Database, span(1..=2, 1..=3, 1), WAYS;
    /// Nothing passes to a server or from it, and nobody is told.
    Blackhole = "net-blackhole", Database, span(3..=5, 5..=30, 1), WAYS;
}

impl Class {
    /// The class of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name() == name)
    }

    /// How long it lasts, seconds.
    pub(crate) fn lasts(self, short: bool) -> RangeInclusive<u64> {
        let Span { short: in_short, long, .. } = self.span();
        if short { in_short } else { long }
    }

    /// How long undoing it may take, seconds.
    pub(crate) fn undo(self) -> u64 {
        self.span().undo
    }

    /// Whether nothing else may happen beside it, because the harness itself could not tell a loss from its own deed.
    pub(crate) fn alone(self) -> bool {
        matches!(self, Self::QueueDeleted | Self::BrokerDiskFull)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
