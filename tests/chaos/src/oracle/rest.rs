//! Whether everything came to rest: no queue holds anything but what was poisoned, and no outbox anything at all.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use capacity::{Breaches, Guarantee};
use store::Databases;
use testkit::rabbit::FreshVhost;
use tokio::time::{Instant, interval};

use super::Injected;
use super::parked::{PARKED, Parked, UNROUTED};
use super::read::rows;

/// RabbitMQ's figures are as old as its collection interval, 5 s by default: what stood still for longer is true.
const STILL_FOR: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);

/// The depth of every queue, once no figure has changed for longer than RabbitMQ takes to tell a new one.
pub(super) async fn standing_still(broker: &FreshVhost) -> Result<BTreeMap<String, u64>> {
    let mut look = interval(LOOK_EVERY);
    let begun = Instant::now();
    let (mut last, mut since) = (BTreeMap::new(), begun);
    while begun.elapsed() < PATIENCE {
        look.tick().await;
        let depths = broker.depths().await?;
        if depths != last {
            (last, since) = (depths, Instant::now());
        } else if since.elapsed() >= STILL_FOR {
            return Ok(last);
        }
    }
    bail!("the queues still move after {PATIENCE:?}: it is too early to judge. At last they held {last:?}")
}

/// How many rows each database's outbox holds.
pub(super) async fn outboxes(databases: &Databases) -> Result<BTreeMap<String, i64>> {
    let mut waiting = BTreeMap::new();
    for database in databases.databases() {
        let found = rows(database, "SELECT count(*) AS waiting FROM outbox", []).await?;
        let count = found.first().map_or(Ok(0), |row| row.try_get("", "waiting"))?;
        waiting.insert(database.name().to_owned(), count);
    }
    Ok(waiting)
}

/// Holds what is left against what was put in.
pub(super) fn judge(
    queues: &BTreeMap<String, u64>,
    parked: &Parked,
    outboxes: &BTreeMap<String, i64>,
    injected: &Injected,
) -> Breaches {
    let mut breaches = Breaches::default();
    for (queue, messages) in queues.iter().filter(|(queue, _)| !queue.ends_with(PARKED) && *queue != UNROUTED) {
        let expected = injected.waiting.get(queue).copied().unwrap_or(0);
        if *messages != expected {
            breaches.add(Guarantee::AtRest, queue, format!("{expected} messages"), messages.to_string());
        }
    }
    let found = parked.counts();
    let homes = injected.parked.keys().map(String::as_str).chain(found.keys().copied());
    for home in homes.collect::<std::collections::BTreeSet<_>>() {
        let expected = injected.parked.get(home).copied().unwrap_or(0);
        let messages = found.get(home).copied().unwrap_or(0);
        if messages != expected {
            let subject = format!("parked messages of {home}");
            breaches.add(Guarantee::AtRest, subject, format!("{expected}, as poisoned"), messages.to_string());
        }
    }
    for (database, waiting) in outboxes.iter().filter(|(_, waiting)| **waiting != 0) {
        breaches.add(Guarantee::AtRest, format!("the outbox of {database}"), "no row", waiting.to_string());
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "millpond.checkout.main.v1";

    fn found(messages: u64, parked: u64, outbox: i64, injected: &Injected) -> Vec<String> {
        let mut put_aside = Parked::default();
        for id in 0..parked {
            put_aside.add(QUEUE, &id.to_string(), b"");
        }
        let queues = BTreeMap::from([(QUEUE.to_owned(), messages), (format!("{QUEUE}{PARKED}"), parked)]);
        let outboxes = BTreeMap::from([("main".to_owned(), outbox)]);
        let breaches = judge(&queues, &put_aside, &outboxes, injected);
        assert!(breaches.guarantees().all(|guarantee| guarantee == Guarantee::AtRest), "{breaches}");
        breaches.named().iter().map(|breach| breach.subject.clone()).collect()
    }

    #[test]
    fn what_is_left_is_what_was_poisoned_and_nothing_else() {
        let poisoned = Injected { parked: BTreeMap::from([(QUEUE.to_owned(), 2)]), ..Injected::default() };
        let parked = format!("parked messages of {QUEUE}");
        assert_eq!(found(0, 0, 0, &Injected::default()), Vec::<String>::new());
        assert_eq!(found(0, 2, 0, &poisoned), Vec::<String>::new());
        assert_eq!(found(0, 1, 0, &poisoned), [parked.as_str()], "poison that is nowhere to be seen");
        assert_eq!(found(0, 1, 0, &Injected::default()), [parked.as_str()], "an innocent that was parked");
        assert_eq!(found(1, 0, 0, &Injected::default()), [QUEUE]);
        assert_eq!(found(0, 0, 1, &Injected::default()), ["the outbox of main"]);
    }

    #[test]
    fn messages_of_a_version_that_nobody_knows_may_wait() {
        let injected = Injected { waiting: BTreeMap::from([(QUEUE.to_owned(), 3)]), ..Injected::default() };
        assert_eq!(found(3, 0, 0, &injected), Vec::<String>::new());
        assert_eq!(found(2, 0, 0, &injected), [QUEUE]);
    }
}
