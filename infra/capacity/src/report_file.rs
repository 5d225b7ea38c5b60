//! A file for what a run will have found.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A file that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("{path} can't be written")]
pub struct Unwritable {
    path: PathBuf,
    source: io::Error,
}

/// A file that was found to be writable before the run, which may take an hour, and is written after it.
#[derive(Debug)]
pub struct ReportFile(PathBuf);

impl ReportFile {
    /// Opens the file, as writing it will, and makes an empty one where there is none; what it holds stays until
    /// [`ReportFile::write`].
    ///
    /// # Errors
    /// [`Unwritable`], before anything has run.
    pub fn claim(path: &Path) -> Result<Self, Unwritable> {
        match File::options().append(true).create(true).open(path) {
            Ok(_) => Ok(Self(path.to_owned())),
            Err(source) => Err(Unwritable { path: path.to_owned(), source }),
        }
    }

    /// Writes `text` in the place of what the file held.
    ///
    /// # Errors
    /// [`Unwritable`]; so say first what must not get lost.
    pub fn write(&self, text: impl AsRef<[u8]>) -> Result<(), Unwritable> {
        std::fs::write(&self.0, text).map_err(|source| Unwritable { path: self.0.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_can_not_be_written_is_known_before_the_run_and_what_it_held_is_kept_until_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("none").join("run.json");
        assert!(ReportFile::claim(&nowhere).unwrap_err().to_string().contains("run.json can't be written"));

        let path = folder.path().join("run.json");
        std::fs::write(&path, "the run before").unwrap();
        let file = ReportFile::claim(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the run before");
        file.write("this one").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "this one");
    }
}
