//! Reading a journal back, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::{Entry, JournalError};

/// The entries of a journal, in order, without holding them. A last line that a crash cut short is passed over: its
/// request is one of those that are reserved.
///
/// # Errors
/// [`JournalError`]: at once where the file can't be opened, in the iteration where a line can't be read.
pub fn read(path: &Path) -> Result<impl Iterator<Item = Result<Entry, JournalError>> + use<>, JournalError> {
    let path = path.to_owned();
    let file = File::open(&path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
    Ok(Lines { path, file: BufReader::with_capacity(1 << 20, file), line: String::new(), number: 0 })
}

struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    line: String,
    number: u64,
}

impl Iterator for Lines {
    type Item = Result<Entry, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.line.clear();
        self.number += 1;
        match self.file.read_line(&mut self.line) {
            Ok(0) => None,
            Ok(_) => match serde_json::from_str(&self.line) {
                Ok(entry) => Some(Ok(entry)),
                Err(_) if !self.line.ends_with('\n') => None,
                Err(error) => Some(Err(JournalError::Line {
                    path: self.path.clone(),
                    line: self.number,
                    reason: error.to_string(),
                })),
            },
            Err(source) => Some(Err(JournalError::Io { path: self.path.clone(), source })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_last_line_is_passed_over_and_a_broken_one_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let entry = Entry::NotSent { n: 7 };
        let whole = serde_json::to_string(&entry).unwrap();
        std::fs::write(&path, format!("{whole}\n{}", &whole[..10])).unwrap();
        let entries: Vec<Entry> = read(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries, [entry]);
        std::fs::write(&path, format!("{whole}\nnonsense\n{whole}\n")).unwrap();
        let second = read(&path).unwrap().nth(1).unwrap();
        assert!(matches!(second, Err(JournalError::Line { line: 2, .. })), "{second:?}");
        assert!(matches!(read(&folder.path().join("none")), Err(JournalError::Io { .. })));
    }
}
