//! A [`Message`] as AMQP carries it, and back. Reading never fails: anyone can put anything into a queue by hand, and
//! the place that judges it is the consumer, which parks it with a reason.

use std::collections::BTreeMap;

use broker::{Publish, PublishError};
use bytes::Bytes;
use chrono::DateTime;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use model::{Message, MessageId};
use sha2::{Digest as _, Sha256};

/// AMQP's delivery modes.
const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// How deep tables in headers are rendered.
const MAX_DEPTH: u8 = 4;

/// What the broker itself writes into headers (`x-acquired-count` from 4.0 on). It is not the message's, and a copy
/// must not carry it on.
const COUNT: &str = "x-delivery-count";
const BROKER_HEADERS: [&str; 5] = [COUNT, "x-acquired-count", "x-death", "x-first-death-", "x-last-death-"];

/// A publish ready to be sent.
pub(crate) struct Outbound {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// What a message may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    /// They are one frame, and RabbitMQ closes the connection on a larger one.
    pub(crate) header_bytes: usize,
}

/// # Errors
/// [`PublishError::TooLarge`]: RabbitMQ would close the channel or the connection, with everything in flight.
pub(crate) fn outbound(publish: Publish, limits: Limits) -> Result<Outbound, PublishError> {
    let Publish { exchange, routing_key, message } = publish;
    let max_body = limits.body_bytes;
    if message.body.len() > max_body {
        return Err(PublishError::TooLarge(format!("a body of {} bytes, {max_body} are allowed", message.body.len())));
    }
    Ok(Outbound {
        exchange: short("exchange", exchange.as_str())?,
        routing_key: short("routing key", &routing_key)?,
        properties: properties(&message, limits.header_bytes)?,
        body: message.body,
    })
}

/// Bytes that a message's headers take on their way.
pub(crate) fn header_bytes(message: &Message) -> usize {
    message.headers.iter().map(|(name, value)| name.len() + value.len() + 6).sum()
}

fn properties(message: &Message, max_headers: usize) -> Result<BasicProperties, PublishError> {
    let header_bytes = header_bytes(message);
    if header_bytes > max_headers {
        return Err(PublishError::TooLarge(format!("headers of {header_bytes} bytes, {max_headers} are allowed")));
    }
    let mut headers = FieldTable::default();
    for (name, value) in &message.headers {
        headers.insert(short("header name", name)?, AMQPValue::LongString(LongString::from(value.as_str())));
    }
    let seconds = u64::try_from(message.timestamp.timestamp()).unwrap_or(0);
    Ok(BasicProperties::default()
        .with_message_id(short("message id", message.id.as_str())?)
        .with_type(short("type", &message.kind)?)
        .with_timestamp(seconds)
        .with_content_type(short("content type", &message.content_type)?)
        .with_headers(headers)
        .with_delivery_mode(if message.transient { TRANSIENT } else { PERSISTENT }))
}

fn short(what: &str, text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text)
        .map_err(|_error| PublishError::TooLarge(format!("a {what} of {} bytes, AMQP allows 255", text.len())))
}

/// The message of a delivery, and how often the broker handed it out before.
///
/// What is missing becomes: type empty, time 1970, content type `application/octet-stream`, and the id `none-` with a
/// digest of the body: the same each time the message comes, so that attempts and effects can be counted by it.
pub(crate) fn inbound(delivery: &mut Delivery) -> (Message, u32) {
    let body = Bytes::from(std::mem::take(&mut delivery.data));
    let properties = &delivery.properties;
    let text = |field: &Option<ShortString>| field.as_ref().map(|text| text.as_str().to_owned());
    let id = text(properties.message_id()).and_then(|id| MessageId::try_from(id).ok());
    let seconds = properties.timestamp().and_then(|seconds| i64::try_from(seconds).ok());
    let table = properties.headers().as_ref().map(FieldTable::inner);
    let message = Message {
        id: id.unwrap_or_else(|| id_of(&body)),
        kind: text(properties.kind()).unwrap_or_default(),
        timestamp: seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or_default(),
        content_type: text(properties.content_type()).unwrap_or_else(|| "application/octet-stream".to_owned()),
        headers: table.map(headers).unwrap_or_default(),
        transient: *properties.delivery_mode() == Some(TRANSIENT),
        body,
    };
    let count = table.and_then(|table| table.get(COUNT)).and_then(|count| render(count, 0).parse().ok());
    (message, count.unwrap_or(0))
}

fn id_of(body: &[u8]) -> MessageId {
    let digest = Sha256::digest(body);
    let prefix = digest.first_chunk::<16>().copied().map_or(0, u128::from_be_bytes);
    format!("none-{prefix:032x}").parse().expect("hexadecimal digits are allowed in a message id")
}

fn headers(table: &BTreeMap<ShortString, AMQPValue>) -> BTreeMap<String, String> {
    let names = table.iter().map(|(name, value)| (name.as_str().to_lowercase(), value));
    let ours = names.filter(|(name, _)| !BROKER_HEADERS.iter().any(|prefix| name.starts_with(prefix)));
    ours.map(|(name, value)| (name, render(value, 0))).collect()
}

/// Any AMQP value as text, for people where it is no plain one.
fn render(value: &AMQPValue, depth: u8) -> String {
    let inner = |value| render(value, depth + 1);
    match value {
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= MAX_DEPTH => "…".to_owned(),
        AMQPValue::FieldArray(array) => {
            let items: Vec<String> = array.as_slice().iter().map(inner).collect();
            format!("[{}]", items.join(", "))
        }
        AMQPValue::FieldTable(table) => {
            let items: Vec<String> =
                table.inner().iter().map(|(name, value)| format!("{name}: {}", inner(value))).collect();
            format!("{{{}}}", items.join(", "))
        }
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into_owned(),
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::ShortShortInt(value) => value.to_string(),
        AMQPValue::ShortShortUInt(value) => value.to_string(),
        AMQPValue::ShortInt(value) => value.to_string(),
        AMQPValue::ShortUInt(value) => value.to_string(),
        AMQPValue::LongInt(value) => value.to_string(),
        AMQPValue::LongUInt(value) => value.to_string(),
        AMQPValue::LongLongInt(value) => value.to_string(),
        AMQPValue::Timestamp(value) => value.to_string(),
        AMQPValue::Float(value) => value.to_string(),
        AMQPValue::Double(value) => value.to_string(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale),
        AMQPValue::Void => String::new(),
    }
}
