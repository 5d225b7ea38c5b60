//! Which pages are read most, so that they are rendered first after a purge.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::held::{Moment, micros};
use super::key::PageKey;

/// Readers count for half as much after this long.
const HALF_LIFE: Duration = Duration::from_mins(1);

/// Counts readers of the most read pages ("Space-Saving", Metwally et al. 2005: where all places are taken the newcomer takes
/// the smallest one's place and count). Entries report every 64th reader or so, so that reading takes no lock.
#[derive(Debug)]
pub(crate) struct Hot {
    at_most: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    readers: HashMap<PageKey, u64>,
    halved: Moment,
}

impl Hot {
    pub(crate) fn new(at_most: usize) -> Self {
        Self { at_most: at_most.max(1), counts: Mutex::default() }
    }

    /// `readers` more have read `key`.
    pub(crate) fn read(&self, key: &PageKey, readers: u32, now: Moment) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if now - counts.halved > micros(HALF_LIFE) {
            counts.halved = now;
            counts.readers.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        let mut before = 0;
        if counts.readers.len() >= self.at_most && !counts.readers.contains_key(key) {
            let coldest = counts.readers.iter().min_by_key(|(_, count)| **count);
            if let Some((coldest, count)) = coldest.map(|(key, count)| (key.clone(), *count)) {
                counts.readers.remove(&coldest);
                before = count;
            }
        }
        *counts.readers.entry(key.clone()).or_insert(before) += u64::from(readers);
    }

    /// The keys that `wanted` says yes to, most read first, at most `n`.
    pub(crate) fn keys(&self, n: usize, wanted: impl Fn(&PageKey) -> bool) -> Vec<PageKey> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<(PageKey, u64)> = counts.readers.iter().map(|(key, count)| (key.clone(), *count)).collect();
        drop(counts);
        keys.sort_by(|(key, count), (other, others)| others.cmp(count).then_with(|| key.cmp(other)));
        keys.into_iter().map(|(key, _)| key).filter(wanted).take(n).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> PageKey {
        PageKey::new(&format!("page:{n}"))
    }

    #[test]
    fn the_most_read_stay_whoever_passes_by() {
        let hot = Hot::new(10);
        for round in 0..200 {
            hot.read(&key(1), 8, 0);
            hot.read(&key(2), 4, 0);
            hot.read(&key(1_000 + round), 1, 0);
        }
        assert_eq!(hot.keys(2, |_| true), [key(1), key(2)]);
        assert_eq!(hot.keys(1, |found| *found != key(1)), [key(2)]);
        assert_eq!(hot.keys(100, |_| true).len(), 10);
    }

    #[test]
    fn what_was_hot_yesterday_is_not() {
        let hot = Hot::new(10);
        hot.read(&key(1), 1_000, 0);
        for minute in 1..=11 {
            hot.read(&key(2), 64, minute * 61 * 1_000_000);
        }
        assert_eq!(hot.keys(10, |_| true), [key(2)]);
    }
}
