//! Connections, channels and queues that go away in mid-use.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use broker::conformance::every_confirmed_message_is_there;
use broker::{Broker, PublishError, Settle, SettleError};
use broker_rabbit::Config;
use testkit::rabbit::FreshVhost;

use crate::fixture::{ack_next, batch, config, next, publish_one, queue, ready, ready_with, subscribe, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_by_an_operator_come_back_and_lose_nothing() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    publish_one(&rabbit, "held").await?;
    let held = next(&mut subscription).await;
    // The list of connections lags behind.
    until("both connections are closed", || async { (vhost.close_connections().await.ok()? >= 2).then_some(()) }).await;
    until("publishing works again", || async { publish_one(&rabbit, "later").await.ok() }).await;
    let mut came = BTreeSet::new();
    while !(came.contains("held") && came.contains("later")) {
        came.insert(ack_next(&mut subscription).await);
    }
    assert_eq!(held.settle(Settle::Ack).await, Err(SettleError::Gone), "it was of the old connection");
    within("closing", rabbit.close()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_while_connections_kept_dying_is_there() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let (proxy, url) = crate::fixture::proxied(&vhost).await?;
    let rabbit = crate::fixture::connect(&url, config());
    within("declaring", rabbit.declare(&crate::fixture::topology())).await?;
    let mut confirmed = BTreeSet::new();
    for round in 0..12 {
        let sent = batch(&format!("r{round}"), 50);
        let ids: Vec<String> = sent.iter().map(|publish| publish.message.id.to_string()).collect();
        let publishing = rabbit.publish(sent);
        let cutting = async {
            if round % 3 == 2 {
                tokio::task::yield_now().await;
                proxy.cut();
            }
        };
        let (outcomes, ()) = within("publishing", futures::future::join(publishing, cutting)).await;
        confirmed.extend(ids.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| id));
        proxy.mend();
        crate::fixture::until_state(&rabbit, broker::BrokerState::Ready).await;
    }
    assert!(confirmed.len() >= 400, "the rounds that were not cut are confirmed: {}", confirmed.len());
    every_confirmed_message_is_there(&*rabbit, &queue(), &confirmed).await;
    within("closing", rabbit.close()).await;
    Ok(())
}

/// Those who were sent before wait, as theirs may be stored; nobody else waits with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_is_sent_nothing_more_until_it_speaks_again() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let (proxy, url) = crate::fixture::proxied(&vhost).await?;
    let patient = Config { silent_after_ms: 200, publish_timeout_ms: 60_000, ..config() };
    let rabbit = crate::fixture::connect(&url, patient);
    within("declaring", rabbit.declare(&crate::fixture::topology())).await?;
    publish_one(&rabbit, "before").await?;
    proxy.hold();
    // Who was sent before it was found out waits too: nobody listens to that.
    let moment = Duration::from_millis(100);
    let others = async {
        let refused = until("others are refused at once", || async {
            tokio::time::timeout(moment, publish_one(&rabbit, "other")).await.ok()?.err()
        });
        assert_eq!(refused.await, PublishError::Unavailable);
        proxy.mend();
    };
    let (caught, ()) = within("its confirm", futures::future::join(publish_one(&rabbit, "caught"), others)).await;
    caught?;
    until("it is sent to again", || async { publish_one(&rabbit, "after").await.ok() }).await;
    within("closing", rabbit.close()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_its_consumer_comes_back() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    publish_one(&rabbit, "before").await?;
    assert_eq!(ack_next(&mut subscription).await, "before");
    vhost.delete_queue(queue().as_str()).await?;
    until("the consumer is back", || async {
        let depths = rabbit.depths(&[queue()]).await.ok()?;
        (depths[0].consumers == 1).then_some(())
    })
    .await;
    publish_one(&rabbit, "after").await?;
    assert_eq!(ack_next(&mut subscription).await, "after");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_for_a_rung_that_was_deleted_is_kept_and_alarmed() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    publish_one(&rabbit, "m").await?;
    let delivery = next(&mut subscription).await;
    vhost.delete_queue("rabbit.test.one.v1.retry.100ms").await?;
    delivery.settle(Settle::Retry { after: std::time::Duration::ZERO, reason: "later".to_owned() }).await?;
    let mut unrouted = subscribe(&rabbit, &broker::QueueName::unrouted()).await;
    assert_eq!(ack_next(&mut unrouted).await, "m");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_no_queue_took_leaves_the_original() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    publish_one(&rabbit, "m").await?;
    let delivery = next(&mut subscription).await;
    vhost.delete_queue("rabbit.test.one.v1.parked").await?;
    vhost.delete_exchange("millpond.unrouted").await?;
    let settled = delivery.settle(Settle::Park { reason: "no such SKU".to_owned() }).await;
    assert!(matches!(settled, Err(SettleError::Requeued(_))), "{settled:?}");
    assert_eq!(ack_next(&mut subscription).await, "m");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_delivery_limit_parks() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let limit = serde_json::json!({"delivery-limit": 3});
    vhost.set_policy("limit", "^rabbit\\.test\\.one\\.v1$", limit).await?;
    let rabbit = ready(&vhost).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    let mut parked = subscribe(&rabbit, &queue().parked()).await;
    publish_one(&rabbit, "poison").await?;
    let mut counts = Vec::new();
    // From 4.3 on a requeue does not count: a channel that dies does, as here.
    let delivery = loop {
        tokio::select! {
            delivery = next(&mut subscription) => {
                counts.push(delivery.delivery_count());
                delivery.settle(Settle::Requeue).await?;
            }
            delivery = next(&mut parked) => break delivery,
        }
    };
    assert_eq!(delivery.message().id.as_str(), "poison");
    assert_eq!(counts, [0, 1, 2, 3], "the broker's own count");
    delivery.settle(Settle::Ack).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_deliveries_are_counted() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready_with(&vhost, config()).await;
    let mut subscription = subscribe(&rabbit, &queue()).await;
    publish_one(&rabbit, "m").await?;
    drop(next(&mut subscription).await);
    assert_eq!(ack_next(&mut subscription).await, "m");
    assert_eq!(rabbit.dropped_unsettled(), 1);
    within("closing", rabbit.close()).await;
    assert_eq!(rabbit.lost_settlements(), 0);
    Ok(())
}
