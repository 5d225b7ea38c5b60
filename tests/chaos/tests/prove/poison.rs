//! Messages that panic or take the process down, among others that do neither.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use failpoint::Point;
use testkit::wait;
use tokio::time::{Instant, interval};

use crate::STOCK;
use crate::stage::Stage;

const NEIGHBOURS: i64 = 30;
/// `alone_after`, `park_after_crashes` and `park_after_trials` of `worker::Config`, and one for a kill that the broker had not
/// yet heard of.
const MOST_CRASHES: u32 = 3 + 3 + 2 + 1;
const CONFIRMED: &str = "SELECT count(*) AS count FROM orders WHERE state = 'confirmed'";

/// Orders, and in the middle of them one with this reference.
async fn poisoned(reference: &str, settings: &str) -> Result<Stage> {
    let mut stage = Stage::open(Some(Point::PoisonByReference), &STOCK, settings).await?;
    stage.start("ingress").await?;
    stage.start("parker").await?;
    for n in 0..NEIGHBOURS {
        if n == NEIGHBOURS / 2 {
            let poison = stage.post("poison", "MUG", Some(reference)).await?;
            stage.poisoned(&poison.to_string(), reference);
        }
        stage.post(&format!("neighbour-{n}"), "MUG", None).await?;
    }
    Ok(stage)
}

async fn ends_parked_alone(mut stage: Stage) -> Result<()> {
    stage.until_count(NEIGHBOURS, CONFIRMED).await.with_context(|| stage.logs())?;
    let parked = wait::until("the poison is in a row", || async { stage.parked().await.ok().filter(|rows| *rows > 0) });
    let parked = parked.await.with_context(|| stage.logs())?;
    ensure!(parked == 1, "the one that is poison, and none of its neighbours: {parked}");
    let verdict = stage.verdict().await?;
    ensure!(verdict.is_clean(), "{}", verdict.breaches);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_aborts_the_process_is_parked_after_a_bounded_number_of_crashes() -> Result<()> {
    let mut stage = poisoned(failpoint::ABORT, "").await?;
    let (mut crashes, begun) = (0, Instant::now());
    let mut look = interval(Duration::from_millis(50));
    stage.launch("checkout", None)?;
    // As a supervisor does: whenever it is dead, it is started again.
    while stage.count(CONFIRMED).await? < NEIGHBOURS || stage.parked().await? == 0 {
        look.tick().await;
        ensure!(begun.elapsed() < wait::DEADLINE, "after {crashes} crashes:\n{}", stage.logs());
        if !stage.lives("checkout") {
            stage.until_dead("checkout").await?;
            crashes += 1;
            stage.launch("checkout", None)?;
        }
    }
    ensure!((1..=MOST_CRASHES).contains(&crashes), "{crashes} crashes");
    ends_parked_alone(stage).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_panics_is_parked_and_harms_no_other() -> Result<()> {
    let mut stage = poisoned(failpoint::PANIC, "[checkout.worker]\npark_after_attempts = 2").await?;
    stage.start("checkout").await?;
    ends_parked_alone(stage).await
}
