//! Whether everything came to rest: no queue holds anything but what was poisoned, and no outbox anything at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};
use broker::{Broker, QueueName};
use broker_rabbit::Rabbit;
use capacity::{Breaches, Guarantee};
use store::Databases;
use testkit::vhost::Vhost;
use tokio::time::{Instant, interval};

use super::evidence::{Poison, PoisonEnd};
use super::parked::Parked;
use super::read::rows;

/// A message in a worker's hand is in no depth. So the queues have to stand still for longer than a batch, or a retry's
/// first rung, takes.
const STILL_FOR: Duration = Duration::from_secs(2);
/// How often to look whether things have come to rest.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// In the middle of the names of a retry ladder's queues.
const RETRY: &str = ".retry.";
const PATIENCE: Duration = Duration::from_mins(1);

/// A home queue and the id of a message.
pub(super) type Named = (String, String);

/// The depth of every queue, once none has changed for a while. The broker counts them at this moment: its management
/// API's figures are some seconds old, so that gives the names alone.
pub(super) async fn standing_still(vhost: &Vhost, url: &str) -> Result<BTreeMap<String, u64>> {
    let rabbit = Rabbit::connect(url, "millpond oracle", broker_rabbit::Config::default())?;
    let still = still(vhost, &*rabbit).await;
    rabbit.close().await;
    still
}

async fn still(vhost: &Vhost, broker: &dyn Broker) -> Result<BTreeMap<String, u64>> {
    let mut look = interval(LOOK_EVERY);
    let begun = Instant::now();
    let (mut last, mut since, mut why) = (BTreeMap::new(), begun, String::new());
    while begun.elapsed() < PATIENCE {
        look.tick().await;
        let queues: Vec<QueueName> = vhost.queues().await?.into_iter().map(QueueName::new).collect();
        let depths = match broker.depths(&queues).await {
            Ok(depths) => depths,
            // Not connected yet, or a queue was deleted in between: the next look tells.
            Err(error) => {
                why = error.to_string();
                continue;
            }
        };
        let depths = depths.into_iter().map(|depth| (depth.queue.to_string(), depth.ready)).collect();
        if depths != last {
            (last, since) = (depths, Instant::now());
        } else if since.elapsed() >= STILL_FOR {
            return Ok(last);
        }
    }
    bail!("the queues still move after {PATIENCE:?}: it is too early to judge. At last they held {last:?} {why}")
}

/// The messages that wait on the rungs of retry ladders: their home queue and their id, each once. A copy more of one is the
/// same message, which its worker handed on and could not settle.
pub(super) async fn on_rungs(vhost: &Vhost, queues: &BTreeMap<String, u64>) -> Result<BTreeSet<Named>> {
    let mut waiting = BTreeSet::new();
    for (queue, messages) in queues.iter().filter(|(_, messages)| **messages > 0) {
        let Some((home, _)) = queue.split_once(RETRY) else { continue };
        let peeked = vhost.peek(queue, *messages).await?;
        waiting.extend(peeked.into_iter().map(|message| (home.to_owned(), message.id)));
    }
    Ok(waiting)
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
    on_rungs: &BTreeSet<Named>,
    parked: &Parked,
    outboxes: &BTreeMap<String, i64>,
    poison: &[Poison],
) -> Breaches {
    let mut breaches = Breaches::default();
    depths(queues, &mut breaches);
    rungs(on_rungs, poison, &mut breaches);
    put_aside(parked, poison, &mut breaches);
    for (database, waiting) in outboxes.iter().filter(|(_, waiting)| **waiting != 0) {
        breaches.add(Guarantee::AtRest, format!("the outbox of {database}"), "no row", waiting.to_string());
    }
    breaches
}

/// Every queue is empty but rungs, on which poison goes round: what is put aside is in rows by now.
fn depths(queues: &BTreeMap<String, u64>, breaches: &mut Breaches) {
    for (queue, messages) in queues.iter().filter(|(queue, messages)| **messages > 0 && !queue.contains(RETRY)) {
        breaches.add(Guarantee::AtRest, queue, "to be empty", format!("{messages} messages"));
    }
}

/// Who waits on a rung is poison that has to wait there.
fn rungs(on_rungs: &BTreeSet<Named>, poison: &[Poison], breaches: &mut Breaches) {
    let known = named(poison, PoisonEnd::Waiting);
    for (home, id) in on_rungs.difference(&known) {
        breaches.add(Guarantee::AtRest, format!("message {id} of {home}"), "to be handled", "it on a rung");
    }
    for (home, id) in known.difference(on_rungs) {
        breaches.add(Guarantee::AtRest, format!("poison {id} of {home}"), "it on a rung", "it nowhere");
    }
}

