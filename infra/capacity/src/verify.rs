//! The oracle: what the generator knows, held against what the databases hold. It trusts no counter of the system.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::OrderId;
use sea_orm::{ColumnTrait as _, DatabaseConnection};
use sea_orm::{DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use serde::Serialize;
use store::Databases;
use store::entity::{order, order_line, stock, stock_movement};
use uuid::Uuid;

use crate::journal::{Attempt, Entry};

/// What was found. `lost`, `duplicated`, `unexpected` and `oversold` are 0, or something is broken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Finding {
    /// Orders that were answered 202.
    pub accepted: u64,
    /// Accepted orders in state `confirmed`.
    pub confirmed: u64,
    /// Accepted orders in state `rejected`.
    pub rejected: u64,
    /// Accepted orders in no terminal state, or in none at all.
    pub lost: u64,
    /// Units of an order that were taken more than once (counted by order and SKU), and keys that are stored or were
    /// answered with more than one order.
    pub duplicated: u64,
    /// Orders under a key of this run that nobody attempted.
    pub unexpected: u64,
    /// Units promised beyond what there was.
    pub oversold: u64,
}

impl Finding {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.unexpected == 0 && self.oversold == 0
    }
}

/// Holds `entries` of the run named `run` (see [`crate::Config::run`]) against every region's database. Call it when
/// nothing is under way any more. Orders of others are held to the ledger like all, and are not expected to be attempted.
///
/// # Errors
/// The database's.
pub async fn verify(run: &str, entries: &[Entry], databases: &Databases) -> Result<Finding, DbErr> {
    let journal = Claims::of(run, entries);
    let mut stored = Stored::default();
    for database in databases.databases() {
        stored.read(database.read()).await?;
    }
    Ok(compare(&journal, &stored))
}

/// What the journal claims.
#[derive(Debug, Default)]
struct Claims {
    /// Begins every key of the run.
    prefix: String,
    attempts: HashMap<u64, Attempt>,
    accepted: HashMap<OrderId, u64>,
    /// Keys that were answered with two different ids.
    split_keys: u64,
}

impl Claims {
    fn of(run: &str, entries: &[Entry]) -> Self {
        let mut claims = Self { prefix: format!("{run}-"), ..Self::default() };
        let mut id_of_key: HashMap<String, OrderId> = HashMap::new();
        for entry in entries {
            match entry {
                Entry::Attempt(attempt) => {
                    claims.attempts.insert(attempt.n, attempt.clone());
                }
                Entry::Answer { n, status: Some(202), order_id: Some(id), .. } => {
                    claims.accepted.insert(*id, *n);
                    let key = claims.attempts.get(n).map(|attempt| attempt.key.clone()).unwrap_or_default();
                    if id_of_key.insert(key, *id).is_some_and(|before| before != *id) {
                        claims.split_keys += 1;
                    }
                }
                Entry::Answer { .. } => {}
            }
        }
        claims
    }

    fn keys(&self) -> HashSet<&str> {
        self.attempts.values().map(|attempt| attempt.key.as_str()).collect()
    }
}

