//! Tags, their generations, and the purges that change them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{RegionName, Sku};
use serde::{Deserialize, Serialize};

/// A name for everything that was rendered from one thing. Also what a CDN is told (`Surrogate-Key`, `Cache-Tag`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag(String);

impl Tag {
    /// Everything that shows this product.
    pub fn product(region: &RegionName, sku: &Sku) -> Self {
        Self(format!("product:{region}:{sku}"))
    }

    /// Everything that shows this product's availability.
    pub fn stock(region: &RegionName, sku: &Sku) -> Self {
        Self(format!("stock:{region}:{sku}"))
    }

    /// Everything that lists this collection.
    pub fn collection(region: &RegionName, name: &str) -> Self {
        Self(format!("collection:{region}:{name}"))
    }

    /// Everything that shows which products there are at all: searches, the first page.
    pub fn catalogue(region: &RegionName) -> Self {
        Self(format!("catalogue:{region}"))
    }

    /// What every page carries towards CDNs, so that all can be purged at once where nobody knows any more which are old. It
    /// has no generation.
    pub fn everything() -> Self {
        Self("millpond".to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag as `Surrogate-Key` and `Cache-Tag` take it, and as CDNs are told: what separates tags, and what no header may
    /// hold, as `%` and two digits.
    pub fn in_header(&self) -> Cow<'_, str> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b',' | b'%');
        if self.0.bytes().all(plain) {
            return Cow::Borrowed(&self.0);
        }
        let escaped =
            self.0.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") });
        Cow::Owned(escaped.collect())
    }
}

/// A tag that somebody else made, such as another process.
impl From<String> for Tag {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What changes with every purge of a tag. Two are equal only where nothing was purged between them: values are unique
/// and never counted, because a counter that starts again after a loss would meet its own past.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation {
    process: u64,
    count: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.process, self.count)
    }
}

impl FromStr for Generation {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let part = |range| text.get(range).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        match (part(0..16), part(16..32)) {
            (Some(process), Some(count)) => Ok(Self { process, count }),
            _ => Err(()),
        }
    }
}

/// Makes generations that no process made before: a random number per process, and a count.
#[derive(Debug)]
pub(crate) struct Generations {
    process: u64,
    count: AtomicU64,
}

impl Generations {
    pub(crate) fn new() -> Self {
        Self { process: rand::random(), count: AtomicU64::new(0) }
    }

    pub(crate) fn fresh(&self) -> Generation {
        Generation { process: self.process, count: self.count.fetch_add(1, Ordering::Relaxed) }
    }
}

/// A tag, and the changes that make what was rendered from it old.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// What is old now.
    pub tag: Tag,
    /// The things that changed, unique over kinds and regions (`product:eu:MUG`), each with its version after the change:
    /// counted from 1, below 2⁵³. The tag is purged where one of them is above what was seen of it.
    pub versions: BTreeMap<String, i64>,
}

/// What the version of `aggregate` that `tag` was last purged for is found by. Per tag, because a change may be the only
/// one that names this tag although a newer one of the same thing has come already.
pub(crate) fn seen_key(aggregate: &str, tag: &Tag) -> String {
    format!("{aggregate}>{tag}")
}