fn named(poison: &[Poison], end: PoisonEnd) -> BTreeSet<Named> {
    let those = poison.iter().filter(|one| one.end == end);
    those.map(|one| (one.queue.clone(), one.message_id.clone())).collect()
}

/// What is put aside is what was poisoned.
fn put_aside(parked: &Parked, poison: &[Poison], breaches: &mut Breaches) {
    let known = named(poison, PoisonEnd::Parked);
    let mut missing = known.clone();
    for (home, id, order) in parked.messages() {
        let order = order.map(|order| order.to_string()).unwrap_or_default();
        let named = |id: &str| (home.to_owned(), id.to_owned());
        // An order that was posted twice has two messages.
        let both = [named(id), named(&order)];
        missing.retain(|name| !both.contains(name));
        if !both.iter().any(|name| known.contains(name)) {
            let subject = format!("message {id} of {home} (order {order:?})");
            breaches.add(Guarantee::AtRest, subject, "to be handled, as it is no poison", "it put aside");
        }
    }
    for (home, id) in missing {
        breaches.add(Guarantee::AtRest, format!("poison {id} of {home}"), "it parked", "it nowhere");
    }
}

#[cfg(test)]
mod tests {
    use super::super::parked::PARKED;
    use super::*;

    const QUEUE: &str = "millpond.checkout.main.v1";

    fn poison(id: u64, end: PoisonEnd) -> Poison {
        Poison { queue: QUEUE.to_owned(), message_id: format!("m-{id}"), kind: "bad JSON".to_owned(), end }
    }

    fn found(queues: &[(&str, u64)], rungs: &[u64], parked: u64, outbox: i64, poison: &[Poison]) -> Vec<String> {
        let mut put_aside = Parked::default();
        for id in 0..parked {
            put_aside.add(QUEUE, &format!("m-{id}"), b"");
        }
        let queues = queues.iter().map(|(queue, messages)| (format!("{QUEUE}{queue}"), *messages)).collect();
        let on_rungs = rungs.iter().map(|id| (QUEUE.to_owned(), format!("m-{id}"))).collect();
        let outboxes = BTreeMap::from([("main".to_owned(), outbox)]);
        let breaches = judge(&queues, &on_rungs, &put_aside, &outboxes, poison);
        assert!(breaches.guarantees().all(|guarantee| guarantee == Guarantee::AtRest), "{breaches}");
        breaches.named().iter().map(|breach| breach.subject.clone()).collect()
    }

    #[test]
    fn what_is_left_is_what_was_poisoned_and_nothing_else() {
        let two = [0, 1].map(|id| poison(id, PoisonEnd::Parked));
        assert_eq!(found(&[("", 0), (PARKED, 0)], &[], 0, 0, &[]), Vec::<String>::new());
        assert_eq!(found(&[(PARKED, 2)], &[], 2, 0, &two), [format!("{QUEUE}{PARKED}")], "not in rows");
        assert_eq!(found(&[("", 0)], &[], 2, 0, &two), Vec::<String>::new());
        assert_eq!(found(&[], &[], 1, 0, &two), [format!("poison m-1 of {QUEUE}")], "nowhere to be seen");
        assert_eq!(found(&[], &[], 1, 0, &[]), [format!("message m-0 of {QUEUE} (order \"\")")], "an innocent");
        assert_eq!(found(&[("", 1)], &[], 0, 0, &[]), [QUEUE]);
        assert_eq!(found(&[], &[], 0, 1, &[]), ["the outbox of main"]);
    }

    #[test]
    fn messages_of_a_version_that_nobody_knows_wait_on_a_rung() {
        let three = [0, 1, 2].map(|id| poison(id, PoisonEnd::Waiting));
        let rung = [(".retry.600s", 3)];
        assert_eq!(found(&rung, &[0, 1, 2], 0, 0, &three), Vec::<String>::new());
        assert_eq!(found(&rung, &[0, 2], 0, 0, &three), [format!("poison m-1 of {QUEUE}")], "nowhere to be seen");
        assert_eq!(found(&rung, &[0, 1, 2, 3], 0, 0, &three), [format!("message m-3 of {QUEUE}")], "an innocent");
        assert_eq!(found(&[("", 3)], &[], 0, 0, &three).len(), 4, "and not in the queue itself");
    }
}
