//! The whole way with the real checkout: parked, seen, mended, replayed, closed, and stored once.

use std::sync::Arc;

use broker::{Publish, layout};
use events::{Attribution, Envelope, OrderLine, OrderPlaced, Pricing};
use model::{Clock as _, Currency, Fingerprint, OrderId, RegionNumber, SystemClock};
use sea_orm::EntityTrait as _;
use service::metrics::Metrics;
use service::{Readiness, Shutdown, Tasks};
use store::Region;
use store::entity::{order, stock_movement};
use testkit::wait;
use worker::{Breaker, BreakerConfig, Governor, GovernorConfig, Pauses};

use super::site::{REGION, Site, Trail, checkout as queue, config, on_both, one, region};
use crate::Config;

on_both!(an_order_that_was_parked_is_replayed_once_its_cause_is_mended_and_has_its_effect_once);

/// Checkout of the site's region, which it believes to have this `number`; parks at the first failure.
fn checkout(site: &Site, number: RegionNumber) -> (Shutdown, tokio::task::JoinHandle<Result<(), checkout::Error>>) {
    let shutdown = Shutdown::new();
    let database = Arc::clone(site.database());
    let worker = worker::Config { park_after_attempts: 1, ..checkout::Config::default().worker };
    let region = Region { name: region(), number, database: Arc::clone(&database) };
    let (broker, running) = (Arc::clone(&site.broker), shutdown.clone());
    let task = Tasks::new().spawn("checkout", async move {
        let deps = checkout::Deps {
            config: checkout::Config { worker, ..checkout::Config::default() },
            region,
            orders: broker,
            breaker: Arc::new(Breaker::new("main", BreakerConfig::default())),
            governor: Arc::new(Governor::new(database, GovernorConfig::default())),
            cache: Arc::new(cache::Cache::open(&cache::Config::default()).await.unwrap()),
            pauses: Pauses::none(),
            readiness: Readiness::new(running.clone()),
            metrics: Metrics::new(),
        };
        checkout::run(deps, running).await
    });
    (shutdown, task)
}

fn placed() -> OrderPlaced {
    let (market, key) = ("eu".parse().unwrap(), "k-1".parse().unwrap());
    OrderPlaced {
        order_id: OrderId::derive(REGION, &market, &key),
        market,
        region: REGION,
        idempotency_key: key,
        fingerprint: Fingerprint::of([b"k-1".as_slice()]),
        accepted_at: SystemClock.now(),
        reference: None,
        customer: Some("Ada Lovelace".parse().unwrap()),
        currency: Currency::from_code("EUR").unwrap(),
        lines: vec![OrderLine { sku: "MUG".parse().unwrap(), quantity: 1.try_into().unwrap(), unit_price_minor: 100 }],
        shipping_minor: 0,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: 100,
        pricing: Pricing::Shop,
        attribution: Attribution::default(),
    }
}

async fn an_order_that_was_parked_is_replayed_once_its_cause_is_mended_and_has_its_effect_once(site: Site) {
    let sql = "INSERT INTO stock (region, sku, on_hand, low_threshold) VALUES ($1, 'MUG', 10, 1)";
    site.execute(sql, [i32::from(REGION.0).into()]).await;
    // Effects are looked for at the end: before, the second replay would find its message closed.
    let parker = site.parker(Config { check_ms: 3_600_000, ..config() });
    let order = Envelope::new(&SystemClock, "ingress", placed()).to_message();
    let id = order.id.to_string();
    let key = layout::order_placed_key(&region());
    let publish = Publish { exchange: layout::orders_exchange(), routing_key: key, message: order };

    // A configuration that numbers the region wrongly.
    let (stop, wrong) = checkout(&site, RegionNumber(2));
    site.broker.publish(vec![publish]).await.remove(0).unwrap();
    let row = site.row_once(&id, |row| row.state == "open").await;
    assert!(row.reason.contains("belongs to region 1"), "{}", row.reason);
    stop.request();
    wrong.await.unwrap().unwrap();

    // Mended; and replayed twice, as by a crash.
    let (stop, right) = checkout(&site, REGION);
    for _ in 0..2 {
        assert_eq!(site.desk().replay(&one(&id), None, "ada", &Trail::default()).await.unwrap(), 1);
        site.row_once(&id, |row| row.state == "replayed").await;
    }
    site.until_ready(&queue(), 0).await;
    let upkeep = site.upkeep(config());
    wait::until("its effect exists", || async { (upkeep.close().await.unwrap() == 1).then_some(()) }).await.unwrap();
    let row = site.row_once(&id, |row| row.state == "closed").await;
    assert_eq!((row.note.as_deref(), row.times, row.replays), (Some("its effect exists"), 1, 2));
    stop.request();
    right.await.unwrap().unwrap();
    let read = site.database().read();
    assert_eq!(order::Entity::find().all(read).await.unwrap().len(), 1);
    assert_eq!(stock_movement::Entity::find().all(read).await.unwrap().len(), 1);
    parker.stop().await;
}
