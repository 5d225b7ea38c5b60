//! The mark that Millpond's own rates are held against: lapin by hand, with nothing of Millpond around it, on a queue of
//! the same type and arguments.
//!
//! ```text
//! raw_amqp publish AMQP_URL WINDOW SECONDS   confirmed publishes, WINDOW of them awaited at once
//! raw_amqp pace AMQP_URL PER_S SECONDS       confirmed publishes at a constant rate, an open loop
//! raw_amqp consume AMQP_URL MESSAGES         a backlog of MESSAGES, prefetch 1,024, one ack for every 500
//! ```
//!
//! Bodies have 1,024 bytes. Prints `messages N` and `per_s N`, and with `pace` also `p50_ms N` and `p99_ms N`; a publish that is not confirmed is an error. The queue is
//! new, and deleted at the end.

mod consume;
mod pace;
mod publish;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Connection, ConnectionProperties};

/// The bodies' size, bytes: an order as it is published has about as many.
const BODY_BYTES: usize = 1_024;
const QUEUE: &str = "raw.bench.v1";
const DEAD: &str = "raw.bench.v1.parked";
const USAGE: &str = "usage: raw_amqp publish AMQP_URL WINDOW SECONDS | raw_amqp pace AMQP_URL PER_S SECONDS | raw_amqp consume AMQP_URL MESSAGES";

/// Messages, and the time that they took.
struct Rate {
    messages: u64,
    took: Duration,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [_, url, ..] = words[..] else { bail!(USAGE) };
    let connection = Connection::connect(url, ConnectionProperties::default()).await.context("RabbitMQ answers")?;
    declare(&connection).await?;
    let lasting = |seconds: &str| seconds.parse().map(Duration::from_secs).context("SECONDS is a whole number");
    let mut latencies = None;
    let rate = match words[..] {
        ["publish", _, window, seconds] => {
            let window = window.parse().context("WINDOW is a whole number")?;
            publish::run(&connection, window, lasting(seconds)?).await?
        }
        ["pace", _, per_s, seconds] => {
            let per_s = per_s.parse().context("PER_S is a whole number")?;
            let (rate, times) = pace::run(&connection, per_s, lasting(seconds)?).await?;
            latencies = Some(times);
            rate
        }
        ["consume", _, messages] => {
            consume::run(&connection, messages.parse().context("MESSAGES is a number")?).await?
        }
        _ => bail!(USAGE),
    };
    remove(&connection).await?;
    connection.close(200, "done".into()).await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate to one place")]
    let per_s = rate.messages as f64 / rate.took.as_secs_f64();
    writeln!(std::io::stdout(), "messages {}\nper_s {per_s:.1}", rate.messages)?;
    if let Some(times) = latencies {
        let (p50, p99) = (times.percentile_ms(50), times.percentile_ms(99));
        writeln!(std::io::stdout(), "p50_ms {p50:.2}\np99_ms {p99:.2}")?;
    }
    Ok(())
}

/// As Millpond declares a queue: see the essay of the crate's `topology`.
async fn declare(connection: &Connection) -> Result<()> {
    remove(connection).await?;
    let text = |value: &str| AMQPValue::LongString(LongString::from(value));
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", "quorum"),
        ("x-overflow", "reject-publish"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", DEAD),
    ] {
        arguments.insert(ShortString::from(name), text(value));
    }
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let channel = connection.create_channel().await?;
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    channel.queue_declare(DEAD.into(), durable, arguments).await?;
    channel.close(200, "declared".into()).await?;
    Ok(())
}

async fn remove(connection: &Connection) -> Result<()> {
    let channel = connection.create_channel().await?;
    for queue in [QUEUE, DEAD] {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    channel.close(200, "removed".into()).await?;
    Ok(())
}
