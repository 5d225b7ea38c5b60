//! The generator's own record: what it attempted, and what it was told.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use model::OrderId;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Entries that may wait for the disk.
const QUEUE: usize = 65_536;

/// An order about to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Position in the run, from 0.
    pub n: u64,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// What it buys.
    pub sku: String,
    /// How many units.
    pub quantity: u32,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "entry")]
pub enum Entry {
    /// Written before the request is sent.
    Attempt(Attempt),
    /// Written when it was answered, or given up.
    Answer {
        /// The attempt's position.
        n: u64,
        /// HTTP status; `None` where no answer came: the order may exist or not.
        status: Option<u16>,
        /// The order's id, where the answer named one.
        order_id: Option<OrderId>,
        /// Microseconds from the planned time to the answer.
        latency_us: u64,
    },
}

/// Why the journal can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system.
    #[error("the journal {path} can't be used")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a journal.
    #[error("line {line} of the journal {path} is not an entry: {reason}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// Its writer stopped after an earlier failure.
    #[error("the journal's writer has stopped")]
    Stopped,
}

/// An append-only file of JSON lines, written by one task and synced to disk whenever it catches up.
#[derive(Debug)]
pub struct Journal {
    entries: mpsc::Sender<Entry>,
    writer: JoinHandle<Result<(), JournalError>>,
}

impl Journal {
    /// Creates the file; an older one of the same name is replaced.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = File::create(path).map_err(|source| JournalError::Io { path: path.to_owned(), source })?;
        let (entries, queue) = mpsc::channel(QUEUE);
        let path = path.to_owned();
        let writer = tokio::task::spawn_blocking(move || {
            write_all(file, queue).map_err(|source| JournalError::Io { path, source })
        });
        Ok(Self { entries, writer })
    }

    /// Where entries go; cheap to clone.
    pub fn sender(&self) -> mpsc::Sender<Entry> {
        self.entries.clone()
    }

    /// Waits until every entry is on disk. All senders must be gone.
    ///
    /// # Errors
    /// [`JournalError::Io`] where a write failed, [`JournalError::Stopped`] where the writer panicked.
    pub async fn finish(self) -> Result<(), JournalError> {
        drop(self.entries);
        self.writer.await.map_err(|_| JournalError::Stopped)?
    }
}

fn write_all(file: File, mut queue: mpsc::Receiver<Entry>) -> std::io::Result<()> {
    let mut out = BufWriter::new(file);
    while let Some(entry) = queue.blocking_recv() {
        write_entry(&mut out, &entry)?;
        while let Ok(entry) = queue.try_recv() {
            write_entry(&mut out, &entry)?;
        }
        out.flush()?;
        out.get_ref().sync_data()?;
    }
    out.flush()?;
    out.get_ref().sync_data()
}

fn write_entry(out: &mut BufWriter<File>, entry: &Entry) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, entry)?;
    out.write_all(b"\n")
}

/// Reads a journal back. A last line that a crash cut short is passed over: its request was not counted.
///
/// # Errors
/// [`JournalError`].
pub fn read(path: &Path) -> Result<Vec<Entry>, JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let lines: Vec<String> =
        BufReader::new(File::open(path).map_err(io)?).lines().collect::<Result<_, _>>().map_err(io)?;
    let last = lines.len();
    let mut entries = Vec::with_capacity(last);
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(error) if index + 1 == last && error.is_eof() => {}
            Err(error) => {
                return Err(JournalError::Line { path: path.to_owned(), line: index + 1, reason: error.to_string() });
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(n: u64) -> Entry {
        Entry::Attempt(Attempt { n, key: format!("k-{n}"), sku: "MUG".to_owned(), quantity: 1 })
    }

    #[tokio::test]
    async fn what_was_written_is_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path).unwrap();
        let entries = vec![attempt(0), Entry::Answer { n: 0, status: Some(202), order_id: None, latency_us: 900 }];
        for entry in entries.clone() {
            journal.sender().send(entry).await.unwrap();
        }
        journal.finish().await.unwrap();
        assert_eq!(read(&path).unwrap(), entries);
    }

    #[tokio::test]
    async fn a_cut_last_line_is_passed_over_and_a_broken_one_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let whole = serde_json::to_string(&attempt(0)).unwrap();
        std::fs::write(&path, format!("{whole}\n{}", &whole[..20])).unwrap();
        assert_eq!(read(&path).unwrap(), vec![attempt(0)]);
        std::fs::write(&path, format!("{whole}\nnonsense\n{whole}\n")).unwrap();
        assert!(matches!(read(&path), Err(JournalError::Line { line: 2, .. })));
    }
}
