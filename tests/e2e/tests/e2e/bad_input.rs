//! Nonsense, from the network and from the queue: a clear answer, and nobody else is harmed.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use broker::{Broker, Publish, layout};
use broker_embedded::Embedded;
use broker_rabbit::Rabbit;
use events::{Attribution, Envelope, OrderLine, OrderPlaced, Pricing};
use model::{Clock as _, Currency, Fingerprint, OrderId, RegionNumber, SystemClock};
use sea_orm::EntityTrait as _;
use serde_json::json;
use store::entity::parked_message;
use testkit::wait;

use crate::shop::{Parts, Shop, order_body};

/// No JSON.
pub(crate) const BROKEN: &[u8] = b"{\"order\": \"of a kind that nobody knows\"";

pub(crate) async fn a_malformed_request_gets_a_problem_that_names_every_wrong_field(parts: Parts) -> Result<()> {
    let shop = Shop::open(parts, &[("MUG", 1)]).await?;
    let url = shop.ingress("/v1/orders");
    let body = json!({
        "currency": "EURO",
        "lines": [{"sku": "two words", "quantity": 0, "unit_price_minor": -1}],
        "total_minor": "much",
        "colour": "red",
    });
    let response = shop.http.post(&url, &shop.api_key, &[("idempotency-key", "k-1")], &body).await?;
    assert_eq!(response.status, 400);
    assert_eq!(response.header("content-type"), "application/problem+json");
    let said = response.json().to_string();
    for pointer in
        ["/currency", "/lines/0/sku", "/lines/0/quantity", "/lines/0/unit_price_minor", "/total_minor", "/colour"]
    {
        assert!(said.contains(&format!("\"{pointer}\"")), "{pointer} is not named: {said}");
    }

    let no_key = shop.http.post(&url, &shop.api_key, &[], &order_body("MUG", 1)).await?;
    assert_eq!(no_key.status, 400);
    assert!(no_key.json().to_string().contains("Idempotency-Key"), "{}", no_key.json());
    let stranger = shop.http.post(&url, "mp_live_nobody", &[("idempotency-key", "k")], &order_body("MUG", 1)).await?;
    assert_eq!(stranger.status, 401);
    let elsewhere = shop.http.get(&shop.ingress("/v1/nowhere")).await?;
    assert_eq!((elsewhere.status.as_u16(), elsewhere.header("content-type")), (404, "application/problem+json"));
    Ok(())
}

pub(crate) async fn a_malformed_message_put_into_a_queue_by_hand_is_parked_while_its_neighbours_pass(
    parts: Parts,
) -> Result<()> {
    let mut shop = Shop::open(parts, &[("MUG", 10)]).await?;
    shop.stop().await?;

    let broker = by_hand(&shop).await?;
    let mut wrong = placed("k-wrong")?;
    wrong.body = BROKEN.into();
    for outcome in
        broker.publish(vec![to_checkout(placed("k-1")?), to_checkout(wrong), to_checkout(placed("k-2")?)]).await
    {
        outcome?;
    }
    broker.close().await;

    shop.reopen().await?;
    shop.until_decided(2).await?;
    assert_eq!(shop.orders_in("confirmed").await?, 2);
    assert_eq!(shop.stock("MUG").await?, (10, 2));

    // Kept where operators look.
    let parked = wait::until("the message is parked as a row", || async {
        parked_message::Entity::find().one(shop.databases.databases()[0].read()).await.ok().flatten()
    })
    .await
    .with_context(|| shop.logs())?;
    let queue = layout::checkout_queue(&"main".parse()?);
    assert_eq!(
        (parked.queue.as_str(), parked.state.as_str(), parked.kind.as_str()),
        (queue.as_str(), "open", "order.placed")
    );
    assert!(parked.reason.contains("malformed"), "the reason is kept: {:?}", parked.reason);
    assert_eq!(&parked.body[..], BROKEN, "the body is whole");
    Ok(())
}

/// The shop's broker, opened beside its processes, or in their place.
pub(crate) async fn by_hand(shop: &Shop) -> Result<Arc<dyn Broker>> {
    let broker: Arc<dyn Broker> = match (&shop.parts, &shop.servers) {
        (Parts::Embedded, _) => {
            Embedded::open(shop.folder().join("millpond-data/millpond.queue"), broker_embedded::Config::default())
                .await?
        }
        (Parts::Servers, Some(servers)) => {
            Rabbit::connect(servers.broker.url(), "by-hand", broker_rabbit::Config::default())?
        }
        (Parts::Servers, None) => bail!("a shop on servers has servers"),
    };
    broker.declare(&layout::orders([&"main".parse()?])).await?;
    Ok(broker)
}

pub(crate) fn to_checkout(message: model::Message) -> Publish {
    Publish { exchange: layout::orders_exchange(), routing_key: "order.placed.main".to_owned(), message }
}

pub(crate) fn placed(key: &str) -> Result<model::Message> {
    let (region, market, key) = (RegionNumber(1), "main".parse()?, key.parse()?);
    let data = OrderPlaced {
        order_id: OrderId::derive(region, &market, &key),
        market,
        region,
        fingerprint: Fingerprint::of([key.as_str().as_bytes()]),
        idempotency_key: key,
        accepted_at: SystemClock.now(),
        reference: None,
        customer: None,
        currency: Currency::from_code("EUR")?,
        lines: vec![OrderLine { sku: "MUG".parse()?, quantity: 1.try_into()?, unit_price_minor: 1_000 }],
        shipping_minor: 0,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: 1_000,
        pricing: Pricing::Shop,
        attribution: Attribution::default(),
    };
    Ok(Envelope::new(&SystemClock, "by-hand", data).to_message())
}
