//! The whole role, on the embedded broker.

use std::sync::Arc;

use broker::{Broker as _, Publish, layout};
use broker_embedded::Embedded;
use cache::Cache;
use events::{OrderPlaced, OrderState};
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use tempfile::TempDir;
use testkit::wait;
use worker::{Breaker, BreakerConfig, Governor, GovernorConfig, Pauses};

use super::orders::{event, order};
use super::site::{Site, on_both};
use crate::{Config, Deps};

on_both!(orders_from_the_queue_end_in_the_database_and_in_the_cache_and_bad_ones_are_parked);

fn publish(order: OrderPlaced) -> Publish {
    Publish {
        exchange: layout::orders_exchange(),
        routing_key: layout::order_placed_key(&"eu".parse().unwrap()),
        message: event(order).to_message(),
    }
}

async fn orders_from_the_queue_end_in_the_database_and_in_the_cache_and_bad_ones_are_parked(site: Site) {
    site.stock("MUG", 30).await;
    let folder = TempDir::new().unwrap();
    let broker = Embedded::open(folder.path().join("broker"), broker_embedded::Config::default()).await.unwrap();
    let cache = Arc::new(Cache::open(&cache::Config::default()).await.unwrap());
    let shutdown = Shutdown::new();
    let tasks = Tasks::new();
    let mut roles = Vec::new();
    for _ in 0..2 {
        let region = site.worker().await.region;
        let deps = Deps {
            config: Config::default(),
            breaker: Arc::new(Breaker::new(region.database.name(), BreakerConfig::default())),
            governor: Arc::new(Governor::new(Arc::clone(&region.database), GovernorConfig::default())),
            region,
            orders: broker.clone(),
            cache: Arc::clone(&cache),
            pauses: Pauses::none(),
            readiness: Readiness::new(shutdown.clone()),
            metrics: Metrics::new(),
        };
        roles.push(tasks.spawn("checkout", crate::run(deps, shutdown.clone())));
    }
    let eu = "eu".parse().unwrap();
    broker.declare(&layout::orders([&eu])).await.unwrap();

    let good: Vec<OrderPlaced> = (0..40).map(|n| order(&format!("buyer-{n}"), &[("MUG", 1, 100)])).collect();
    let wrong = OrderPlaced { total_minor: 1, ..order("wrong", &[("MUG", 1, 100)]) };
    let mut batch: Vec<Publish> = good.iter().chain(&good).cloned().map(publish).collect();
    batch.insert(17, publish(wrong));
    assert!(broker.publish(batch).await.into_iter().all(|outcome| outcome.is_ok()));

    let parked = layout::checkout_queue(&eu).parked();
    let queues = [parked.clone(), layout::checkout_queue(&eu)];
    let (broker_, site_, queues_) = (&broker, &site, &queues);
    wait::until("every order is settled", || async move {
        let depths = broker_.depths(queues_).await.unwrap();
        (depths[0].ready == 1 && depths[1].ready == 0 && site_.states().await.len() == 40).then_some(())
    })
    .await
    .unwrap();
    shutdown.request();
    for role in roles {
        role.await.unwrap().unwrap();
    }
    assert_eq!(site.reserved("MUG").await, 30);
    assert_eq!(site.told().await, (30, 10));
    let mut confirmed = 0;
    for order in &good {
        // Written by the time that the role has stopped.
        let status = cache.get_status(order.order_id).await.unwrap();
        assert_eq!((status.version, status.fingerprint), (1, order.fingerprint));
        confirmed += usize::from(status.state == OrderState::Confirmed);
    }
    assert_eq!(confirmed, 30);
    broker.close().await;
}
