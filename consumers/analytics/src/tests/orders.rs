use chrono::TimeDelta;
use events::{
    Attribution, Envelope, OrderConfirmed, OrderLine, OrderOutcomes, OrderRefunded, OrderRejected, OrderReleased,
    RefundedLine, Rejection, ReleaseCause,
};
use model::{Clock, Currency, OrderId, RegionNumber};
use worker::Handler as _;

use super::fixture::{Fixture, both, handle, items};
use crate::Outcome;

const TOTALS: &str = "SELECT CAST(sum(orders) AS bigint), CAST(sum(units) AS bigint), \
                      CAST(sum(revenue_minor) AS bigint), CAST(sum(rejected) AS bigint) FROM revenue_rollups_minute";

fn order(key: &str) -> OrderId {
    OrderId::derive(RegionNumber(1), &"eu".parse().unwrap(), &key.parse().unwrap())
}

fn campaign() -> Attribution {
    Attribution { campaign: Some("black friday".to_owned()), anonymous_id: None }
}

pub(super) fn confirmed(clock: &dyn Clock, key: &str) -> OrderConfirmed {
    OrderConfirmed {
        order_id: order(key),
        market: "eu".parse().unwrap(),
        region: RegionNumber(1),
        accepted_at: clock.now(),
        confirmed_at: clock.now() + TimeDelta::minutes(5),
        currency: Currency::from_code("EUR").unwrap(),
        total_minor: 1_999,
        lines: vec![OrderLine { sku: "MUG".parse().unwrap(), quantity: 3.try_into().unwrap(), unit_price_minor: 500 }],
        attribution: campaign(),
    }
}

/// Outcomes as single messages.
fn singly<const N: usize>(outcomes: [Outcome; N]) -> [Vec<Outcome>; N] {
    outcomes.map(|outcome| vec![outcome])
}

impl Fixture {
    fn confirmed(&self, key: &str) -> Outcome {
        Outcome::Confirmed(confirmed(&*self.clock, key))
    }

    fn rejected(&self, key: &str, reason: Rejection) -> Outcome {
        Outcome::Rejected(OrderRejected {
            order_id: order(key),
            market: "eu".parse().unwrap(),
            region: RegionNumber(1),
            accepted_at: self.clock.now(),
            rejected_at: self.clock.now(),
            reason,
            attribution: campaign(),
        })
    }
}

#[tokio::test]
async fn revenue_counts_once_per_order_however_often_it_is_told() {
    for fixture in both().await {
        let orders = fixture.orders();
        let first = items(singly([fixture.confirmed("a"), fixture.confirmed("b"), fixture.confirmed("a")]));
        handle(&orders, &first).await;
        handle(&fixture.orders(), &items([vec![fixture.confirmed("b"), fixture.rejected("c", Rejection::Expired)]]))
            .await;
        handle(&orders, &first).await;
        assert_eq!(fixture.numbers(TOTALS).await, [2, 6, 3_998, 1]);
    }
}

#[tokio::test]
async fn a_conflicting_second_post_is_no_outcome_of_the_order() {
    for fixture in both().await {
        let conflict = fixture.rejected("a", Rejection::IdempotencyConflict);
        handle(&fixture.orders(), &items(singly([conflict, fixture.confirmed("a")]))).await;
        assert_eq!(fixture.numbers(TOTALS).await, [1, 3, 1_999, 0]);
    }
}

#[tokio::test]
async fn an_order_counts_in_the_minute_in_which_it_was_accepted() {
    for fixture in both().await {
        handle(&fixture.orders(), &items(singly([fixture.confirmed("a")]))).await;
        let at_noon = "2026-11-27T12:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let sql = "DELETE FROM revenue_rollups_minute WHERE minute = $1 AND campaign = 'black friday'";
        fixture.execute(sql, [at_noon.into()]).await;
        assert_eq!(fixture.numbers("SELECT count(*) FROM revenue_rollups_minute").await, [0]);
    }
}

#[tokio::test]
async fn outcomes_are_read_from_single_messages_and_from_one_for_many() {
    let [fixture, _] = both().await;
    let (Outcome::Confirmed(confirmed), Outcome::Rejected(rejected)) =
        (fixture.confirmed("a"), fixture.rejected("b", Rejection::Expired))
    else {
        unreachable!()
    };
    let orders = fixture.orders();
    let message = Envelope::new(&*fixture.clock, "checkout", confirmed.clone()).to_message();
    assert_eq!(orders.decode(&message), Ok(vec![Outcome::Confirmed(confirmed.clone())]));
    let message = Envelope::new(&*fixture.clock, "checkout", rejected.clone()).to_message();
    assert_eq!(orders.decode(&message), Ok(vec![Outcome::Rejected(rejected.clone())]));
    let many = OrderOutcomes {
        confirmed: vec![confirmed.clone()],
        rejected: vec![rejected.clone()],
        ..OrderOutcomes::new(RegionNumber(1))
    };
    let message = Envelope::new(&*fixture.clock, "checkout", many).to_message();
    assert_eq!(orders.decode(&message), Ok(vec![Outcome::Confirmed(confirmed), Outcome::Rejected(rejected)]));
}

impl Fixture {
    fn released(&self, key: &str, was_confirmed: bool) -> Outcome {
        let confirmed = confirmed(&*self.clock, key);
        Outcome::Released(OrderReleased {
            order_id: confirmed.order_id,
            market: confirmed.market,
            region: confirmed.region,
            accepted_at: confirmed.accepted_at,
            released_at: confirmed.confirmed_at,
            cause: if was_confirmed { ReleaseCause::Cancelled } else { ReleaseCause::Expired },
            was_confirmed,
            currency: confirmed.currency,
            total_minor: confirmed.total_minor,
            units: 3,
            attribution: confirmed.attribution,
        })
    }

    fn refunded(&self, key: &str, reference: &str) -> Outcome {
        let confirmed = confirmed(&*self.clock, key);
        let line = RefundedLine {
            sku: "MUG".parse().unwrap(),
            quantity: 1.try_into().unwrap(),
            restocked: true,
            amount_minor: 500,
        };
        Outcome::Refunded(OrderRefunded {
            order_id: confirmed.order_id,
            reference: reference.parse().unwrap(),
            market: confirmed.market,
            region: confirmed.region,
            accepted_at: confirmed.accepted_at,
            refunded_at: confirmed.confirmed_at,
            currency: confirmed.currency,
            lines: vec![line],
            attribution: confirmed.attribution,
        })
    }
}

#[tokio::test]
async fn a_cancellation_and_each_refund_take_back_once_in_whatever_order_they_are_told() {
    for fixture in both().await {
        let orders = fixture.orders();
        // Told before its confirmation, twice in one message, again in a later one.
        let early =
            [vec![fixture.released("a", true), fixture.released("a", true)], vec![fixture.refunded("b", "r-1")]];
        handle(&orders, &items(early.clone())).await;
        handle(&orders, &items(singly([fixture.confirmed("a"), fixture.confirmed("b"), fixture.refunded("b", "r-2")])))
            .await;
        handle(&fixture.orders(), &items(early)).await;
        handle(&orders, &items(singly([fixture.refunded("b", "r-2")]))).await;
        assert_eq!(fixture.numbers(TOTALS).await, [1, 1, 999, 0]);
    }
}

#[tokio::test]
async fn a_reservation_that_ran_out_was_never_a_sale() {
    for fixture in both().await {
        handle(&fixture.orders(), &items(singly([fixture.released("a", false), fixture.confirmed("b")]))).await;
        assert_eq!(fixture.numbers(TOTALS).await, [1, 3, 1_999, 0]);
    }
}
