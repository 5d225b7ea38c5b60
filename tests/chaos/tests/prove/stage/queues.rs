//! What a scenario waits for at a queue.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use broker::{Broker as _, ExchangeName, Publish, PublishError, QueueName};
use broker_rabbit::Rabbit;
use model::Message;
use testkit::wait;

use super::Stage;

impl Stage {
    /// Waits until a queue has handed out all that it held.
    pub(crate) async fn until_handed_out(&self, queue: &str) -> Result<()> {
        let rabbit = Rabbit::connect(self.broker.url(), "a test", broker_rabbit::Config::default())?;
        let queues = [QueueName::new(queue)];
        let handed_out = wait::until("the queue is empty", || async {
            (rabbit.depths(&queues).await.ok()?.first()?.ready == 0).then_some(())
        });
        let waited = handed_out.await;
        rabbit.close().await;
        waited
    }

    /// Waits until a queue is told to hold something, so that an emptiness told later is a new one.
    pub(crate) async fn until_told_full(&self, queue: &str) -> Result<()> {
        let look = self.look();
        wait::until("the queue is told to be full", || async { (look.messages(queue).await.ok()? > 0).then_some(()) })
            .await
    }

    /// Gives acks the time to reach the broker, if there are any: until a queue that has handed out all is told to hold
    /// nothing, which is told some 5 s late. Where nothing is acked, as it should be, the whole time passes.
    pub(crate) async fn let_acks_arrive(&self, queue: &str) {
        let look = self.look();
        let gone =
            wait::until("the queue holds nothing", || async { (look.messages(queue).await.ok()? == 0).then_some(()) });
        // Either is fine: what it means is the oracle's to say.
        drop(tokio::time::timeout(Duration::from_secs(7), gone).await);
    }

    /// Publishes to a queue until it refuses, which it decides some time after a policy says so.
    pub(crate) async fn until_refuses(&self, queue: &str) -> Result<()> {
        let rabbit = Rabbit::connect(self.broker.url(), "a test", broker_rabbit::Config::default())?;
        let refused = wait::until("the queue refuses", || async {
            let message = Message {
                id: "filler".parse().ok()?,
                kind: "filler".to_owned(),
                timestamp: chrono::DateTime::UNIX_EPOCH,
                content_type: "text/plain".to_owned(),
                headers: BTreeMap::new(),
                transient: false,
                body: bytes::Bytes::new(),
            };
            // By the exchange that every queue is bound to, whoever declared it.
            let exchange = ExchangeName::new("");
            let outcome =
                rabbit.publish(vec![Publish { exchange, routing_key: queue.to_owned(), message }]).await.pop();
            matches!(outcome, Some(Err(PublishError::Refused(_)))).then_some(())
        });
        let waited = refused.await;
        rabbit.close().await;
        waited
    }
}
