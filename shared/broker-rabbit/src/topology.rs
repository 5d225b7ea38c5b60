//! A [`Topology`] as RabbitMQ's exchanges, queues and arguments.
//!
//! For a queue `q`:
//! - `q`: quorum, `reject-publish`; what the operator's delivery limit takes out goes to `q.parked`, at least once.
//! - `q.retry.<d>`: quorum, a fixed time to live, then back to `q` alone through the default exchange, at least once.
//! - `q.parked`: quorum; what a delivery limit takes out (20 by default from RabbitMQ 4.0) goes to `millpond.unrouted`,
//!   because without a dead-letter exchange the limit would drop it.
//! - [`QUEUES`], a direct exchange with the unrouted queue as its alternate, leads to each of these by its name. Copies
//!   for retry and park, and replays, go through it and not through the default exchange, which has no alternate: a copy
//!   for a queue that somebody deleted is kept and alarmed.
//!
//! All of this is arguments, not policy: correctness needs it, and an AMQP client can't set policies.

use broker::topology::{QUEUES, UNROUTED};
use broker::{BrokerError, QueueName, QueueSpec, Topology};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::fault::Fault;

/// Deliveries after which RabbitMQ may drop from the unrouted queue: never, in practice. That queue is the end of the
/// line, it has nowhere to pass a message on to.
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// Why a declaration failed.
#[derive(Debug)]
pub(crate) enum DeclareError {
    /// Waiting can't mend it.
    Fatal(BrokerError),
    /// Worth another try on another connection.
    Lost(String),
}

/// Declares the exchanges that every broker has, and `topology`.
pub(crate) async fn declare(channel: &Channel, topology: &Topology) -> Result<(), DeclareError> {
    let declaring = Declaring { channel };
    declaring.exchange(UNROUTED, ExchangeKind::Fanout, FieldTable::default()).await?;
    declaring.queue(UNROUTED, unrouted_arguments()).await?;
    declaring.bind(UNROUTED, UNROUTED, "").await?;
    declaring.exchange(QUEUES, ExchangeKind::Direct, with_alternate()).await?;
    for exchange in &topology.exchanges {
        declaring.exchange(exchange.as_str(), ExchangeKind::Direct, with_alternate()).await?;
    }
    for queue in &topology.queues {
        declaring.ladder(queue).await?;
    }
    for binding in &topology.bindings {
        declaring.bind(binding.queue.as_str(), binding.exchange.as_str(), &binding.routing_key).await?;
    }
    Ok(())
}

struct Declaring<'a> {
    channel: &'a Channel,
}

impl Declaring<'_> {
    /// The queue itself comes first. A node keeps the names of its quorum queues in a table that reaches its file when the
    /// next one is declared, or half a second to a second later: one that is killed before has lost the queue with all that
    /// was confirmed, and waits for ever for its leader (seen with 3.10.8; `ra_directory` of Ra 2.2). The last is the one
    /// where nothing is yet. What is published comes here only once the bindings are there, after every queue.
    async fn ladder(&self, queue: &QueueSpec) -> Result<(), DeclareError> {
        let parked = queue.name.parked();
        self.queue(queue.name.as_str(), queue_arguments(&parked)).await?;
        self.bind(queue.name.as_str(), QUEUES, queue.name.as_str()).await?;
        for delay in &queue.retry_delays {
            let rung = queue.name.retry(*delay);
            let ttl_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
            self.queue(rung.as_str(), rung_arguments(&queue.name, ttl_ms)).await?;
            self.bind(rung.as_str(), QUEUES, rung.as_str()).await?;
        }
        self.queue(parked.as_str(), parked_arguments()).await?;
        self.bind(parked.as_str(), QUEUES, parked.as_str()).await
    }

    async fn queue(&self, name: &str, arguments: FieldTable) -> Result<(), DeclareError> {
        // Durable: a quorum queue can't be otherwise. Neither exclusive nor deleted with its last consumer: messages
        // wait for consumers that are away.
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(short("queue", name)?, options, arguments).await;
        declared.map(|_queue| ()).map_err(|error| explained("queue", name, error.into()))
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind, arguments: FieldTable) -> Result<(), DeclareError> {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = self.channel.exchange_declare(short("exchange", name)?, kind, options, arguments).await;
        declared.map_err(|error| explained("exchange", name, error.into()))
    }

    async fn bind(&self, queue: &str, exchange: &str, routing_key: &str) -> Result<(), DeclareError> {
        let (name, source, key) =
            (short("queue", queue)?, short("exchange", exchange)?, short("routing key", routing_key)?);
        let bound =
            self.channel.queue_bind(name, source, key, QueueBindOptions::default(), FieldTable::default()).await;
        bound.map_err(|error| explained("binding of queue", queue, error.into()))
    }
}

fn short(what: &str, name: &str) -> Result<ShortString, DeclareError> {
    ShortString::try_new(name).map_err(|error| {
        DeclareError::Fatal(BrokerError::Configuration(format!("the {what} name {name:?} can't be used: {error}")))
    })
}

fn explained(what: &str, name: &str, fault: Fault) -> DeclareError {
    match fault {
        Fault::Precondition(words) => DeclareError::Fatal(BrokerError::Conflict(format!(
            "the {what} {name} is there with other arguments, and arguments can't be changed. RabbitMQ says: {words}. \
             What to do: let consumers drain it, delete it (`rabbitmqctl delete_queue NAME`, or the management page) \
             and start again; or give it a new version in its name"
        ))),
        Fault::Refused(words) => DeclareError::Fatal(BrokerError::Configuration(format!(
            "the user may not declare the {what} {name}. RabbitMQ says: {words}. What to do: `rabbitmqctl \
             set_permissions -p VHOST USER '^millpond\\.' '.*' '.*'`"
        ))),
        Fault::NotFound => DeclareError::Lost(format!("the {what} {name} was deleted meanwhile")),
        Fault::Lost(words) => DeclareError::Lost(words),
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

fn with_alternate() -> FieldTable {
    if failpoint::broken!(NoAlternate) {
        return FieldTable::default();
    }
    table([("alternate-exchange", text(UNROUTED))])
}

/// Dead-lettering is safe only with all of these, and with persistent messages: the default strategy loses what the
/// target does not take, and the default overflow drops from the head.
fn dead_lettering_to(routing_key: &str) -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(routing_key)),
    ])
}

fn queue_arguments(parked: &QueueName) -> FieldTable {
    dead_lettering_to(parked.as_str())
}

fn parked_arguments() -> FieldTable {
    dead_lettering_to(UNROUTED)
}

fn rung_arguments(home: &QueueName, ttl_ms: i64) -> FieldTable {
    let mut arguments = dead_lettering_to(home.as_str());
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(ttl_ms));
    arguments
}

fn unrouted_arguments() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        ("x-overflow", text("reject-publish")),
        ("x-delivery-limit", AMQPValue::LongLongInt(NO_DELIVERY_LIMIT)),
    ])
}
