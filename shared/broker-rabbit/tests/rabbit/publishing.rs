//! What a publish tells, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use broker::{Broker, BrokerError, BrokerState, Publish, PublishError, QueueName, QueueSpec, Topology};
use broker_rabbit::{Config, Rabbit};
use bytes::Bytes;
use serde_json::json;
use testkit::rabbit::FreshVhost;
use tokio::task::JoinSet;

use crate::fixture::{
    batch, config, connect, exchange, proxied, publish_one, queue, ready, ready_with, to_queue, topology, until,
    until_state, within,
};

/// Limits the queue to a few messages and publishes until it refuses one; gives how many it holds.
async fn fill(vhost: &FreshVhost, rabbit: &Rabbit) -> Result<u64> {
    vhost.set_policy("limit", "^rabbit\\.test\\.one\\.v1$", json!({"max-length": 5})).await?;
    until("the policy holds", || async { (vhost.policy_of(queue().as_str()).await.ok()? == "limit").then_some(()) })
        .await;
    // A limit takes hold when the queue's leader has heard of it, so that the first refusal is waited for.
    let mut stored = 0;
    let refused = loop {
        match publish_one(rabbit, &format!("m-{stored}")).await {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000, "the limit never takes hold");
    };
    assert!(matches!(refused, PublishError::Refused(_)), "{refused:?}");
    Ok(stored)
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_only_what_does_not_fit() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let stored = fill(&vhost, &rabbit).await?;

    let begin = Instant::now();
    let outcomes = within("publishing", rabbit.publish(batch("more", 20))).await;
    assert!(begin.elapsed() < Duration::from_secs(2), "a refusal is not a timeout: {:?}", begin.elapsed());
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(PublishError::Refused(_)))), "{outcomes:?}");
    let depth = rabbit.depths(&[queue()]).await?.remove(0).ready;
    assert_eq!(depth, stored, "what is refused is not stored");
    Ok(())
}

#[tokio::test]
async fn every_outcome_of_a_large_batch_is_its_own() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready_with(&vhost, Config { max_message_kib: 1, ..config() }).await;
    let mut sent = batch("m", 3_000);
    for publish in sent.iter_mut().step_by(7) {
        publish.message.body = Bytes::from(vec![0; 2_000]);
    }
    let outcomes = within("publishing", rabbit.publish(sent)).await;
    assert_eq!(outcomes.len(), 3_000);
    for (number, outcome) in outcomes.iter().enumerate() {
        let too_large = matches!(outcome, Err(PublishError::TooLarge(_)));
        assert!(if number % 7 == 0 { too_large } else { outcome.is_ok() }, "{number}: {outcome:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_side_by_side_get_their_own_outcomes() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    fill(&vhost, &rabbit).await?;
    let open = QueueSpec::new(QueueName::new("rabbit.test.open.v1"));
    within("declaring", rabbit.declare(&Topology::default().with_queue(&exchange(), open, ["open"]))).await?;

    let mut callers = JoinSet::new();
    for caller in 0..4 {
        let rabbit = Arc::clone(&rabbit);
        callers.spawn(async move {
            for round in 0..20 {
                let mut sent = batch(&format!("c{caller}-{round}"), 10);
                sent.iter_mut().skip(caller % 2).step_by(2).for_each(|publish| publish.routing_key = "open".to_owned());
                let stored: Vec<bool> = sent.iter().map(|publish| publish.routing_key == "open").collect();
                let outcomes: Vec<bool> = rabbit.publish(sent).await.iter().map(Result::is_ok).collect();
                assert_eq!(outcomes, stored, "caller {caller}, round {round}");
            }
        });
    }
    within("publishing", callers.join_all()).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_told_to_its_own_caller() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    // Messages that are confirmed and messages that come back, from many callers at once: only with the alternate
    // exchange deleted does anything come back at all.
    vhost.delete_exchange("millpond.unrouted").await?;
    let lost = || Publish { routing_key: "nobody.listens".to_owned(), ..to_queue("lost") };
    let callers = (0..8).map(|caller| {
        let rabbit = &rabbit;
        async move {
            for round in 0..50 {
                let outcomes = rabbit.publish(batch(&format!("c{caller}-{round}"), 10)).await;
                assert!(outcomes.iter().all(Result::is_ok), "a routable message is stored: {outcomes:?}");
            }
        }
    });
    let all = futures::future::join_all(callers);
    let (_done, lost) = within("publishing", futures::future::join(all, rabbit.publish(vec![lost()]))).await;
    assert_eq!(lost, [Err(PublishError::Unroutable)]);
    assert_eq!(rabbit.depths(&[queue()]).await?.remove(0).ready, 4_000);
    Ok(())
}

#[tokio::test]
async fn more_than_may_be_in_flight_is_saturated_at_once() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let (proxy, url) = proxied(&vhost).await?;
    let rabbit = connect(&url, Config { max_in_flight: 10, publish_timeout_ms: 30_000, ..config() });
    within("declaring", rabbit.declare(&topology())).await?;
    // 30 at a time fit, ten after ten.
    let outcomes = within("publishing", rabbit.publish(batch("m", 30))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    let many = (0..40).map(|number| rabbit.publish(batch(&format!("n{number}"), 10)));
    let outcomes: Vec<_> = within("publishing", futures::future::join_all(many)).await.concat();
    let saturated = outcomes.iter().filter(|outcome| **outcome == Err(PublishError::Saturated)).count();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(saturated + stored, 400, "{outcomes:?}");
    assert_eq!(rabbit.depths(&[queue()]).await?.remove(0).ready, 30 + stored as u64, "what is saturated was not sent");
    drop(proxy);
    Ok(())
}

#[tokio::test]
async fn a_connection_that_dies_leaves_what_it_carried_unknown() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let (proxy, url) = proxied(&vhost).await?;
    let rabbit = connect(&url, config());
    within("declaring", rabbit.declare(&topology())).await?;
    let publishing = rabbit.publish(batch("m", 1_000));
    // Cut once the first frames are on their way.
    let cutting = async {
        until("something is stored", || async { (depth(&vhost).await? > 0).then_some(()) }).await;
        proxy.cut();
    };
    let (outcomes, ()) = within("publishing", futures::future::join(publishing, cutting)).await;
    let known = outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(PublishError::Unknown)));
    assert!(known, "sent is never said to be unsent: {outcomes:?}");
    until_state(&rabbit, BrokerState::Disconnected).await;
    assert_eq!(publish_one(&rabbit, "later").await, Err(PublishError::Unavailable));

    proxy.mend();
    until_state(&rabbit, BrokerState::Ready).await;
    assert_eq!(publish_one(&rabbit, "later").await, Ok(()));
    let confirmed = outcomes.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert!(depth(&vhost).await > Some(confirmed), "every confirmed one, and the later one");
    rabbit.close().await;
    Ok(())
}

