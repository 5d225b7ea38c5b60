//! Messages that no handler can do anything with.
//!
//! Some of those that are published by hand come two to five times, the copies in another order, when their first may be parked
//! already: the parker is handed one message several times, and has to make one row of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use broker::Publish;
use bytes::Bytes;
use events::{Attribution, Envelope, OrderLine, OrderPlaced, Pricing};
use futures::future::BoxFuture;
use model::{Clock as _, Currency, Fingerprint, Message, OrderId, RegionNumber, SystemClock, headers};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::time::{Instant, interval};
use uuid::Uuid;

use super::{Fault, nothing};
use crate::oracle::{self, PoisonEnd};
use crate::world::{PRICE_MINOR, World};

/// The reference of an order on which checkout panics (`failpoint::PANIC`).
pub(super) const PANIC: &str = "failpoint:panic";
/// That of an order that takes the process down (`failpoint::ABORT`).
pub(super) const ABORT: &str = "failpoint:abort";
/// A hundredth of the orders between two faults of a kind and some, in a long run at the default rate. (Of those that take a
/// process down it is a hundredth while the fault lasts: more would leave nothing else to be worked on.)
pub(super) const MESSAGES: u64 = 300;
/// Of so many messages that are published by hand one comes several times.
const ONE_OF: usize = 10;
/// A poisoned message is in the system or it is not: it is tried until it is, whatever else goes on.
const PATIENCE: Duration = Duration::from_secs(90);
const TRY_EVERY: Duration = Duration::from_millis(500);

/// What is wrong with a message that is published straight into checkout's queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// It is cut off.
    Json,
    /// It says that it is of version 99.
    Version,
    /// It holds a zero character, which PostgreSQL stores in no text (SQLSTATE 22021).
    Constraint,
}

/// Poison published by hand.
pub(super) struct Published {
    pub(super) kind: Kind,
    pub(super) dice: u64,
}

impl Published {
    fn message(&self, n: u64) -> Result<Message> {
        let reference = matches!(self.kind, Kind::Constraint).then(|| "zero \0 character".to_owned());
        let key = format!("poison-{:016x}-{n}", self.dice);
        let mut message = placed(&key, reference)?;
        // The same however often it is tried: a publish that was given up on may have arrived.
        message.id = key.parse()?;
        match self.kind {
            Kind::Json => message.body = Bytes::copy_from_slice(&message.body[..message.body.len() / 2]),
            Kind::Version => {
                message.headers.insert(headers::VERSION.to_owned(), "99".to_owned());
            }
            Kind::Constraint => (),
        }
        Ok(message)
    }

    /// Every message once, and then those that come again, from one to four times more each.
    fn deliveries(&self) -> Result<Vec<Message>> {
        let messages: Vec<Message> = (0..MESSAGES).map(|n| self.message(n)).collect::<Result<_>>()?;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.dice);
        let mut again = Vec::new();
        for message in messages.iter().step_by(ONE_OF) {
            again.extend(vec![message.clone(); rng.random_range(1..=4)]);
        }
        again.shuffle(&mut rng);
        Ok([messages, again].concat())
    }
}

impl Fault for Published {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            for message in self.deliveries()? {
                // Noted first: a publish whose outcome is unknown is tried again, with the same id.
                world.note_poison(oracle::Poison {
                    queue: World::checkout_queue().as_str().to_owned(),
                    message_id: message.id.to_string(),
                    kind: format!("{:?}", self.kind),
                    end: if matches!(self.kind, Kind::Version) { PoisonEnd::Waiting } else { PoisonEnd::Parked },
                });
                // Straight into the queue: unrouted it would be nobody's to replay, as it says of no region that it is its.
                world.publish(Publish::to_queue(&World::checkout_queue(), message), PATIENCE).await?;
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        nothing()
    }
}

