//! Releasing what was reserved and not paid in time.

use std::time::Duration;

use cache::OrderStatus;
use rand::RngExt as _;
use service::metrics::{Counter, Family, Metrics};
use store::stock::{self, OrderNow};
use store::{Fault, Region};

use crate::config::Expiry;
use crate::status::StatusQueue;

static EXPIRED: Family = Family::counter(
    "millpond_checkout_expired_orders_total",
    "Reservations that were not paid in time and were released by this process",
    &["region"],
);

/// The count of what is released in `region`.
pub(crate) fn counter(metrics: &Metrics, region: &Region) -> Counter {
    metrics.counter(&EXPIRED, &[region.name.as_str()])
}

/// Sweeps for ever, one bounded transaction at a time. Takes no part in the database's budget, so it keeps its own measure; and
/// needs no breaker, since a sweep that fails is nobody's loss: the next one finds the same orders.
pub(crate) async fn sweep_for_ever(region: Region, expiry: Expiry, statuses: StatusQueue, counter: Counter) {
    let mut failing = false;
    let mut stuck = Vec::new();
    loop {
        // By chance, so that processes that were started together do not sweep together.
        let pause = rand::rng().random_range(expiry.interval_ms / 2..=expiry.interval_ms.saturating_mul(3) / 2);
        tokio::time::sleep(Duration::from_millis(pause.max(1))).await;
        match stock::expire(&region, expiry.batch).await {
            Ok(expired) => {
                if failing {
                    tracing::info!(region = %region.name, "reservations that ran out are released again");
                }
                failing = false;
                // Told again only when it is another set of orders.
                if !expired.stuck.is_empty() && expired.stuck != stuck {
                    tracing::error!(
                        region = %region.name,
                        checkout.stuck = expired.stuck.len(),
                        orders = ?expired.stuck,
                        "reservations ran out and can't be released: mend what is said of each order; the others are released"
                    );
                }
                stuck = expired.stuck;
                if !expired.released.is_empty() {
                    counter.inc_by(expired.released.len() as u64);
                    tracing::info!(
                        region = %region.name,
                        checkout.released = expired.released.len(),
                        "reservations ran out before they were paid: their units are for sale again"
                    );
                    statuses.offer(expired.released.into_iter().map(status).collect());
                }
            }
            Err(error) => {
                let fault = Fault::classify(&error);
                // Another writer was in the way: the next sweep is soon.
                if !matches!(fault, Fault::Contention(_)) && !std::mem::replace(&mut failing, true) {
                    tracing::warn!(
                        region = %region.name,
                        error = %fault,
                        "reservations that ran out stay reserved until the database takes the sweep"
                    );
                }
            }
        }
    }
}

fn status(order: OrderNow) -> OrderStatus {
    let OrderNow { order_id, version, fingerprint, accepted_at, state } = order;
    OrderStatus { order_id, version, fingerprint, accepted_at, state }
}
