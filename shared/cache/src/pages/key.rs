//! What a page is found by.

use std::fmt;
use std::sync::Arc;

/// The longest key that is kept as it was given, bytes.
const LONGEST: usize = 512;

/// A page's name, canonical: two spellings of one page would be rendered and kept twice. By convention
/// `kind:region:path?query` with the query sorted and without what does not matter (`page:eu:/p/MUG`, `api:eu:/v1/products?q=mug`).
/// Whatever the answer depends on belongs into it, but not the encoding: bodies of all encodings are one page.
///
/// Cheap to clone. A text above 512 bytes, which only strangers send, is replaced by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageKey(Arc<str>);

impl PageKey {
    /// The key `text`.
    pub fn new(text: &str) -> Self {
        if text.len() <= LONGEST {
            return Self(text.into());
        }
        Self(format!("long:{}", blake3::hash(text.as_bytes()).to_hex()).into())
    }

    /// The key as text: what [`Self::new`] was given, unless that was too long.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_from_a_stranger_is_never_long_and_still_its_own() {
        let long = |end: char| PageKey::new(&format!("page:eu:/{}{end}", "x".repeat(100_000)));
        assert!(long('a').as_str().len() < 100);
        assert_eq!(long('a'), long('a'));
        assert_ne!(long('a'), long('b'));
        assert_eq!(PageKey::new("page:eu:/p/MUG").as_str(), "page:eu:/p/MUG");
    }
}
