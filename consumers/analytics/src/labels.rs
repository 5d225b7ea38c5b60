//! Texts from outside as keys of rows: clean, short, and not too many.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use chrono::{DateTime, Utc};

/// What everything above the cap is counted under.
pub(crate) const OTHER: &str = "(other)";

/// How many minutes are remembered; older ones start to count anew.
const MINUTES: usize = 1_024;

/// `text` without control characters (`PostgreSQL` takes no NUL), at most `max` bytes long; empty for none.
pub(crate) fn clean(text: Option<&str>, max: usize) -> String {
    let mut clean: String = text.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(max));
    clean
}

/// Bounds how many different labels a market has per minute. A crawler that asks for a million paths becomes one row, not
/// a million. It is kept in memory, so the bound is per process: with N of them at most N times the cap.
#[derive(Debug)]
pub(crate) struct Labels {
    cap: usize,
    hasher: RandomState,
    /// Hashes, not texts: at most 8 KB per 1,000 labels.
    seen: BTreeMap<(DateTime<Utc>, String), HashSet<u64>>,
}

impl Labels {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, hasher: RandomState::new(), seen: BTreeMap::new() }
    }

    /// The label itself while the minute has room for it, else [`OTHER`]. The empty one always has room.
    pub(crate) fn admit(&mut self, market: &str, minute: DateTime<Utc>, label: String) -> String {
        if label.is_empty() {
            return label;
        }
        let hash = self.hasher.hash_one(&label);
        let seen = self.seen.entry((minute, market.to_owned())).or_default();
        let admitted = seen.contains(&hash) || (seen.len() < self.cap && seen.insert(hash));
        if self.seen.len() > MINUTES {
            self.seen.pop_first();
        }
        if admitted { label } else { OTHER.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_above_the_cap_are_other_and_known_ones_stay_themselves() {
        let mut labels = Labels::new(2);
        let minute = DateTime::UNIX_EPOCH;
        let mut admit = |market: &str, label: &str| labels.admit(market, minute, label.to_owned());
        assert_eq!(["/a", "/b", "/c", "/a", ""].map(|label| admit("eu", label)), ["/a", "/b", OTHER, "/a", ""]);
        assert_eq!(admit("us", "/c"), "/c", "another market has its own room");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut labels = Labels::new(2);
        for minute in 0..5_000 {
            labels.admit("eu", DateTime::from_timestamp(minute * 60, 0).unwrap(), "/a".to_owned());
        }
        assert!(labels.seen.len() <= MINUTES);
    }

    #[test]
    fn a_label_is_cut_between_characters_and_has_no_control_characters() {
        assert_eq!(clean(Some(" /gr\0öß\ne "), 7), "/größ");
        assert_eq!(clean(Some("ööö"), 3), "ö");
        assert_eq!(clean(None, 7), "");
    }
}
