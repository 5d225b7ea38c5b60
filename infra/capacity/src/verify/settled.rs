//! Whether it is time to judge: a cheap look, for a loop.

use sea_orm::DbErr;
use store::Databases;
use uuid::Uuid;

use super::claims::{Claims, Fate};
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
    let (seen, _) = stored::events(databases.analytics(), claims.run()).await?;
    Ok(seen >= claims.events_accepted)
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
