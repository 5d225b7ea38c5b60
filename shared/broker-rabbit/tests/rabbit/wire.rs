//! Messages that somebody else put into a queue.

use std::collections::BTreeMap;

use anyhow::Result;
use broker::Settle;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString};
use testkit::rabbit::FreshVhost;

use crate::fixture::{ack_next, next, publish_one, queue, ready, subscribe};
use crate::raw::Raw;

#[tokio::test]
async fn a_message_without_any_property_has_the_same_id_each_time_it_comes() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let raw = Raw::connect(&vhost).await?;
    for body in [b"one".as_slice(), b"two", b""] {
        raw.put(queue().as_str(), BasicProperties::default(), body).await?;
    }
    let mut subscription = subscribe(&rabbit, &queue()).await;
    let first = next(&mut subscription).await;
    let message = first.message().clone();
    assert!(message.id.as_str().starts_with("none-"), "{}", message.id);
    assert_eq!((message.kind.as_str(), message.timestamp.timestamp()), ("", 0));
    assert_eq!(message.content_type, "application/octet-stream");
    assert_eq!(message.headers, BTreeMap::new());
    assert_eq!(message.body, "one");
    let others = [ack_next(&mut subscription).await, ack_next(&mut subscription).await];
    assert!(others[0] != message.id.as_str() && others[1] != others[0]);

    first.settle(Settle::Requeue).await?;
    let again = next(&mut subscription).await;
    assert_eq!(again.message(), &message);
    again.settle(Settle::Ack).await?;
    Ok(())
}

#[tokio::test]
async fn malformed_properties_do_not_stop_the_neighbours() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let raw = Raw::connect(&vhost).await?;
    let mut inner = FieldTable::default();
    inner.insert("deep".into(), AMQPValue::Boolean(true));
    let mut headers = FieldTable::default();
    let values = [
        ("x-mp-attempt", AMQPValue::LongString("many".into())),
        ("X-Mp-Version", AMQPValue::LongInt(3)),
        ("bytes", AMQPValue::LongString(LongString::from(vec![b'a', 0xff]))),
        ("nothing", AMQPValue::Void),
        ("list", AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Double(0.5), AMQPValue::FieldTable(inner)]))),
        ("x-death", AMQPValue::LongString("the broker's own".into())),
    ];
    for (name, value) in values {
        headers.insert(name.into(), value);
    }
    let strange =
        BasicProperties::default().with_message_id("a\nb".into()).with_timestamp(u64::MAX).with_headers(headers);
    raw.put(queue().as_str(), strange, b"\xff").await?;
    publish_one(&rabbit, "neighbour").await?;

    let mut subscription = subscribe(&rabbit, &queue()).await;
    let strange = next(&mut subscription).await;
    let message = strange.message();
    assert!(message.id.as_str().starts_with("none-"), "an id with a line break is none: {}", message.id);
    assert_eq!((message.timestamp.timestamp(), message.attempt(), message.version()), (0, 0, Some(3)));
    let headers: Vec<(&str, &str)> =
        message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("bytes", "a\u{fffd}"),
        ("list", "[0.5, {deep: true}]"),
        ("nothing", ""),
        ("x-mp-attempt", "many"),
        ("x-mp-version", "3"),
    ];
    assert_eq!(headers, expected);
    assert_eq!(ack_next(&mut subscription).await, "neighbour");

    // It can be parked, and taken from there.
    let id = message.id.to_string();
    strange.settle(Settle::Park { reason: "no such type".to_owned() }).await?;
    let mut parked = subscribe(&rabbit, &queue().parked()).await;
    assert_eq!(ack_next(&mut parked).await, id);
    Ok(())
}

#[tokio::test]
async fn a_message_with_too_many_headers_for_a_copy_is_parked_without_them() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let raw = Raw::connect(&vhost).await?;
    let mut headers = FieldTable::default();
    headers.insert("x-mp-version".into(), AMQPValue::LongString("7".into()));
    headers.insert("ballast".into(), AMQPValue::LongString(LongString::from(vec![b'b'; 100_000])));
    let properties = BasicProperties::default().with_message_id("heavy".into()).with_headers(headers);
    raw.put(queue().as_str(), properties, b"{}").await?;

    let mut subscription = subscribe(&rabbit, &queue()).await;
    let heavy = next(&mut subscription).await;
    assert_eq!(heavy.message().headers["ballast"].len(), 100_000);
    heavy.settle(Settle::Park { reason: "not ours".to_owned() }).await?;
    let mut parked = subscribe(&rabbit, &queue().parked()).await;
    let heavy = next(&mut parked).await;
    let headers = &heavy.message().headers;
    assert_eq!(headers["x-mp-version"], "7");
    assert!(!headers.contains_key("ballast"), "{:?}", headers.keys());
    assert!(headers["x-mp-reason"].starts_with("not ours (its 1000"), "{}", headers["x-mp-reason"]);
    heavy.settle(Settle::Ack).await?;
    Ok(())
}
