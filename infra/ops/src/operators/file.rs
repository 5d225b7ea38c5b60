//! The operators' file: TOML, one `[[operator]]` table each.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};
use service::edited_file;

use super::Entry;

const HEADER: &str = "# Millpond's operators, by the hashes of their tokens. `millpond keys operator` adds one, or takes\n\
                      # one out with --revoke; running processes notice.\n\n";

/// Why the operators' file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OperatorFileError {
    /// It can't be read or written.
    #[error("the operators' file {} can't be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("the operators' file {} is not valid: {reason}", path.display())]
    Invalid {
        /// Which.
        path: PathBuf,
        /// Line and reason.
        reason: String,
    },
    /// A name is given once.
    #[error("there is an operator named {0:?} already: choose another name, or revoke that one first")]
    NameTaken(String),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default, rename = "operator", skip_serializing_if = "Vec::is_empty")]
    operators: Vec<Entry>,
}

/// Reads the file's operators. Names and hashes are unique.
///
/// # Errors
/// [`OperatorFileError`]; a file that is not there is one.
pub fn read(path: &Path) -> Result<Vec<Entry>, OperatorFileError> {
    parse(path, &fs::read_to_string(path).map_err(|source| io_error(path, source))?)
}

/// As [`read`]; a file that is not there names nobody.
pub(super) fn read_if_any(path: &Path) -> Result<Vec<Entry>, OperatorFileError> {
    match fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(io_error(path, source)),
    }
}

/// Adds an operator; makes the file (readable by its owner alone) where there is none.
///
/// # Errors
/// [`OperatorFileError`]; the file is then as it was.
pub fn append(path: &Path, entry: &Entry) -> Result<(), OperatorFileError> {
    let _lock = edited_file::lock(path).map_err(|source| io_error(path, source))?;
    let mut operators = read_if_any(path)?;
    if operators.iter().any(|known| known.name == entry.name) {
        return Err(OperatorFileError::NameTaken(entry.name.clone()));
    }
    operators.push(entry.clone());
    replace(path, operators)
}

/// Takes an operator out; whether there was one of this name.
///
/// # Errors
/// [`OperatorFileError`]; the file is then as it was.
pub fn remove(path: &Path, name: &str) -> Result<bool, OperatorFileError> {
    let _lock = edited_file::lock(path).map_err(|source| io_error(path, source))?;
    let mut operators = read_if_any(path)?;
    let before = operators.len();
    operators.retain(|operator| operator.name != name);
    let found = operators.len() < before;
    if found {
        replace(path, operators)?;
    }
    Ok(found)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, OperatorFileError> {
    let invalid = |reason| OperatorFileError::Invalid { path: path.to_owned(), reason };
    let Contents { operators } =
        toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
    for (position, operator) in operators.iter().enumerate() {
        let name = &operator.name;
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            return Err(invalid(format!("the name {name:?} is not 1 to 64 bytes of text")));
        }
        let earlier = &operators[..position];
        if earlier.iter().any(|other| other.name == *name) {
            return Err(invalid(format!("two operators are named {name:?}")));
        }
        if let Some(other) = earlier.iter().find(|other| other.hash == operator.hash) {
            return Err(invalid(format!("{:?} and {name:?} have the same hash", other.name)));
        }
    }
    Ok(operators)
}

fn replace(path: &Path, operators: Vec<Entry>) -> Result<(), OperatorFileError> {
    let text = toml::to_string(&Contents { operators }).expect("operators are tables of text, which TOML can write");
    // Before it replaces the file: a broken one would lock everybody out at the next start.
    parse(path, &text)?;
    edited_file::replace(path, &format!("{HEADER}{text}")).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> OperatorFileError {
    OperatorFileError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::operators::{Operators, generate};

    #[test]
    fn operators_are_added_found_by_their_token_and_taken_out_of_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operators.toml");
        let (token, hash) = generate();
        let anna = Entry { name: "anna".to_owned(), hash };
        append(&path, &anna).unwrap();
        append(&path, &Entry { name: "ben".to_owned(), hash: generate().1 }).unwrap();
        assert!(matches!(append(&path, &anna), Err(OperatorFileError::NameTaken(_))));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains(token.reveal()), "the file holds the hash alone");

        let operators = Operators::open(&path).unwrap();
        assert_eq!(operators.find(token.reveal()).as_deref(), Some("anna"));
        assert_eq!(operators.find("mp_ops_guess"), None);

        assert!(remove(&path, "anna").unwrap());
        assert!(!remove(&path, "anna").unwrap());
        assert_eq!(Operators::open(&path).unwrap().find(token.reveal()), None);
    }

    #[test]
    fn a_file_that_is_not_there_names_nobody_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operators.toml");
        assert!(Operators::open(&path).unwrap().is_empty());
        fs::write(&path, "[[operator]]\nname = \"anna\"\nhash = \"md5:1\"\n").unwrap();
        assert!(Operators::open(&path).unwrap_err().to_string().contains("blake3"));
    }
}
