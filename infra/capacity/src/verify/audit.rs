//! The comparison itself, without a database: rows go in one by one, and what was found comes out.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Finding;
use super::claims::{Claim, Claims, Fate, Owner};
use super::events::Seen;

/// An order as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) region: i32,
    pub(super) state: String,
    /// The code of a rejection.
    pub(super) reason: Option<String>,
    pub(super) key: String,
}

/// What an order asks for of one SKU, and what the ledger says it took and did not give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) sku: String,
    pub(super) ordered: i64,
    pub(super) taken: i64,
}

/// A row of stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stock {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
    pub(super) shortfall: i64,
    /// The sum of the ledger's movements that took units for orders and gave them back whole.
    pub(super) taken: i64,
    /// The sum of all its movements, so without what was shipped or refunded since.
    pub(super) moved: i64,
}

pub(super) struct Audit<'a> {
    claims: &'a Claims,
    /// How often each attempt's key was met.
    met: Vec<u8>,
    /// Units that orders took, by region and SKU.
    taken: BTreeMap<(i32, String), i64>,
    finding: Finding,
}

impl<'a> Audit<'a> {
    pub(super) fn new(claims: &'a Claims) -> Self {
        let accepted = |claim: &&Claim| claim.fate == Fate::Accepted && claim.is_order();
        let accepted = claims.all().iter().filter(accepted).count() as u64;
        let finding = Finding {
            accepted,
            duplicated: claims.split_keys,
            events_accepted: claims.events_accepted,
            ..Finding::default()
        };
        Self { claims, met: vec![0; claims.all().len()], taken: BTreeMap::new(), finding }
    }

    /// An order with its lines, one for each SKU.
    pub(super) fn order(&mut self, order: &Order, lines: &[Line]) {
        match self.claims.owner(&order.key) {
            Owner::Attempt(n) => self.own(order, lines, n),
            Owner::Nobody => self.finding.unexpected += 1,
            Owner::Others => {}
        }
        for line in lines {
            let due = if matches!(&*order.state, "confirmed" | "paid" | "reserved") { line.ordered } else { 0 };
            self.finding.duplicated += u64::from(line.taken > due);
            // Confirmed, and its units were never set aside: somebody else will be sold them.
            self.finding.oversold += units(due - line.taken);
            *self.taken.entry((order.region, line.sku.clone())).or_default() += line.taken;
        }
    }

    /// An order under the key of attempt `n`.
    fn own(&mut self, order: &Order, lines: &[Line], n: u64) {
        let claim = self.claims.fate(n);
        let first = usize::try_from(n).ok().and_then(|n| self.met.get_mut(n)).is_none_or(|met| {
            *met = met.saturating_add(1);
            *met == 1
        });
        if !first {
            self.finding.duplicated += 1;
            return;
        }
        // Confirmed, and it is not what was asked for: the order that the shop owes is not there.
        let hollow = order.state == "confirmed" && !holds(lines, self.claims.goods(claim));
        match claim.fate {
            _ if !claim.is_order() => self.finding.unexpected += 1,
            Fate::Accepted if claim.id.is_nil() || claim.id == order.id => {
                self.accepted(order);
                self.finding.lost += u64::from(hollow);
            }
            Fate::Unknown => {
                self.finding.unknown_stored += 1;
                self.finding.lost += u64::from(hollow);
            }
            Fate::Accepted | Fate::Refused | Fate::NotSent | Fate::Unwritten => self.finding.unexpected += 1,
        }
    }

    fn accepted(&mut self, order: &Order) {
        let state = match &order.reason {
            Some(reason) => format!("{}: {reason}", order.state),
            None => order.state.clone(),
        };
        *self.finding.states.entry(state).or_default() += 1;
        match order.state.as_str() {
            "confirmed" => self.finding.confirmed += 1,
            "rejected" => self.finding.rejected += 1,
            "released" => self.finding.released += 1,
            "reserved" | "paid" => self.finding.reserved += 1,
            _ => {}
        }
    }

