//! The proof that the oracle can be red: see `failpoint`. Each promise is broken on purpose and played with the fault that
//! shows it, and the oracle has to name that very guarantee. The same play with nothing broken has to be clean.
//!
//! `infra/prove.sh` builds the binary that this needs, and runs it.

mod poison;
mod scenarios;
mod stage;

use anyhow::{Context as _, Result, ensure};
use chaos::oracle::Guarantee;
use failpoint::Point;
use testkit::process::{binary, binary_with_failpoints, contains};

use crate::stage::{Stage, VARIABLE};

const STOCK: [(&str, i64); 3] = [("MUG", 1_000), ("PEN", 1_000), ("RARE", 10)];

/// Two batches of one order each, where a scenario is about acks.
const SINGLE_ORDERS: &str = "[checkout.worker]\nbatch = 1\nparallel_batches = 2";

/// A message that fails is parked soon.
const TWO_ATTEMPTS: &str = "[checkout.worker]\npark_after_attempts = 2";

/// Units are held for a payment: for an hour, which is `HELD_FOR` of the stage.
const HOLDS: &str = "[checkout]\nreserve_s = 3600\n[checkout.expiry]\ninterval_ms = 200";

/// Plays a scenario in which `broken` is broken in every process, and holds the oracle to the `expected` guarantee; to
/// nothing at all where nothing is broken.
async fn play(
    broken: Option<Point>,
    expected: Guarantee,
    settings: &str,
    scenario: impl AsyncFn(&mut Stage) -> Result<()>,
) -> Result<()> {
    let mut stage = Stage::open(broken, &STOCK, settings).await?;
    scenario(&mut stage).await.with_context(|| stage.logs())?;
    let verdict = stage.verdict().await.with_context(|| stage.logs())?;
    let breaches = &verdict.breaches;
    match broken {
        None => ensure!(verdict.is_clean(), "nothing is broken, and the oracle says:\n{breaches}\n{}", stage.logs()),
        Some(point) => {
            let name = point.name();
            ensure!(breaches.of(expected) > 0, "{name} is broken; expected a breach of {expected}, found:\n{breaches}");
            // What is missing is gone, and not only late.
            let late = expected != Guarantee::AtRest && breaches.of(Guarantee::AtRest) > 0;
            ensure!(!late, "{name}: the oracle was asked before everything had come to rest:\n{breaches}");
        }
    }
    Ok(())
}

/// Two tests for each point: broken it turns the oracle red, whole it does not.
macro_rules! proofs {
    ($($name:ident: $point:ident breaks $guarantee:ident in $scenario:ident $(with $settings:ident)?),+ $(,)?) => {
        $(mod $name {
            use super::*;

            const SETTINGS: &str = concat_settings!($($settings)?);

            #[tokio::test(flavor = "multi_thread")]
            async fn broken_turns_the_oracle_red() -> Result<()> {
                play(Some(Point::$point), Guarantee::$guarantee, SETTINGS, scenarios::$scenario).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn whole_leaves_it_silent() -> Result<()> {
                play(None, Guarantee::$guarantee, SETTINGS, scenarios::$scenario).await
            }
        })+

        /// Points that are played; the others are faults and no broken promises.
        const PLAYED: &[Point] = &[$(Point::$point),+];
    };
}

macro_rules! concat_settings {
    () => {
        ""
    };
    ($settings:ident) => {
        $settings
    };
}

proofs! {
    ack_before_commit: AckBeforeCommit breaks Kept in killed_with_orders_in_hand,
    ack_over_unsettled: AckOverUnsettled breaks Kept in overtaken_and_killed with SINGLE_ORDERS,
    confirm_not_awaited: ConfirmNotAwaited breaks Kept in a_queue_that_is_full,
    no_alternate: NoAlternate breaks Kept in a_binding_that_is_gone,
    parked_dropped: ParkedDropped breaks AtRest in a_message_that_is_no_order,
    parker_acks_first: ParkerAcksFirst breaks AtRest in a_parker_that_is_killed with TWO_ATTEMPTS,
    oversell: Oversell breaks Ledger in sold_out,
    no_movement: NoMovement breaks Ledger in a_sale,
    repeat_is_new: RepeatIsNew breaks Once in orders_delivered_twice,
    never_released: NeverReleased breaks Kept in nobody_pays with HOLDS,
    paid_late: PaidLate breaks Kept in somebody_pays_too_late with HOLDS,
    changed_twice: ChangedTwice breaks Once in stock_changes_that_are_repeated,
    paid_back_twice: ChangedTwice breaks Once in a_refund_that_is_repeated,
    cancelled_twice: ChangedTwice breaks Ledger in a_cancellation_that_is_repeated,
    made_up_order: MadeUpOrder breaks Attempted in a_sale,
    count_twice: CountTwice breaks Rollups in events_delivered_twice,
    delete_unconfirmed: DeleteUnconfirmed breaks Rollups in an_exchange_that_is_gone,
    told_to_nobody: DeleteUnconfirmed breaks Told in a_listener_that_is_full with SINGLE_ORDERS,
    cache_before_commit: CacheBeforeCommit breaks Cached in sold_out,
    purge_dropped: PurgeDropped breaks Cached in a_page_that_changes,
}

#[test]
fn every_point_that_breaks_a_promise_is_played() {
    let faults = [Point::DieAfterCommit, Point::PoisonByReference];
    for point in Point::ALL {
        assert_ne!(PLAYED.contains(point), faults.contains(point), "{} is played or a fault", point.name());
    }
}

#[test]
fn failpoints_are_in_the_binary_that_was_built_with_them_and_in_no_other() -> Result<()> {
    for text in [VARIABLE, Point::AckBeforeCommit.name(), failpoint::ABORT] {
        assert!(contains(&binary_with_failpoints()?, text)?, "{text:?} is in a binary with failpoints");
        assert!(!contains(&binary()?, text)?, "{text:?} is in the binary that is shipped");
    }
    Ok(())
}
