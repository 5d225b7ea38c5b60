//! Whether it is time to judge: a cheap look, for a loop.

use sea_orm::DbErr;
use store::Databases;
use uuid::Uuid;

use super::claims::{Claims, Fate};
use super::events::Seen;
use super::stored;

/// Accepted orders that are looked for: spread over the run, and its last ones.
const SPREAD: usize = 500;
const LAST: usize = 500;

pub(super) async fn settled(claims: &Claims, databases: &Databases) -> Result<bool, DbErr> {
    for database in databases.databases() {
        if !stored::outbox_is_empty(database).await? {
            return Ok(false);
        }
    }
    let sample = sample(claims);
    let mut held = 0;
    if !sample.is_empty() {
        for database in databases.databases() {
            held += stored::held(database, &sample).await?;
        }
    }
    if held < sample.len() {
        return Ok(false);
    }
    if !claims.sent_events() {
        return Ok(true);
    }
    // The number is the cheaper look, and no more than a look: events of an unknown outcome are in it.
    let analytics = databases.analytics();
    if stored::events_seen(analytics, claims.run()).await? < claims.events_accepted {
        return Ok(false);
    }
    let mut seen = Seen::new(claims);
    stored::event_ids(analytics, &mut seen).await?;
    Ok(seen.missing() == 0)
}

fn sample(claims: &Claims) -> Vec<Uuid> {
    let accepted = || claims.all().iter().filter(|claim| claim.fate == Fate::Accepted && !claim.id.is_nil());
    let step = (accepted().count() / SPREAD).max(1);
    let spread = accepted().step_by(step).take(SPREAD);
    let mut ids: Vec<Uuid> = spread.chain(accepted().rev().take(LAST)).map(|claim| claim.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
