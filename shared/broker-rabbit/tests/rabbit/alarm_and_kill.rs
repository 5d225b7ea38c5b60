//! What hits a whole node: a memory alarm, and SIGKILL. On a node of its own, one test after the other because it is
//! slow to start.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use broker::conformance::every_confirmed_message_is_there;
use broker::{Broker, BrokerState, PublishError, Settle};
use broker_rabbit::Rabbit;
use testkit::rabbit::{FreshVhost, PrivateRabbit};

use crate::fixture::{ack_next, batch, next, publish_one, queue, ready, subscribe, until_state, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_stops_publishes_alone_and_a_sigkill_loses_nothing_confirmed() -> Result<()> {
    let mut node = PrivateRabbit::start().await?;
    let vhost = node.vhost().await?;
    let rabbit = ready(&vhost).await;
    publishes_answer_blocked_and_deliveries_go_on(&node, &rabbit).await?;
    rabbit.close().await;
    confirmed_messages_outlive_the_node(&mut node, &vhost).await
}

async fn publishes_answer_blocked_and_deliveries_go_on(node: &PrivateRabbit, rabbit: &Rabbit) -> Result<()> {
    let stored = within("publishing", rabbit.publish(batch("m", 20))).await;
    assert!(stored.iter().all(Result::is_ok), "{stored:?}");
    node.memory_alarm(true).await?;
    // RabbitMQ tells a connection about an alarm when that next publishes: this one finds out, and may be stored later.
    let begin = Instant::now();
    assert_eq!(publish_one(rabbit, "m-20").await, Err(PublishError::Unknown));
    assert!(begin.elapsed() < Duration::from_secs(2), "not the publish timeout: {:?}", begin.elapsed());
    assert_eq!(rabbit.state(), BrokerState::Blocked);
    let begin = Instant::now();
    let outcome = publish_one(rabbit, "shed").await;
    assert!(matches!(outcome, Err(PublishError::Blocked(_))), "{outcome:?}");
    assert!(begin.elapsed() < Duration::from_secs(1), "at once: {:?}", begin.elapsed());

    let mut subscription = subscribe(rabbit, &queue()).await;
    for number in 0..19 {
        assert_eq!(ack_next(&mut subscription).await, format!("m-{number}"));
    }
    let last = next(&mut subscription).await;
    let parked = within("parking", last.settle(Settle::Park { reason: "no room".to_owned() })).await;
    assert!(parked.is_err(), "the copy can't be published now");
    assert_eq!(ack_next(&mut subscription).await, "m-19", "so the original came back");

    node.memory_alarm(false).await?;
    until_state(rabbit, BrokerState::Ready).await;
    publish_one(rabbit, "after").await?;
    assert_eq!(ack_next(&mut subscription).await, "m-20", "it was on its way");
    assert_eq!(ack_next(&mut subscription).await, "after");
    Ok(())
}

async fn confirmed_messages_outlive_the_node(node: &mut PrivateRabbit, vhost: &FreshVhost) -> Result<()> {
    let rabbit = ready(vhost).await;
    let mut confirmed = BTreeSet::new();
    let mut killing = None;
    for round in 0.. {
        let sent = batch(&format!("k{round}"), 200);
        let ids: Vec<String> = sent.iter().map(|publish| publish.message.id.to_string()).collect();
        let publishing = rabbit.publish(sent);
        let outcomes = if round == 10 {
            let (outcomes, killed) = within("publishing", futures::future::join(publishing, node.kill())).await;
            killing = Some(killed);
            outcomes
        } else {
            within("publishing", publishing).await
        };
        confirmed.extend(ids.into_iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(id, _)| id));
        if killing.is_some() {
            break;
        }
    }
    killing.expect("the loop ends with it")?;
    assert!(confirmed.len() >= 2_000, "{}", confirmed.len());
    until_state(&rabbit, BrokerState::Disconnected).await;
    node.bring_back().await?;
    until_state(&rabbit, BrokerState::Ready).await;
    every_confirmed_message_is_there(&*rabbit, &queue(), &confirmed).await;
    rabbit.close().await;
    Ok(())
}
