//! A promise that was not kept, by its name, with the ids that somebody has to look at.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many breaches of one guarantee are named; the rest is counted. The first few hundred tell all that a person reads.
const NAMED: u64 = 200;

/// What Millpond promises, as an oracle tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// What was answered 202 is in exactly one terminal state, or visibly parked; accepted page events are counted; and what was
    /// answered to be taken back is.
    Kept,
    /// For each SKU the movements add up to the stock row, which is never below zero and never oversold.
    Ledger,
    /// No order, movement or event has its effect twice, and no outgoing event is written twice.
    Once,
    /// There is nothing that no client attempted.
    Attempted,
    /// Rollups equal a recount.
    Rollups,
    /// What became of an order is told, once at least and never in two ways.
    Told,
    /// The cache says what the database says, after the published bound.
    Cached,
    /// Queues end empty, and what is parked is the poison that was put in.
    AtRest,
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Ledger => "ledger",
            Self::Once => "once",
            Self::Attempted => "attempted",
            Self::Rollups => "rollups",
            Self::Told => "told",
            Self::Cached => "cached",
            Self::AtRest => "at rest",
        })
    }
}

/// One breach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// Of what.
    pub guarantee: Guarantee,
    /// The order, article, queue or row that shows it.
    pub subject: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// All breaches: counted without end, named up to a bound.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Breaches {
    counts: BTreeMap<Guarantee, u64>,
    named: Vec<Breach>,
}

impl Breaches {
    /// Adds one.
    pub fn add(
        &mut self,
        guarantee: Guarantee,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let count = self.counts.entry(guarantee).or_default();
        *count += 1;
        if *count <= NAMED {
            let (subject, expected, found) = (subject.into(), expected.into(), found.into());
            self.named.push(Breach { guarantee, subject, expected, found });
        }
    }

    /// Adds those of another look.
    pub fn extend(&mut self, others: Self) {
        for (guarantee, count) in &others.counts {
            *self.counts.entry(*guarantee).or_default() += count;
        }
        self.named.extend(others.named);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many of a guarantee.
    pub fn of(&self, guarantee: Guarantee) -> u64 {
        self.counts.get(&guarantee).copied().unwrap_or(0)
    }

    /// Those guarantees that were broken.
    pub fn guarantees(&self) -> impl Iterator<Item = Guarantee> + '_ {
        self.counts.keys().copied()
    }

    /// The named ones, in the order found.
    pub fn named(&self) -> &[Breach] {
        &self.named
    }
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { guarantee, subject, expected, found } = self;
        write!(f, "{guarantee}: {subject}: expected {expected}, found {found}")
    }
}

impl std::fmt::Display for Breaches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.named.iter().try_for_each(|breach| writeln!(f, "{breach}"))?;
        let unnamed = self.counts.values().sum::<u64>().saturating_sub(self.named.len() as u64);
        if unnamed > 0 { writeln!(f, "and {unnamed} more") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_breach_is_counted_and_the_first_ones_are_named() {
        let mut breaches = Breaches::default();
        for n in 0..NAMED + 5 {
            breaches.add(Guarantee::Kept, format!("order {n}"), "a row", "none");
        }
        breaches.add(Guarantee::Once, "order 1", "1", "2");
        assert_eq!((breaches.of(Guarantee::Kept), breaches.of(Guarantee::Ledger)), (NAMED + 5, 0));
        assert_eq!(breaches.guarantees().collect::<Vec<_>>(), [Guarantee::Kept, Guarantee::Once]);
        let text = breaches.to_string();
        assert!(text.contains("once: order 1: expected 1, found 2") && text.ends_with("and 5 more\n"), "{text}");
    }
}
