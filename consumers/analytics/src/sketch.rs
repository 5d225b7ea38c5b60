//! How many visitors, in a few kilobytes however many they are.

use cardinality_estimator::CardinalityEstimator;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The first byte of a stored sketch.
const FORMAT: u8 = 1;
/// The lowest bits of the library's state say which of its three forms it has; in the two larger ones the rest is a
/// pointer, which means nothing once stored.
const FORM_MASK: u64 = 3;

/// A `HyperLogLog` sketch with 2¹² registers: exact for a few visitors, then a standard error of 1.04/√4096 = 1.6%
/// (Flajolet et al. 2007), in at most 3.1 KB. The sketch of two minutes is the merge of theirs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sketch(CardinalityEstimator<[u8]>);

impl Sketch {
    /// Adds a visitor; one who was added before changes nothing.
    pub fn add(&mut self, visitor: &str) {
        // Not `std::hash`: its result may change with a release of Rust, and the sketches are stored.
        let digest = Sha256::digest(visitor.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        self.0.insert_hash(u64::from_le_bytes(first));
    }

    /// Adds everybody whom `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// About how many different visitors were added.
    pub fn estimate(&self) -> u64 {
        self.0.estimate() as u64
    }

    /// The sketch for the database: format, state, and the words of the larger forms, little-endian.
    ///
    /// # Panics
    /// Never: the library writes a number and a list of numbers.
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = serde_json::to_value(&self.0).and_then(serde_json::from_value);
        let (state, words): (u64, Option<Vec<u32>>) = parts.expect("the library writes a number and a list of numbers");
        let state = if words.is_some() { state & FORM_MASK } else { state };
        let mut bytes = vec![FORMAT];
        bytes.extend(state.to_le_bytes());
        bytes.extend(words.unwrap_or_default().into_iter().flat_map(u32::to_le_bytes));
        bytes
    }

    /// The sketch that was stored as `bytes`; none where they are not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = bytes.split_first()? else { return None };
        let (state, words) = rest.split_at_checked(8)?;
        let state = u64::from_le_bytes(state.try_into().ok()?);
        let (words, []) = words.as_chunks::<4>() else { return None };
        let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
        let words = (!words.is_empty()).then_some(words);
        serde_json::from_value(json!([state, words])).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(visitors: std::ops::Range<u32>) -> Sketch {
        let mut sketch = Sketch::default();
        visitors.for_each(|n| sketch.add(&format!("visitor {n}")));
        sketch
    }

    fn is_near(estimate: u64, truth: u64) -> bool {
        // Four standard errors.
        estimate.abs_diff(truth) * 100 <= truth * 7
    }

    #[test]
    fn the_estimate_is_exact_for_a_few_and_near_for_many() {
        assert_eq!([0, 1, 2, 3, 100].map(|n| of(0..n).estimate()), [0, 1, 2, 3, 100]);
        for n in [1_000, 30_000] {
            let estimate = of(0..n).estimate();
            assert!(is_near(estimate, n.into()), "{n}: {estimate}");
        }
    }

    #[test]
    fn a_visitor_of_both_sketches_counts_once_in_their_merge() {
        let mut merged = of(0..10_000);
        merged.merge(&of(5_000..15_000));
        assert!(is_near(merged.estimate(), 15_000), "{}", merged.estimate());
    }

    #[test]
    fn a_stored_sketch_holds_no_address_and_is_small() {
        for n in [1, 50, 10_000] {
            let bytes = of(0..n).to_bytes();
            assert_eq!(bytes, of(0..n).to_bytes());
            assert!(bytes.len() < 3_200, "{}", bytes.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_sketch_is_read_back_as_it_was_stored(n in 0u32..400) {
            let sketch = of(0..n);
            let read = Sketch::from_bytes(&sketch.to_bytes()).unwrap();
            prop_assert_eq!(read.estimate(), sketch.estimate());
            prop_assert_eq!(read.to_bytes(), sketch.to_bytes());
        }

        #[test]
        fn bytes_that_are_no_sketch_are_refused_or_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(mut sketch) = Sketch::from_bytes(&bytes) {
                sketch.add("one more");
                sketch.estimate();
            }
        }
    }
}