/// An order as the ingress would publish it.
fn placed(key: &str, reference: Option<String>) -> Result<Message> {
    let (region, market, key) = (RegionNumber(1), "main".parse()?, key.parse()?);
    let data = OrderPlaced {
        order_id: OrderId::derive(region, &market, &key),
        market,
        region,
        fingerprint: Fingerprint::of([key.as_str().as_bytes()]),
        idempotency_key: key,
        accepted_at: SystemClock.now(),
        reference,
        customer: None,
        currency: Currency::from_code("EUR")?,
        lines: vec![OrderLine { sku: "SKU-1".parse()?, quantity: 1.try_into()?, unit_price_minor: PRICE_MINOR }],
        shipping_minor: 0,
        tax_minor: 0,
        discount_minor: 0,
        total_minor: PRICE_MINOR,
        pricing: Pricing::Shop,
        attribution: Attribution::default(),
    };
    Ok(Envelope::new(&SystemClock, "chaos", data).to_message())
}

/// Poison that comes as an order over HTTP. It takes a binary with failpoints; any other confirms it, and the oracle says
/// so.
pub(super) struct Posted {
    pub(super) reference: &'static str,
    pub(super) count: u64,
    pub(super) dice: u64,
}

impl Fault for Posted {
    fn begin<'a>(&'a mut self, world: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            for n in 0..self.count {
                let key = format!("poison-{:016x}-{n}", self.dice);
                let id = post(world, &key, self.reference).await?;
                world.note_posted(oracle::Posted { key, accepted: Some(id) });
                world.note_poison(oracle::Poison {
                    queue: World::checkout_queue().as_str().to_owned(),
                    message_id: id.to_string(),
                    kind: self.reference.to_owned(),
                    end: PoisonEnd::Parked,
                });
            }
            Ok(())
        })
    }

    fn end<'a>(&'a mut self, _: &'a Arc<World>) -> BoxFuture<'a, Result<()>> {
        nothing()
    }
}

/// Posts until it is answered 202, always with the same key.
async fn post(world: &World, key: &str, reference: &str) -> Result<Uuid> {
    let url = format!("{}/v1/orders", world.roles.url("ingress").await?);
    let body = json!({
        "currency": "EUR", "total_minor": PRICE_MINOR, "reference": reference,
        "lines": [{"sku": "SKU-1", "quantity": 1, "unit_price_minor": PRICE_MINOR}],
    });
    let (http, begun, mut again) = (testkit::http::Http::new(), Instant::now(), interval(TRY_EVERY));
    loop {
        again.tick().await;
        if let Ok(answer) = http.post(&url, &world.api_key, &[("idempotency-key", key)], &body).await {
            if answer.status == 202 {
                let json = answer.json();
                let id = json["order_id"].as_str().context("a 202 names the order")?;
                return Ok(id.parse()?);
            }
            ensure!(answer.status.is_server_error(), "{}: {}", answer.status, answer.json());
        }
        if begun.elapsed() > PATIENCE {
            // It may be in the system all the same.
            world.note_posted(oracle::Posted { key: key.to_owned(), accepted: None });
            anyhow::bail!("it was not accepted within {} s", PATIENCE.as_secs());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_tenth_of_what_is_published_comes_two_to_five_times_and_is_the_same_each_time() {
        let deliveries = Published { kind: Kind::Json, dice: 7 }.deliveries().unwrap();
        let mut times: BTreeMap<String, Vec<&Bytes>> = BTreeMap::new();
        for message in &deliveries {
            times.entry(message.id.to_string()).or_default().push(&message.body);
        }
        assert_eq!(times.len() as u64, MESSAGES);
        assert!(times.values().all(|bodies| bodies.iter().all(|body| *body == bodies[0])), "one message each");
        let again: Vec<usize> = times.values().map(Vec::len).filter(|copies| *copies > 1).collect();
        assert_eq!(again.len() as u64 * ONE_OF as u64, MESSAGES);
        assert!(again.iter().all(|copies| (2..=5).contains(copies)), "{again:?}");
    }
}
