//! The comparison itself, without a database: rows go in one by one, and what was found comes out.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::breach::Guarantee;
use super::claims::{Claim, Claims, Fate, Owner};
use super::events::{ByPath, Seen};
use super::{Beside, Finding};

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
    /// The sums of all of the ledger's movements, so without what was shipped or refunded since.
    pub(super) moved: Moved,
}

/// What movements did to a row of stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moved {
    pub(super) on_hand: i64,
    pub(super) reserved: i64,
}

/// What was met of one journal.
struct Run<'a> {
    claims: &'a Claims,
    /// How often each attempt's key was met.
    met: Vec<u8>,
    /// Whether each attempt's order is decided.
    ended: Vec<bool>,
}

impl<'a> Run<'a> {
    fn new(claims: &'a Claims) -> Self {
        let attempts = claims.all().len();
        Self { claims, met: vec![0; attempts], ended: vec![false; attempts] }
    }

    /// Meets the key of attempt `n`; whether for the first time.
    fn meet(&mut self, n: u64) -> bool {
        let met = usize::try_from(n).ok().and_then(|n| self.met.get_mut(n));
        met.is_none_or(|met| {
            *met = met.saturating_add(1);
            *met == 1
        })
    }

    fn end(&mut self, n: u64) {
        if let Some(ended) = usize::try_from(n).ok().and_then(|n| self.ended.get_mut(n)) {
            *ended = true;
        }
    }
}

pub(super) struct Audit<'a> {
    runs: Vec<Run<'a>>,
    beside: &'a Beside,
    /// Units that orders took, by region and SKU.
    taken: BTreeMap<(i32, String), i64>,
    finding: Finding,
}

impl<'a> Audit<'a> {
    pub(super) fn new(journals: &'a [Claims], beside: &'a Beside) -> Self {
        let mut finding = Finding::default();
        for claims in journals {
            let accepted = |claim: &&Claim| claim.fate == Fate::Accepted && claim.is_order();
            finding.accepted += claims.all().iter().filter(accepted).count() as u64;
            finding.duplicated += claims.split_keys;
            finding.events_accepted += claims.events_accepted;
            for _ in 0..claims.split_keys {
                let subject = format!("a key of {}", claims.run());
                finding.breaches.add(Guarantee::Once, subject, "one order's id in its answers", "two");
            }
        }
        Self { runs: journals.iter().map(Run::new).collect(), beside, taken: BTreeMap::new(), finding }
    }

    /// An order with its lines, one for each SKU.
    pub(super) fn order(&mut self, order: &Order, lines: &[Line]) {
        let owners = self.runs.iter().map(|run| run.claims.owner(&order.key)).enumerate();
        let (run, owner) = owners.into_iter().find(|(_, owner)| *owner != Owner::Others).unwrap_or((0, Owner::Others));
        match owner {
            Owner::Attempt(n) => self.own(order, lines, run, n),
            Owner::Nobody => self.unexpected(order, "no order, as its key was never sent"),
            Owner::Others if self.beside.expects(&order.key) => {}
            Owner::Others => self.unexpected(order, "no order, as no client posted one with its key"),
        }
        for line in lines {
            let due = if matches!(&*order.state, "confirmed" | "paid" | "reserved") { line.ordered } else { 0 };
            let subject = || format!("order {}, {}", order.id, line.sku);
            if line.taken > due {
                self.finding.duplicated += 1;
                self.breach(Guarantee::Once, subject(), format!("{due} units taken"), line.taken.to_string());
            } else if line.taken < due {
                // Confirmed, and its units were never set aside: somebody else will be sold them.
                self.finding.oversold += units(due - line.taken);
                self.breach(Guarantee::Ledger, subject(), format!("{due} units taken"), line.taken.to_string());
            }
            *self.taken.entry((order.region, line.sku.clone())).or_default() += line.taken;
        }
    }

    /// An order under the key of attempt `n` of a run.
    fn own(&mut self, order: &Order, lines: &[Line], run: usize, n: u64) {
        let claims = self.runs[run].claims;
        let claim = claims.fate(n);
        if !self.runs[run].meet(n) {
            self.finding.duplicated += 1;
            self.breach(Guarantee::Once, named(order), format!("one order under the key {}", order.key), "another one");
            return;
        }
        match claim.fate {
            _ if !claim.is_order() => self.unexpected(order, "no order, as its key belongs to page events"),
            Fate::Accepted if claim.id.is_nil() || claim.id == order.id => {
                if self.accepted(order) {
                    self.runs[run].end(n);
                }
                self.goods(order, lines, claims.goods(claim));
            }
            Fate::Unknown => {
                self.finding.unknown_stored += 1;
                self.goods(order, lines, claims.goods(claim));
            }
            Fate::Accepted => {
                let expected = format!("the order under the id that was promised, {}", claim.id);
                self.unexpected(order, &expected);
            }
            Fate::Refused => self.unexpected(order, "no order, as it was refused"),
            Fate::NotSent | Fate::Unwritten => self.unexpected(order, "no order, as it was not sent"),
        }
    }

    /// Confirmed, and not what was asked for: the order that the shop owes is not there.
    fn goods(&mut self, order: &Order, lines: &[Line], goods: Option<(&str, u32)>) {
        if order.state == "confirmed" && !holds(lines, goods) {
            let expected = goods.map_or_else(|| "lines".to_owned(), |(sku, units)| format!("{units} of {sku}"));
            self.finding.lost += 1;
            self.breach(Guarantee::Kept, named(order), expected, format!("{lines:?}"));
        }
    }

