//! Who may operate: names and hashes of tokens.
//!
//! A token is `mp_ops_` and 43 characters of base64url: 256 random bits, so a fast hash is the right one, and the file
//! holds the hash alone. A request's token is hashed and compared with every hash in constant time.

mod file;

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

pub use file::{OperatorFileError, append, read, remove};

/// What every token starts with, so that a leaked one is recognised (by secret scanners too).
pub const PREFIX: &str = "mp_ops_";

/// The BLAKE3 hash of a token, written `blake3:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash(blake3::Hash);

impl TokenHash {
    /// The hash of a token in plain text.
    pub fn of(plain: &str) -> Self {
        Self(blake3::hash(plain.as_bytes()))
    }
}

impl TryFrom<String> for TokenHash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.strip_prefix("blake3:")
            .and_then(|hex| blake3::Hash::from_hex(hex).ok())
            .map(Self)
            .ok_or_else(|| "a hash is written `blake3:` and 64 hexadecimal digits".to_owned())
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> String {
        format!("blake3:{}", hash.0.to_hex())
    }
}

/// An operator as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Who, in the audit trail; unique.
    pub name: String,
    /// The token's hash.
    pub hash: TokenHash,
}

/// A token in plain text: shown once, then gone. `Debug` hides it.
pub struct PlainToken(String);

impl PlainToken {
    /// The text, to show it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PlainToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainToken(…)")
    }
}

/// A new token and its hash.
pub fn generate() -> (PlainToken, TokenHash) {
    // The thread's generator is a CSPRNG that the operating system seeds.
    let bytes: [u8; 32] = rand::rng().random();
    let plain = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = TokenHash::of(&plain);
    (PlainToken(plain), hash)
}

/// The operators of this moment. Clones share them, and see a reload at once.
#[derive(Debug, Clone)]
pub struct Operators {
    path: Arc<PathBuf>,
    entries: Arc<ArcSwap<Vec<Entry>>>,
}

impl Operators {
    /// Reads the file; one that is not there names nobody. [`crate::Ops::maintain`] follows its changes.
    ///
    /// # Errors
    /// [`OperatorFileError`] says what is wrong and what to do. At start-up a broken file is fatal; later it is not.
    pub fn open(path: &Path) -> Result<Self, OperatorFileError> {
        let entries = Arc::new(ArcSwap::from_pointee(file::read_if_any(path)?));
        Ok(Self { path: Arc::new(path.to_owned()), entries })
    }

    /// Whether the file names nobody.
    pub fn is_empty(&self) -> bool {
        self.entries.load().is_empty()
    }

    /// Whose token this is.
    pub(crate) fn find(&self, plain: &str) -> Option<String> {
        let hash = blake3::hash(plain.as_bytes());
        // Equality of hashes takes the same time wherever they differ.
        self.entries.load().iter().find(|entry| entry.hash.0 == hash).map(|entry| entry.name.clone())
    }

    /// Reads the file every `interval`, for ever.
    pub(crate) async fn follow(&self, interval: Duration) {
        let mut said = None;
        loop {
            tokio::time::sleep(interval).await;
            let failed = self.reload().await.err();
            if let Some(error) = failed.as_ref().filter(|_| failed != said) {
                tracing::error!(error, "the operators in use stay the old ones");
            }
            said = failed;
        }
    }

    /// Takes what the file says now. A broken one changes nothing: a slip of an editor must not lock the operators out.
    async fn reload(&self) -> Result<(), String> {
        let path = Arc::clone(&self.path);
        let read = tokio::task::spawn_blocking(move || file::read_if_any(&path)).await;
        let entries = read.map_err(|error| error.to_string())?.map_err(|error| chain(&error))?;
        if entries != **self.entries.load() {
            tracing::info!(operators.count = entries.len(), "the operators were reloaded");
            self.entries.store(Arc::new(entries));
        }
        Ok(())
    }
}

fn chain(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slip_of_an_editor_locks_nobody_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operators.toml");
        let (token, hash) = generate();
        append(&path, &Entry { name: "anna".to_owned(), hash }).unwrap();
        let operators = Operators::open(&path).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, "[[operator]").unwrap();
        assert!(operators.reload().await.unwrap_err().contains("not valid"));
        assert_eq!(operators.find(token.reveal()).as_deref(), Some("anna"));
        std::fs::write(&path, good.replace("anna", "ben")).unwrap();
        operators.reload().await.unwrap();
        assert_eq!(operators.find(token.reveal()).as_deref(), Some("ben"));
    }
}
