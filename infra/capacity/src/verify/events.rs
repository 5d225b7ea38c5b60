//! Page events, request by request: one that is stored without need never stands in for one that is lost. And path by path: an
//! event that is counted under another path is not counted.
//!
//! Not minute by minute: a rollup's minute is the one in which the ingress received the event, by its own clock. No journal knows
//! it, and nothing else keeps it.

use std::collections::BTreeMap;

use super::claims::{Asked, Claims, Fate, Owner, written_number};
use crate::request::path;

/// What is counted of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    /// Every event.
    pub(super) events: u64,
    /// Events that are views of a page, as all of a generator's are.
    pub(super) views: u64,
}

/// By path.
pub(super) type ByPath = BTreeMap<String, Counted>;

/// Which page events of a run analytics took.
pub(super) struct Seen<'a> {
    claims: &'a Claims,
    /// How many of each request.
    by_number: Vec<u32>,
    /// How many of each path, by its number.
    by_path: BTreeMap<u64, u64>,
    total: u64,
    unexpected: u64,
}

impl<'a> Seen<'a> {
    pub(super) fn new(claims: &'a Claims) -> Self {
        Self { claims, by_number: vec![0; claims.all().len()], by_path: BTreeMap::new(), total: 0, unexpected: 0 }
    }

    pub(super) fn run(&self) -> &str {
        self.claims.run()
    }

    /// An id that begins with the run's name; each comes once.
    pub(super) fn id(&mut self, id: &str) {
        self.total += 1;
        let place = id.rsplit_once('-').and_then(|(key, i)| Some((key, written_number(i)?)));
        let expected = place.is_some_and(|(key, i)| match self.claims.owner(key) {
            Owner::Attempt(n) => {
                *self.by_path.entry(path(n, i)).or_default() += 1;
                self.take(n, i)
            }
            Owner::Nobody | Owner::Others => false,
        });
        self.unexpected += u64::from(!expected);
    }

    /// Whether event `i` of request `n` may be there.
    fn take(&mut self, n: u64, i: u64) -> bool {
        let claim = self.claims.fate(n);
        match (claim.fate, claim.asked) {
            (Fate::Accepted | Fate::Unknown, Asked::Events(count)) if i < u64::from(count) => {
                if let Some(seen) = usize::try_from(n).ok().and_then(|n| self.by_number.get_mut(n)) {
                    *seen += 1;
                }
                true
            }
            // A generator that was killed did not come to write what it sent.
            (Fate::Unknown, Asked::Unwritten) => true,
            _ => false,
        }
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What the rollups have to hold: each event once, as a view, under the path that it named.
    pub(super) fn by_path(&self) -> ByPath {
        let run = self.claims.run();
        let named =
            |(path, events): (&u64, &u64)| (format!("/load/{run}/{path}"), Counted { events: *events, views: *events });
        self.by_path.iter().map(named).collect()
    }

    /// Events of accepted requests that are not there.
    pub(super) fn missing(&self) -> u64 {
        self.missing_by_request().map(|(_, missing)| u64::from(missing)).sum()
    }

    /// The accepted requests of which some are not there, and how many.
    pub(super) fn missing_by_request(&self) -> impl Iterator<Item = (usize, u32)> {
        let missing = self.claims.accepted_events().map(|(n, count)| {
            let seen = self.by_number.get(n).copied().unwrap_or(0);
            (n, count.saturating_sub(seen))
        });
        missing.filter(|(_, missing)| *missing > 0)
    }

    /// Events that nobody sent, or of a request that was refused.
    pub(super) fn unexpected(&self) -> u64 {
        self.unexpected
    }
}