    /// Whether somebody has decided it: it came to its end, or waits for its payment.
    fn accepted(&mut self, order: &Order) -> bool {
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
            _ => return false,
        }
        true
    }

    fn unexpected(&mut self, order: &Order, expected: &str) {
        self.finding.unexpected += 1;
        self.breach(Guarantee::Attempted, named(order), expected, format!("one in state {}", order.state));
    }

    /// A row of stock, after all orders of its database.
    pub(super) fn stock(&mut self, region: i32, sku: String, stock: Stock) {
        let subject = format!("{sku} of region {region}");
        let by_orders = self.taken.remove(&(region, sku)).unwrap_or(0);
        let Stock { on_hand, reserved, shortfall, taken, moved } = stock;
        // Units promised beyond the count (a shortfall that a count reported is not an oversale), and units that the
        // ledger took and the row does not show.
        let beyond = units(reserved - on_hand - shortfall) + units(moved.reserved - reserved);
        self.finding.oversold += beyond;
        if reserved > on_hand + shortfall || on_hand.min(reserved).min(shortfall) < 0 {
            let expected = format!("at most {on_hand} units reserved, and {shortfall} known to be missing");
            self.breach(Guarantee::Ledger, &subject, expected, format!("{reserved} reserved"));
        }
        if (on_hand, reserved) != (moved.on_hand, moved.reserved) {
            self.finding.unbalanced += 1;
            let expected = format!("{} on hand, {} reserved, as the movements add up", moved.on_hand, moved.reserved);
            self.breach(Guarantee::Ledger, &subject, expected, format!("{on_hand} on hand, {reserved} reserved"));
        }
        // Units that the row shows as taken and no movement took, or that a movement took and no order asked for: an
        // effect without its cause, or twice.
        self.finding.duplicated += u64::from(reserved > moved.reserved) + u64::from(taken > by_orders);
        if taken > by_orders {
            self.breach(Guarantee::Once, subject, format!("{by_orders} units taken, for orders"), taken.to_string());
        }
    }

    /// Page events of this run: ids that were seen, and what the rollups hold by path.
    pub(super) fn events(&mut self, seen: &Seen<'_>, counted: &ByPath) {
        let (total, run) = (seen.total(), seen.run());
        self.finding.events_counted += total;
        self.finding.lost += seen.missing();
        self.finding.unexpected += seen.unexpected();
        for (n, missing) in seen.missing_by_request() {
            let subject = format!("page events {run}-{n}-…");
            self.finding.breaches.add(Guarantee::Kept, subject, "every event counted", format!("{missing} missing"));
        }
        if seen.unexpected() > 0 {
            let subject = format!("page events of {run}");
            self.breach(Guarantee::Attempted, subject, "none that nobody sent", seen.unexpected().to_string());
        }
        self.rollups(&seen.by_path(), counted);
    }

    fn rollups(&mut self, seen: &ByPath, counted: &ByPath) {
        let paths: BTreeSet<&String> = seen.keys().chain(counted.keys()).collect();
        for path in paths {
            let due = seen.get(path).copied().unwrap_or_default();
            let held = counted.get(path).copied().unwrap_or_default();
            self.finding.lost += due.events.saturating_sub(held.events);
            self.finding.duplicated += held.events.saturating_sub(due.events);
            if held != due {
                let subject = format!("page_rollups_minute of {path}");
                self.breach(Guarantee::Rollups, subject, format!("{due:?}, each once"), format!("{held:?}"));
            }
        }
    }

    pub(super) fn finish(mut self) -> Finding {
        for run in std::mem::take(&mut self.runs) {
            self.missing(&run);
        }
        // Stock of which there is no row any more.
        for ((region, sku), taken) in std::mem::take(&mut self.taken) {
            self.finding.oversold += units(taken);
            if taken > 0 {
                self.breach(Guarantee::Ledger, format!("{sku} of region {region}"), "a row of stock", "none");
            }
        }
        self.finding
    }

    /// The attempts of a run that were not met as they should have been.
    fn missing(&mut self, run: &Run<'_>) {
        for (n, claim) in run.claims.all().iter().enumerate().filter(|(_, claim)| claim.is_order()) {
            match claim.fate {
                Fate::Unknown if run.met[n] == 0 => self.finding.unknown_absent += 1,
                Fate::Accepted if run.ended[n] && self.beside.parked.contains(&claim.id) => {
                    self.finding.lost += 1;
                    self.breach(Guarantee::Kept, format!("order {}", claim.id), "one end", "a row, and it parked");
                }
                Fate::Accepted if run.ended[n] => {}
                Fate::Accepted if self.beside.parked.contains(&claim.id) => self.finding.parked += 1,
                // In no state, in one that nobody decided, or under an id that was not the promised one.
                Fate::Accepted => {
                    self.finding.lost += 1;
                    let subject = format!("order {} under the key {}-{n}", claim.id, run.claims.run());
                    let found = if run.met[n] == 0 { "no row" } else { "another state or id" };
                    self.breach(Guarantee::Kept, subject, "an end, as it was answered 202", found);
                }
                _ => {}
            }
        }
    }

    fn breach(
        &mut self,
        guarantee: Guarantee,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.finding.breaches.add(guarantee, subject, expected, found);
    }
}

fn named(order: &Order) -> String {
    format!("order {} under the key {}", order.id, order.key)
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
mod tests;
