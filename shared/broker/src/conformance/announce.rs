//! What is told to everyone who listens.

use std::time::Duration;

use bytes::Bytes;

use crate::announce::BEHIND;
use crate::conformance::Harness;
use crate::conformance::fixture::{connect, message, publish, topology, within};
use crate::{Broker, Listener};

const TOPIC: &str = "conformance";

/// Announces `text` again and again until `listener` hears it: what was announced before somebody listened is lost.
async fn until_heard(broker: &dyn Broker, listener: &mut Listener, text: &'static str) {
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let hearing = async {
        loop {
            tokio::select! {
                heard = listener.next() => match heard {
                    Some(heard) if heard == text.as_bytes() => return,
                    Some(_another) => {}
                    None => panic!("the listener ended"),
                },
                _ = again.tick() => broker.announce(TOPIC, Bytes::from_static(text.as_bytes())),
            }
        }
    };
    within("hearing an announcement", hearing).await;
}

/// Each of them, whichever handle it listens with, and the one who speaks too.
pub async fn an_announcement_reaches_everyone_who_listens(harness: &dyn Harness) {
    let (speaker, other) = (connect(harness, &topology()).await, connect(harness, &topology()).await);
    let mut near = speaker.listen(TOPIC);
    let mut far = other.listen(TOPIC);
    until_heard(&*speaker, &mut near, "one").await;
    until_heard(&*speaker, &mut far, "two").await;
    until_heard(&*other, &mut near, "three").await;
}

/// Topics are apart, and none of it lands in a queue.
pub async fn a_listener_hears_its_own_topic_alone(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let mut elsewhere = broker.listen("conformance.other");
    let mut listener = broker.listen(TOPIC);
    until_heard(&*broker, &mut listener, "here").await;
    broker.announce("conformance.other", Bytes::from_static(b"there"));
    let mut again = tokio::time::interval(Duration::from_millis(20));
    let heard = within("the other topic's announcement", async {
        loop {
            tokio::select! {
                heard = elsewhere.next() => return heard,
                _ = again.tick() => broker.announce("conformance.other", Bytes::from_static(b"there")),
            }
        }
    });
    assert_eq!(heard.await.as_deref(), Some(&b"there"[..]));
    publish(&*broker, &[message("m")]).await;
}

/// A listener that does not keep up loses what it can't hold, and nobody waits for it: not the speaker, not the others.
pub async fn a_listener_that_does_not_keep_up_holds_nobody_up(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let _slow = broker.listen(TOPIC);
    let mut quick = broker.listen(TOPIC);
    until_heard(&*broker, &mut quick, "begin").await;
    for _ in 0..4 * BEHIND {
        broker.announce(TOPIC, Bytes::from_static(b"flood"));
    }
    until_heard(&*broker, &mut quick, "end").await;
    publish(&*broker, &[message("m")]).await;
}

/// As deliveries end, so that whoever listens learns that it is over; announcing then does nothing.
pub async fn closing_ends_the_listeners(harness: &dyn Harness) {
    let broker = connect(harness, &topology()).await;
    let mut listener = broker.listen(TOPIC);
    until_heard(&*broker, &mut listener, "open").await;
    within("closing", broker.close()).await;
    broker.announce(TOPIC, Bytes::from_static(b"closed"));
    within("the listener's end", async { while listener.next().await.is_some() {} }).await;
    let mut late = broker.listen(TOPIC);
    within("the end of one that came late", async { while late.next().await.is_some() {} }).await;
}