/// Asked on a connection that is not cut.
async fn depth(vhost: &FreshVhost) -> Option<u64> {
    let rabbit = ready(vhost).await;
    let depth = rabbit.depths(&[queue()]).await.ok()?.remove(0).ready;
    rabbit.close().await;
    Some(depth)
}

#[tokio::test]
async fn an_exchange_that_is_not_there_costs_one_channel_not_the_publisher() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let mut wrong = to_queue("wrong");
    wrong.exchange = broker::ExchangeName::new("nobody.declared.this");
    let outcome = within("publishing", rabbit.publish(vec![wrong])).await;
    assert_eq!(outcome, [Err(PublishError::Unknown)]);
    until("publishing works again", || async { publish_one(&rabbit, "right").await.ok() }).await;
    Ok(())
}

#[tokio::test]
async fn a_conflict_says_which_argument_of_which_queue_and_what_to_do() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rung = queue().retry(Duration::from_millis(100));
    let arguments = json!({
        "x-queue-type": "quorum", "x-overflow": "reject-publish", "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue().as_str(), "x-message-ttl": 5_000,
    });
    vhost.declare_queue(rung.as_str(), arguments).await?;
    let rabbit = connect(vhost.url(), config());
    let Err(BrokerError::Conflict(words)) = within("declaring", rabbit.declare(&topology())).await else {
        panic!("another time to live is a conflict");
    };
    for part in [rung.as_str(), "x-message-ttl", "drain", "delete", "version"] {
        assert!(words.contains(part), "{part} is missing: {words}");
    }
    Ok(())
}

#[tokio::test]
async fn no_broker_is_no_error_and_no_wait_for_a_publisher() -> Result<()> {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let rabbit = connect(&format!("amqp://{unused}"), config());
    assert_eq!(rabbit.state(), BrokerState::Disconnected);
    let begin = Instant::now();
    assert_eq!(publish_one(&rabbit, "m").await, Err(PublishError::Unavailable));
    let told = rabbit.depths(&[QueueName::new("q")]).await;
    assert!(matches!(told, Err(BrokerError::Unavailable(_))), "{told:?}");
    let info = rabbit.info().await;
    assert!(matches!(info, Err(BrokerError::Unavailable(_))), "{info:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
    // Those that wait for a broker are told when it is closed.
    let topology = topology();
    let (declared, ()) = within("closing", futures::future::join(rabbit.declare(&topology), rabbit.close())).await;
    assert_eq!(declared, Err(BrokerError::Closed));
    Ok(())
}

#[tokio::test]
async fn doctor_learns_the_version_and_that_one_node_is_not_enough() -> Result<()> {
    let vhost = FreshVhost::create().await?;
    let rabbit = ready(&vhost).await;
    let info = within("info", rabbit.info()).await?;
    assert_eq!(info.product, "RabbitMQ");
    assert!(info.version.starts_with(|digit: char| digit.is_ascii_digit()), "{info:?}");
    assert!(info.warnings.iter().any(|warning| warning.contains("tolerates the loss of none")), "{info:?}");
    assert!(!info.warnings.iter().any(|warning| warning.contains("too old")), "{info:?}");
    Ok(())
}

#[test]
fn a_url_that_can_not_work_is_a_configuration_error() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let refused = Rabbit::connect("redis://localhost", "test", Config::default()).err();
    assert!(matches!(refused, Some(BrokerError::Configuration(_))), "{refused:?}");
}
