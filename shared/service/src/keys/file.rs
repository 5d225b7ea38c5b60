//! The keys' file: TOML, one `[[key]]` table each.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::edited_file;

const HEADER: &str = "# Millpond's API keys, by their hashes. `millpond keys create|list|revoke` edits this file;\n\
                      # running processes notice. Comments survive `create`, not `revoke`.\n";

/// Why the keys' file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no API key file at {}: `millpond keys create` makes one", .0.display())]
    Missing(PathBuf),
    /// It can't be read or written.
    #[error("the API key file {} can't be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("the API key file {} is not valid: {reason}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// A name is given once.
    #[error("there is a key named {0:?} already: choose another name, or revoke that one first")]
    NameTaken(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Entry>,
}

/// Reads the file's keys. Names and hashes are unique.
///
/// # Errors
/// [`KeyFileError`].
pub fn read(path: &Path) -> Result<Vec<Entry>, KeyFileError> {
    let text = fs::read_to_string(path).map_err(|source| io_error(path, source))?;
    parse(path, &text)
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, KeyFileError> {
    let invalid = |reason| KeyFileError::Invalid { path: path.to_owned(), reason };
    let Contents { keys } = toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    for (position, key) in keys.iter().enumerate() {
        if key.name.is_empty() || key.name.len() > 64 || key.name.chars().any(char::is_control) {
            return Err(invalid(format!("the name {:?} is not 1 to 64 bytes of text", key.name)));
        }
        let earlier = &keys[..position];
        if earlier.iter().any(|other| other.name == key.name) {
            return Err(invalid(format!("two keys are named {:?}", key.name)));
        }
        if let Some(other) = earlier.iter().find(|other| other.hash == key.hash) {
            return Err(invalid(format!("{:?} and {:?} have the same hash", other.name, key.name)));
        }
    }
    Ok(keys)
}

/// Adds a key; makes the file (readable by its owner alone) where there is none.
///
/// # Errors
/// [`KeyFileError`]; the file is then as it was.
pub fn append(path: &Path, entry: &Entry) -> Result<(), KeyFileError> {
    let _lock = edited_file::lock(path).map_err(|source| io_error(path, source))?;
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => HEADER.to_owned(),
        Err(source) => return Err(io_error(path, source)),
    };
    if parse(path, &text)?.iter().any(|known| known.name == entry.name) {
        return Err(KeyFileError::NameTaken(entry.name.clone()));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&to_toml(vec![entry.clone()]));
    // Before it replaces the file: a broken one would lock everybody out at the next start.
    parse(path, &text)?;
    edited_file::replace(path, &text).map_err(|source| io_error(path, source))
}

/// Takes a key out; whether there was one of this name.
///
/// # Errors
/// [`KeyFileError`]; the file is then as it was.
pub fn revoke(path: &Path, name: &str) -> Result<bool, KeyFileError> {
    let _lock = edited_file::lock(path).map_err(|source| io_error(path, source))?;
    let mut keys = read(path)?;
    let before = keys.len();
    keys.retain(|key| key.name != name);
    if keys.len() == before {
        return Ok(false);
    }
    let text = format!("{HEADER}\n{}", to_toml(keys));
    edited_file::replace(path, &text).map_err(|source| io_error(path, source))?;
    Ok(true)
}

fn to_toml(keys: Vec<Entry>) -> String {
    toml::to_string(&Contents { keys }).expect("keys are tables of text, which TOML can write")
}

pub(super) fn io_error(path: &Path, source: io::Error) -> KeyFileError {
    if source.kind() == io::ErrorKind::NotFound {
        KeyFileError::Missing(path.to_owned())
    } else {
        KeyFileError::Io { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::keys::{KeyKind, Scope, generate};

    fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            hash: generate().1,
            market: "eu".parse().unwrap(),
            kind: KeyKind::Browser,
            scopes: vec![Scope::Orders, Scope::Events],
            origins: vec!["https://shop.example".to_owned()],
            expires_at: "2030-01-01T00:00:00Z".parse().ok(),
        }
    }

    #[test]
    fn keys_are_added_read_back_and_revoked_in_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let (one, two) = (entry("one"), entry("two"));
        append(&path, &one).unwrap();
        append(&path, &two).unwrap();
        assert_eq!(read(&path).unwrap(), [one.clone(), two.clone()]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        assert!(revoke(&path, "one").unwrap());
        assert!(!revoke(&path, "one").unwrap());
        assert_eq!(read(&path).unwrap(), [two]);
    }

    #[test]
    fn a_name_is_given_once_and_the_file_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        append(&path, &entry("one")).unwrap();
        let error = append(&path, &entry("one")).unwrap_err();
        assert!(matches!(error, KeyFileError::NameTaken(_)));
        assert_eq!(read(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_comment_survives_a_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        fs::write(&path, "# the till in Ghent").unwrap();
        append(&path, &entry("one")).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("the till in Ghent"));
    }

    #[test]
    fn a_missing_and_a_wrong_file_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let missing = read(&path).unwrap_err().to_string();
        assert!(missing.contains("millpond keys create"), "{missing}");

        append(&path, &entry("one")).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for (from, to, said) in [
            ("kind = \"browser\"", "kind = \"robot\"", "robot"),
            ("market", "markets", "markets"),
            ("blake3:", "md5:", "blake3"),
        ] {
            fs::write(&path, good.replace(from, to)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        fs::write(&path, format!("{good}{}", good.replace("one", "two"))).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("the same hash"), "{error}");
    }
}