/// What the databases hold.
#[derive(Debug, Default)]
struct Stored {
    /// State and idempotency key.
    orders: HashMap<Uuid, (String, String)>,
    /// Units that an order asks for, by order and SKU.
    ordered: HashMap<(Uuid, String), i64>,
    /// Units that were taken for an order, by order and SKU.
    taken: HashMap<(Uuid, String), i64>,
    /// By region and SKU.
    stock: BTreeMap<(i32, String), StockRow>,
    /// Units taken for orders by region and SKU.
    taken_of: BTreeMap<(i32, String), i64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct StockRow {
    on_hand: i64,
    reserved: i64,
    shortfall: i64,
}

impl Stored {
    async fn read(&mut self, db: &DatabaseConnection) -> Result<(), DbErr> {
        let orders: Vec<(Uuid, String, String)> = order::Entity::find()
            .select_only()
            .columns([order::Column::Id, order::Column::State, order::Column::IdempotencyKey])
            .into_tuple()
            .all(db)
            .await?;
        self.orders.extend(orders.into_iter().map(|(id, state, key)| (id, (state, key))));
        let lines: Vec<(Uuid, String, i32)> = order_line::Entity::find()
            .select_only()
            .columns([order_line::Column::OrderId, order_line::Column::Sku, order_line::Column::Quantity])
            .into_tuple()
            .all(db)
            .await?;
        for (order, sku, quantity) in lines {
            *self.ordered.entry((order, sku)).or_default() += i64::from(quantity);
        }
        let movements = stock_movement::Entity::find().filter(stock_movement::Column::Kind.eq("order")).all(db).await?;
        for movement in movements {
            if let Some(order) = movement.order_id {
                *self.taken.entry((order, movement.sku.clone())).or_default() += movement.reserved_change;
            }
            *self.taken_of.entry((movement.region, movement.sku)).or_default() += movement.reserved_change;
        }
        for row in stock::Entity::find().all(db).await? {
            let held = StockRow { on_hand: row.on_hand, reserved: row.reserved, shortfall: row.shortfall };
            self.stock.insert((row.region, row.sku), held);
        }
        Ok(())
    }
}

fn compare(journal: &Claims, stored: &Stored) -> Finding {
    let mut finding =
        Finding { accepted: count(journal.accepted.len()), duplicated: journal.split_keys, ..Finding::default() };
    for id in journal.accepted.keys() {
        match stored.orders.get(&id.as_uuid()).map(|(state, _)| state.as_str()) {
            Some("confirmed") => finding.confirmed += 1,
            Some("rejected") => finding.rejected += 1,
            _ => finding.lost += 1,
        }
    }
    let attempted = journal.keys();
    let mut ids_of_key: HashMap<&str, u64> = HashMap::new();
    for (_, key) in stored.orders.values() {
        *ids_of_key.entry(key).or_default() += 1;
        finding.unexpected += u64::from(key.starts_with(&journal.prefix) && !attempted.contains(key.as_str()));
    }
    finding.duplicated += ids_of_key.values().filter(|ids| **ids > 1).count() as u64;
    let everything: HashSet<&(Uuid, String)> = stored.ordered.keys().chain(stored.taken.keys()).collect();
    for place in everything {
        let confirmed = stored.orders.get(&place.0).is_some_and(|(state, _)| state == "confirmed");
        let due = if confirmed { stored.ordered.get(place).copied().unwrap_or(0) } else { 0 };
        let taken = stored.taken.get(place).copied().unwrap_or(0);
        finding.duplicated += u64::from(taken > due);
        // Confirmed, and its units were never set aside: somebody else will be sold them.
        finding.oversold += u64::try_from(due - taken).unwrap_or(0);
    }
    for (place, row) in &stored.stock {
        let taken = stored.taken_of.get(place).copied().unwrap_or(0);
        // Units promised beyond the count (a shortfall that a count reported is not an oversale), and units that the
        // ledger took and the row does not show.
        let beyond = (row.reserved - row.on_hand - row.shortfall).max(0) + (taken - row.reserved).max(0);
        finding.oversold += u64::try_from(beyond).unwrap_or(0);
        // Units that the row shows as taken and no order took: an effect without its cause, or twice.
        finding.duplicated += u64::from(row.reserved > taken);
    }
    finding
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use model::RegionNumber;

    use super::*;

    fn id(key: &str) -> OrderId {
        OrderId::derive(RegionNumber(1), &"main".parse().unwrap(), &key.parse().unwrap())
    }

    fn journal(keys: &[&str]) -> Vec<Entry> {
        (0..)
            .zip(keys)
            .flat_map(|(n, key)| {
                let attempt = Attempt { n, key: (*key).to_owned(), sku: "MUG".to_owned(), quantity: 1 };
                let answer = Entry::Answer { n, status: Some(202), order_id: Some(id(key)), latency_us: 1 };
                [Entry::Attempt(attempt), answer]
            })
            .collect()
    }

    fn of(key: &str) -> (Uuid, String) {
        (id(key).as_uuid(), "MUG".to_owned())
    }

    /// One unit of one SKU for each order, all confirmed, all in stock.
    fn stored(keys: &[&str]) -> Stored {
        let units = i64::try_from(keys.len()).unwrap();
        let place = (1, "MUG".to_owned());
        Stored {
            orders: keys.iter().map(|key| (id(key).as_uuid(), ("confirmed".to_owned(), (*key).to_owned()))).collect(),
            ordered: keys.iter().map(|key| (of(key), 1)).collect(),
            taken: keys.iter().map(|key| (of(key), 1)).collect(),
            stock: BTreeMap::from([(place.clone(), StockRow { on_hand: 10, reserved: units, shortfall: 0 })]),
            taken_of: BTreeMap::from([(place, units)]),
        }
    }

    fn finding(claimed: &[&str], change: impl FnOnce(&mut Stored)) -> Finding {
        let mut stored = stored(&["run-a", "run-b"]);
        change(&mut stored);
        compare(&Claims::of("run", &journal(claimed)), &stored)
    }

    #[test]
    fn orders_that_were_all_kept_are_clean() {
        let found = finding(&["run-a", "run-b"], |_| ());
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.accepted, found.confirmed), (2, 2));
    }

    #[test]
    fn an_accepted_order_that_is_not_there_or_not_at_its_end_is_lost() {
        assert_eq!(finding(&["run-a", "run-b", "run-c"], |_| ()).lost, 1);
        let placed = |stored: &mut Stored| {
            stored.orders.get_mut(&id("run-a").as_uuid()).unwrap().0 = "placed".to_owned();
        };
        assert_eq!(finding(&["run-a", "run-b"], placed).lost, 1);
    }

    #[test]
    fn units_taken_twice_are_duplicated_whoever_shows_it() {
        let by_ledger = |stored: &mut Stored| *stored.taken.get_mut(&of("run-a")).unwrap() = 2;
        assert_eq!(finding(&["run-a", "run-b"], by_ledger).duplicated, 1);
        let by_row = |stored: &mut Stored| stored.stock.values_mut().for_each(|row| row.reserved += 1);
        assert_eq!(finding(&["run-a", "run-b"], by_row).duplicated, 1);
    }

    #[test]
    fn an_order_that_somebody_else_placed_meanwhile_is_their_own() {
        let theirs = |stored: &mut Stored| {
            stored.orders.insert(id("mine").as_uuid(), ("rejected".to_owned(), "mine".to_owned()));
        };
        let found = finding(&["run-a", "run-b"], theirs);
        assert!(found.is_clean(), "{found:?}");
    }

    #[test]
    fn two_orders_under_one_key_are_duplicated_though_only_one_was_answered() {
        let second = |stored: &mut Stored| {
            stored.orders.insert(id("run-b").as_uuid(), ("confirmed".to_owned(), "run-a".to_owned()));
        };
        assert_eq!(finding(&["run-a"], second).duplicated, 1);
    }

    #[test]
    fn units_of_one_sku_do_not_stand_for_those_of_another() {
        let swapped = |stored: &mut Stored| {
            stored.ordered.insert((id("run-a").as_uuid(), "PEN".to_owned()), 1);
            *stored.taken.get_mut(&of("run-a")).unwrap() = 2;
        };
        let found = finding(&["run-a", "run-b"], swapped);
        assert_eq!((found.duplicated, found.oversold), (1, 1), "{found:?}");
    }

    #[test]
    fn units_promised_beyond_the_count_are_oversold() {
        let fewer = |stored: &mut Stored| stored.stock.values_mut().for_each(|row| row.on_hand = 1);
        assert_eq!(finding(&["run-a", "run-b"], fewer).oversold, 1);
        let never_set_aside = |stored: &mut Stored| *stored.taken.get_mut(&of("run-a")).unwrap() = 0;
        assert_eq!(finding(&["run-a", "run-b"], never_set_aside).oversold, 1);
    }

    #[test]
    fn an_order_that_nobody_attempted_is_unexpected() {
        assert_eq!(finding(&["run-a"], |_| ()).unexpected, 1);
    }
}
