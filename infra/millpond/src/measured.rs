//! A broker whose publishes are counted and timed, whichever broker it is and whoever publishes.

use std::sync::Arc;

use broker::{
    Broker, BrokerError, BrokerInfo, BrokerState, Depth, Listener, Publish, PublishError, QueueName, Subscription,
    Topology,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use service::metrics::{Counter, Family, Histogram, Metrics};
use tokio::time::Instant;

static SENT: Family = Family::counter(
    "millpond_messaging_client_sent_messages_total",
    "Messages published, by the broker's answer: confirmed, or why it is not known to be stored",
    &["broker", "outcome"],
);
static DURATION: Family = Family::histogram(
    "millpond_messaging_client_operation_duration_seconds",
    "How long publishes took from the call to the last confirm, each with a whole batch",
    &["broker", "operation"],
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
);
static STATE: Family = Family::gauge(
    "millpond_broker_state",
    "The state of the connection that publishes: 1 for ready, blocked (an alarm) or disconnected, 0 for the others",
    &["broker", "state"],
);

/// A broker and what it is measured by.
pub(crate) struct Measured {
    inner: Arc<dyn Broker>,
    /// By [`outcome`].
    sent: [Counter; OUTCOMES.len()],
    duration: Histogram,
}

const OUTCOMES: [&str; 8] =
    ["confirmed", "unavailable", "blocked", "saturated", "refused", "unknown", "unroutable", "too_large"];

/// The place of an outcome in [`OUTCOMES`].
fn outcome(result: &Result<(), PublishError>) -> usize {
    match result {
        Ok(()) => 0,
        Err(PublishError::Unavailable) => 1,
        Err(PublishError::Blocked(_)) => 2,
        Err(PublishError::Saturated) => 3,
        Err(PublishError::Refused(_)) => 4,
        Err(PublishError::Unknown) => 5,
        Err(PublishError::Unroutable) => 6,
        Err(PublishError::TooLarge(_)) => 7,
    }
}

impl Measured {
    /// `inner`, shown under the name that the configuration gives it.
    pub(crate) fn new(inner: Arc<dyn Broker>, name: &'static str, metrics: &Metrics) -> Arc<Self> {
        let shown = Arc::clone(&inner);
        metrics.sample(&[&STATE], move |samples| {
            let now = match shown.state() {
                BrokerState::Ready => "ready",
                BrokerState::Blocked => "blocked",
                BrokerState::Disconnected => "disconnected",
            };
            samples.state(&STATE, &[name], &["ready", "blocked", "disconnected"], now);
        });
        Arc::new(Self {
            inner,
            sent: OUTCOMES.map(|outcome| metrics.counter(&SENT, &[name, outcome])),
            duration: metrics.histogram(&DURATION, &[name, "publish"]),
        })
    }
}

impl Broker for Measured {
    fn declare<'a>(&'a self, topology: &'a Topology) -> BoxFuture<'a, Result<(), BrokerError>> {
        self.inner.declare(topology)
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Result<(), PublishError>>> {
        let begin = Instant::now();
        let publishing = self.inner.publish(batch);
        Box::pin(async move {
            let outcomes = publishing.await;
            self.duration.observe(begin.elapsed().as_secs_f64());
            for result in &outcomes {
                self.sent[outcome(result)].inc();
            }
            outcomes
        })
    }

    fn subscribe<'a>(
        &'a self,
        queue: &'a QueueName,
        prefetch: u16,
    ) -> BoxFuture<'a, Result<Subscription, BrokerError>> {
        self.inner.subscribe(queue, prefetch)
    }

    fn depths<'a>(&'a self, queues: &'a [QueueName]) -> BoxFuture<'a, Result<Vec<Depth>, BrokerError>> {
        self.inner.depths(queues)
    }

    fn announce(&self, topic: &str, payload: Bytes) {
        self.inner.announce(topic, payload);
    }

    fn listen(&self, topic: &str) -> Listener {
        self.inner.listen(topic)
    }

    fn state(&self) -> BrokerState {
        self.inner.state()
    }

    fn info(&self) -> BoxFuture<'_, Result<BrokerInfo, BrokerError>> {
        self.inner.info()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