    /// A row of stock, after all orders of its database.
    pub(super) fn stock(&mut self, region: i32, sku: String, stock: Stock) {
        let by_orders = self.taken.remove(&(region, sku)).unwrap_or(0);
        // Units promised beyond the count (a shortfall that a count reported is not an oversale), and units that the
        // ledger took and the row does not show.
        let beyond = units(stock.reserved - stock.on_hand - stock.shortfall) + units(stock.moved - stock.reserved);
        self.finding.oversold += beyond;
        // Units that the row shows as taken and no movement took, or that a movement took and no order asked for: an
        // effect without its cause, or twice.
        self.finding.duplicated += u64::from(stock.reserved > stock.moved) + u64::from(stock.taken > by_orders);
    }

    /// Page events of this run: ids that were seen, and what the rollups hold.
    pub(super) fn events(&mut self, seen: &Seen<'_>, counted: u64) {
        let total = seen.total();
        self.finding.events_counted = total;
        self.finding.lost += seen.missing() + total.saturating_sub(counted);
        self.finding.duplicated += counted.saturating_sub(total);
        self.finding.unexpected += seen.unexpected();
    }

    pub(super) fn finish(mut self) -> Finding {
        let absent = |(claim, met): &(&Claim, &u8)| claim.fate == Fate::Unknown && claim.is_order() && **met == 0;
        self.finding.unknown_absent = self.claims.all().iter().zip(&self.met).filter(absent).count() as u64;
        // In no state, in one that nobody decided, or under an id that was not the promised one.
        let Finding { confirmed, rejected, released, reserved, .. } = self.finding;
        self.finding.lost += self.finding.accepted - confirmed - rejected - released - reserved;
        // Stock of which there is no row any more.
        self.finding.oversold += self.taken.values().map(|taken| units(*taken)).sum::<u64>();
        self.finding
    }
}

/// Whether these are the lines of an order of `goods`, or any where the journal names none.
fn holds(lines: &[Line], goods: Option<(&str, u32)>) -> bool {
    match (lines, goods) {
        ([line], Some((sku, quantity))) => line.sku == sku && line.ordered == i64::from(quantity),
        (lines, None) => !lines.is_empty(),
        _ => false,
    }
}

