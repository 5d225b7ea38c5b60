//! API keys: who may call, for which market, and to do what.
//!
//! A key is `mp_live_` and 43 characters of base64url: 256 random bits, so a fast hash is the right one (there is
//! nothing to guess), and the file holds the hash alone. A request's key is hashed and the hash is looked up; the time of
//! that tells nothing about a key, because nobody can steer a hash towards another.

mod check;
mod file;
mod watch;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use model::MarketId;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

pub use check::{Scope, check, forbidden, from_header};
pub use file::{KeyFileError, append, read, revoke};

/// What every key starts with, so that a leaked one is recognised (by secret scanners too).
pub const PREFIX: &str = "mp_live_";

/// Who holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The shop's own servers: trusted for the prices they post.
    Server,
    /// Anyone who looks into the shop's pages: its prices are compared with the catalogue.
    Browser,
}

/// The BLAKE3 hash of a key, written `blake3:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(blake3::Hash);

impl KeyHash {
    /// The hash of a key in plain text.
    pub fn of(plain: &str) -> Self {
        Self(blake3::hash(plain.as_bytes()))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.strip_prefix("blake3:")
            .and_then(|hex| blake3::Hash::from_hex(hex).ok())
            .map(Self)
            .ok_or_else(|| "a hash is written `blake3:` and 64 hexadecimal digits".to_owned())
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> String {
        format!("blake3:{}", hash.0.to_hex())
    }
}

/// A key as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// For people, and the source of the page events that come with it; unique.
    pub name: String,
    /// The key's hash.
    pub hash: KeyHash,
    /// The market that it speaks for.
    pub market: MarketId,
    /// Who holds it.
    pub kind: KeyKind,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The origins (`https://shop.example`) whose pages may use a browser key; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<String>,
    /// When it ends; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key in plain text: shown once, then gone. `Debug` hides it.
pub struct PlainKey(String);

impl PlainKey {
    /// The text, to show it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

/// A new key and its hash.
pub fn generate() -> (PlainKey, KeyHash) {
    // The thread's generator is a CSPRNG that the operating system seeds.
    let bytes: [u8; 32] = rand::rng().random();
    let plain = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = KeyHash::of(&plain);
    (PlainKey(plain), hash)
}

#[derive(Debug, Default)]
struct Table {
    by_hash: HashMap<blake3::Hash, Arc<Entry>>,
}

impl Table {
    fn new(entries: Vec<Entry>) -> Self {
        let by_hash = entries.into_iter().map(|entry| (entry.hash.0, Arc::new(entry))).collect();
        Self { by_hash }
    }
}

/// The keys of this moment. Clones share them, and see a reload at once.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    path: Arc<PathBuf>,
    table: Arc<ArcSwap<Table>>,
}

impl ApiKeys {
    /// Reads the file. [`ApiKeys::follow`] follows its changes.
    ///
    /// # Errors
    /// [`KeyFileError`] says what is wrong and what to do. At start-up a broken file is fatal; later it is not.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let entries = read(path)?;
        if entries.is_empty() {
            tracing::warn!(
                keys.file = %path.display(),
                "there is no API key yet, so every request is refused: `millpond keys create` makes one"
            );
        }
        Ok(Self { path: Arc::new(path.to_owned()), table: Arc::new(ArcSwap::from_pointee(Table::new(entries))) })
    }

    /// The key, where it is known (expired or not).
    pub fn find(&self, plain: &str) -> Option<Arc<Entry>> {
        let hash = blake3::hash(plain.as_bytes());
        self.table.load().by_hash.get(&hash).cloned()
    }

    /// Whether some browser key may be used from `origin`: all that is known of a preflight, which carries no key.
    pub fn some_key_allows(&self, origin: &str) -> bool {
        self.table.load().by_hash.values().any(|entry| {
            entry.kind == KeyKind::Browser
                && (entry.origins.is_empty() || entry.origins.iter().any(|known| known == origin))
        })
    }

    /// Names of the keys whose market is none of `known`.
    pub fn of_unknown_markets(&self, known: &[MarketId]) -> Vec<String> {
        let table = self.table.load();
        let mut names: Vec<String> = table
            .by_hash
            .values()
            .filter(|entry| !known.contains(&entry.market))
            .map(|entry| format!("{} (market {})", entry.name, entry.market))
            .collect();
        names.sort();
        names
    }
}
