use crate::entity::{
    analytics_progress, campaign_visitors, order, order_line, order_refund, page_event_seen, page_rollup,
    parked_message, parked_replay, product, product_listing, product_price, product_word, revenue_rollup, revenue_seen,
    revenue_taken_back, stock, stock_movement, stock_request,
};
use model::{Clock as _, EventId, SystemClock};
use sea_orm::{ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, IntoActiveModel as _};
use serde_json::json;

use super::fixture::Home;

fn order() -> order::Model {
    let now = SystemClock.now();
    order::Model {
        id: EventId::new(&SystemClock).as_uuid(),
        region: 65_535,
        market: "eu".to_owned(),
        idempotency_key: "key".to_owned(),
        reference: Some("R-1".to_owned()),
        customer: None,
        fingerprint: vec![7; 32],
        state: "rejected".to_owned(),
        reason: Some(json!({"code": "out_of_stock"})),
        expires_at: None,
        version: 1,
        currency: "EUR".to_owned(),
        shipping_minor: 0,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: i64::MAX,
        pricing: json!({"by": "shop"}),
        attribution: json!({}),
        accepted_at: now,
        shipped_at: None,
        created_at: now,
        updated_at: now,
    }
}

#[tokio::test]
async fn an_order_is_read_back_as_it_was_written() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let order = order();
        let line = order_line::Model {
            order_id: order.id,
            line_no: 1,
            sku: "MUG".to_owned(),
            quantity: 2,
            unit_price_minor: 500,
        };
        let tx = database.begin().await.unwrap();
        order.clone().into_active_model().insert(&*tx).await.unwrap();
        line.clone().into_active_model().insert(&*tx).await.unwrap();
        tx.commit().await.unwrap();
        let found = order::Entity::find_by_id(order.id)
            .find_with_related(order_line::Entity)
            .all(database.read())
            .await
            .unwrap();
        assert_eq!(found, [(order, vec![line])]);
    }
}

#[tokio::test]
async fn what_the_database_fills_in_is_its_own_time() {
    for home in Home::both().await {
        let database = home.migrated().await;
        let tx = database.begin().await.unwrap();
        let row =
            stock::ActiveModel { region: Set(1), sku: Set("MUG".to_owned()), on_hand: Set(10), ..Default::default() };
        let row = row.insert(&*tx).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((row.reserved, row.shortfall, row.low_threshold, row.version), (0, 0, 10, 1));
        assert!((SystemClock.now() - row.updated_at).num_seconds().abs() < 60);
    }
}

#[tokio::test]
async fn every_entity_fits_its_table() {
    macro_rules! fits {
        ($database:ident, $($entity:ident),+) => {
            $(assert_eq!($entity::Entity::find().all($database.read()).await.unwrap(), []);)+
        };
    }
    for home in Home::both().await {
        let database = home.migrated().await;
        fits!(database, order, order_line, stock, stock_movement, product, product_price, parked_message);
        fits!(database, page_event_seen, page_rollup, campaign_visitors, revenue_rollup, revenue_seen);
        fits!(database, product_listing, product_word);
        fits!(database, analytics_progress, parked_replay, order_refund, stock_request, revenue_taken_back);
        assert_eq!(crate::entity::outbox::Entity::find().all(database.read()).await.unwrap(), []);
    }
}