fn units(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use model::{OrderId, RegionNumber};

    use super::*;
    use crate::journal::{Attempt, Entry};

    fn id(key: &str) -> OrderId {
        OrderId::derive(RegionNumber(1), &"main".parse().unwrap(), &key.parse().unwrap())
    }

    /// A run `run` of so many attempts, all accepted, that ended.
    fn claims(attempts: u64, change: impl FnOnce(&mut Vec<Entry>)) -> Claims {
        let mut entries = vec![Entry::Run { run: "run".to_owned(), seed: 1 }, Entry::Reserved { to: 1_000 }];
        for n in 0..attempts {
            let key = format!("run-{n}");
            let order_id = Some(id(&key));
            entries.push(Entry::Attempt(Attempt { n, key, sku: "MUG".to_owned(), quantity: 1 }));
            entries.push(Entry::Answer { n, status: Some(202), order_id, latency_us: 1 });
        }
        entries.push(Entry::Ended);
        change(&mut entries);
        Claims::of(entries.into_iter().map(Ok)).unwrap()
    }

    fn order(key: &str) -> Order {
        let (state, key) = ("confirmed".to_owned(), key.to_owned());
        Order { id: id(&key).as_uuid(), region: 1, state, reason: None, key }
    }

    fn line(sku: &str, ordered: i64, taken: i64) -> Line {
        Line { sku: sku.to_owned(), ordered, taken }
    }

    /// `run-0` and `run-1` stored as they should be but for `change`; ten units of `MUG`.
    fn finding(claims: &Claims, change: impl FnOnce(&mut Vec<(Order, Vec<Line>)>, &mut Stock)) -> Finding {
        let mut orders: Vec<_> = ["run-0", "run-1"].map(|key| (order(key), vec![line("MUG", 1, 1)])).into();
        let mut stock = Stock { on_hand: 10, reserved: 2, shortfall: 0, taken: 2, moved: 2 };
        change(&mut orders, &mut stock);
        let mut audit = Audit::new(claims);
        for (order, lines) in &orders {
            audit.order(order, lines);
        }
        audit.stock(1, "MUG".to_owned(), stock);
        audit.finish()
    }

    #[test]
    fn orders_that_were_all_kept_are_clean() {
        let found = finding(&claims(2, |_| ()), |_, _| ());
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.accepted, found.confirmed), (2, 2));
        assert_eq!(found.states, BTreeMap::from([("confirmed".to_owned(), 2)]));
    }

    #[test]
    fn an_accepted_order_that_is_not_there_or_not_at_its_end_is_lost() {
        assert_eq!(finding(&claims(3, |_| ()), |_, _| ()).lost, 1);
        let placed = finding(&claims(2, |_| ()), |orders, stock| {
            orders[0].0.state = "placed".to_owned();
            orders[0].1[0].taken = 0;
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert_eq!((placed.lost, placed.duplicated, placed.oversold), (1, 0, 0), "{placed:?}");
    }

    #[test]
    fn units_taken_twice_are_duplicated_whoever_shows_it() {
        let claims = claims(2, |_| ());
        let by_order = finding(&claims, |orders, stock| {
            orders[0].1[0].taken = 2;
            *stock = Stock { reserved: 3, taken: 3, moved: 3, ..*stock };
        });
        assert_eq!(by_order.duplicated, 1, "{by_order:?}");
        assert_eq!(finding(&claims, |_, stock| stock.reserved = 3).duplicated, 1, "by the row");
        let stray = finding(&claims, |_, stock| *stock = Stock { reserved: 3, taken: 3, moved: 3, ..*stock });
        assert_eq!(stray.duplicated, 1, "by a movement that no order asked for");
    }

    #[test]
    fn a_released_order_gave_its_units_back_and_a_reserved_one_holds_them() {
        let given_back = finding(&claims(2, |_| ()), |orders, stock| {
            (orders[0].0.state, orders[0].1[0].taken) = ("released".to_owned(), 0);
            orders[1].0.state = "reserved".to_owned();
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert!(given_back.is_clean(), "{given_back:?}");
        assert_eq!((given_back.released, given_back.reserved), (1, 1));
        let kept = finding(&claims(2, |_| ()), |orders, _| orders[0].0.state = "released".to_owned());
        assert_eq!(kept.duplicated, 1, "released, and its units are still taken");
    }

    #[test]
    fn units_that_were_shipped_or_refunded_are_no_longer_reserved_and_were_taken_once() {
        let shipped =
            |_: &mut Vec<_>, stock: &mut Stock| *stock = Stock { on_hand: 9, reserved: 1, moved: 1, ..*stock };
        let found = finding(&claims(2, |_| ()), shipped);
        assert!(found.is_clean(), "{found:?}");
    }

    #[test]
    fn orders_of_others_are_held_to_the_ledger_alone() {
        let theirs = |orders: &mut Vec<(Order, Vec<Line>)>, _: &mut Stock| {
            orders.push((Order { state: "rejected".to_owned(), ..order("mine") }, vec![line("MUG", 1, 0)]));
        };
        let found = finding(&claims(2, |_| ()), theirs);
        assert!(found.is_clean(), "{found:?}");
    }

    #[test]
    fn two_orders_under_one_key_are_duplicated() {
        let twice = |orders: &mut Vec<(Order, Vec<Line>)>, _: &mut Stock| {
            orders.push((Order { id: Uuid::from_u128(7), ..order("run-0") }, vec![]));
        };
        assert_eq!(finding(&claims(2, |_| ()), twice).duplicated, 1);
        let split = claims(2, |entries| {
            entries.push(Entry::Answer { n: 1, status: Some(202), order_id: Some(id("other")), latency_us: 1 });
        });
        assert_eq!(finding(&split, |_, _| ()).duplicated, 1);
    }

    #[test]
    fn an_order_that_was_refused_or_never_sent_is_unexpected() {
        let refused = claims(2, |entries| {
            entries.push(Entry::Answer { n: 1, status: Some(422), order_id: None, latency_us: 1 });
        });
        assert_eq!(finding(&refused, |_, _| ()).unexpected, 1);
        assert_eq!(finding(&claims(1, |_| ()), |_, _| ()).unexpected, 1, "after the end of the run");
    }

    #[test]
    fn an_unknown_outcome_may_be_either_and_never_twice() {
        let unknown = claims(3, |entries| {
            for n in [1, 2] {
                entries.push(Entry::Answer { n, status: Some(503), order_id: None, latency_us: 1 });
            }
        });
        let found = finding(&unknown, |_, _| ());
        assert!(found.is_clean(), "{found:?}");
        assert_eq!((found.unknown_stored, found.unknown_absent), (1, 1));
        let twice = finding(&unknown, |orders, _| {
            orders.push((Order { id: Uuid::from_u128(7), ..order("run-1") }, vec![]));
        });
        assert_eq!(twice.duplicated, 1);
    }

    #[test]
    fn units_of_one_sku_do_not_stand_for_those_of_another() {
        let swapped = finding(&claims(2, |_| ()), |orders, stock| {
            orders[0].1 = vec![line("MUG", 1, 2), line("PEN", 1, 0)];
            *stock = Stock { reserved: 3, taken: 3, moved: 3, ..*stock };
        });
        assert_eq!((swapped.duplicated, swapped.oversold), (1, 1), "{swapped:?}");
    }

    #[test]
    fn units_promised_beyond_the_count_are_oversold() {
        let claims = claims(2, |_| ());
        assert_eq!(finding(&claims, |_, stock| stock.on_hand = 1).oversold, 1);
        let counted = |_: &mut Vec<_>, stock: &mut Stock| *stock = Stock { on_hand: 1, shortfall: 1, ..*stock };
        assert_eq!(finding(&claims, counted).oversold, 0, "a count that named the shortfall is not an oversale");
        let never_set_aside = finding(&claims, |orders, stock| {
            orders[0].1[0].taken = 0;
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert_eq!(never_set_aside.oversold, 1);
    }

    #[test]
    fn a_confirmed_order_is_what_was_asked_for_or_it_is_lost() {
        let claims = claims(2, |_| ());
        let gone = finding(&claims, |orders, stock| {
            orders[0].1.clear();
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert_eq!((gone.lost, gone.confirmed), (1, 2), "without lines: {gone:?}");
        let more = finding(&claims, |orders, stock| {
            orders[0].1 = vec![line("MUG", 2, 2)];
            *stock = Stock { reserved: 3, taken: 3, moved: 3, ..*stock };
        });
        assert_eq!(more, Finding { lost: 1, ..finding(&claims, |_, _| ()) }, "another quantity");
        let other = finding(&claims, |orders, stock| {
            orders[0].1 = vec![line("PEN", 1, 0)];
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert_eq!(other.lost, 1, "another article: {other:?}");
    }

    #[test]
    fn an_order_of_unknown_outcome_that_was_confirmed_has_its_lines() {
        let unknown = claims(2, |entries| {
            entries.push(Entry::Answer { n: 1, status: None, order_id: None, latency_us: 1 });
        });
        let gone = finding(&unknown, |orders, stock| {
            orders[1].1.clear();
            *stock = Stock { reserved: 1, taken: 1, moved: 1, ..*stock };
        });
        assert_eq!((gone.lost, gone.unknown_stored), (1, 1), "{gone:?}");
    }
}
