//! The whole role over the embedded broker.

use std::sync::Arc;

use broker::{Broker as _, Publish, layout};
use broker_embedded::Embedded;
use events::Envelope;
use model::Message;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use testkit::wait::until;
use worker::{Breaker, BreakerConfig, Governor, GovernorConfig, Pauses};

use super::fixture::{Fixture, both, envelope};
use super::orders::confirmed;
use crate::{Config, Deps, run};

fn page_batch(message: Message) -> Publish {
    Publish { exchange: layout::pages_exchange(), routing_key: layout::PAGE_BATCH_KEY.to_owned(), message }
}

impl Fixture {
    async fn counted(&self) -> [i64; 2] {
        let sql = "SELECT CAST((SELECT coalesce(sum(events), 0) FROM page_rollups_minute) AS bigint), \
                   CAST((SELECT coalesce(sum(orders), 0) FROM revenue_rollups_minute) AS bigint)";
        self.numbers(sql).await
    }
}

#[tokio::test]
async fn both_queues_are_counted_once_and_a_broken_message_is_parked_alone() {
    for fixture in both().await {
        let folder = tempfile::tempdir().unwrap();
        let config = broker_embedded::Config::default();
        let broker = Embedded::open(folder.path().join("queue"), config).await.unwrap();
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let tasks = Tasks::new();
        let deps = Deps {
            config: Config::default(),
            database: Arc::clone(&fixture.database),
            governor: Arc::new(Governor::new(Arc::clone(&fixture.database), GovernorConfig::default())),
            breaker: Arc::new(Breaker::new(fixture.database.name(), BreakerConfig::default())),
            orders: broker.clone(),
            events: broker.clone(),
            clock: fixture.clock.clone(),
            pauses: Pauses::none(),
            readiness: readiness.clone(),
            metrics: Metrics::new(),
        };
        let role = tasks.spawn("analytics", run(deps, shutdown.clone()));
        until("the role is ready", || async { readiness.report().ready.then_some(()) }).await.unwrap();

        let pages = envelope(fixture.batch(0..10)).to_message();
        let malformed = Message { body: "{".into(), id: "broken".parse().unwrap(), ..pages.clone() };
        let outcome = Envelope::new(&*fixture.clock, "checkout", confirmed(&*fixture.clock, "a")).to_message();
        let outcome =
            Publish { exchange: layout::facts_exchange(), routing_key: outcome.kind.clone(), message: outcome };
        let batch = vec![page_batch(pages.clone()), page_batch(malformed), page_batch(pages), outcome.clone(), outcome];
        assert!(broker.publish(batch).await.iter().all(Result::is_ok));

        until("everything is counted", || async { (fixture.counted().await == [10, 1]).then_some(()) }).await.unwrap();
        let parked = [layout::analytics_pages_queue().parked()];
        let one_is_parked = || async { (broker.depths(&parked).await.unwrap()[0].ready == 1).then_some(()) };
        until("the broken message is parked", one_is_parked).await.unwrap();

        shutdown.request();
        role.await.unwrap().unwrap();
        assert_eq!(fixture.counted().await, [10, 1]);
        broker.close().await;
    }
}
