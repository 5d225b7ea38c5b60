//! The writer: a thread of its own that takes what has gathered, so that a request costs no system call here.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::OrderId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Entry, JournalError, Sync};
use crate::mix::{Mix, What};

/// How long an entry gathers company.
const GATHER: Duration = Duration::from_millis(50);
/// So many entries are written without waiting for more.
const ENOUGH: usize = 8_192;
/// Entries that may wait for the disk; beyond it requests wait too, and the wait counts as latency.
const MOST: usize = 262_144;
/// The longest between two syncs of entries.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// Attempts that are reserved at once.
const RESERVE: u64 = 65_536;

/// An entry on its way to the writer, without any text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Record {
    Attempt { n: u64, what: What },
    Answer { n: u64, status: Option<u16>, order_id: Option<OrderId>, latency_us: u64 },
    NotSent { n: u64 },
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    open: Open,
    writer: JoinHandle<Result<(), JournalError>>,
}

/// Keeps the writer at work: dropped, it writes what it has and ends, so that no thread is left behind a failure.
#[derive(Debug)]
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.wake.notify_one();
    }
}

/// Writes into a journal; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pen(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Attempts below it may be sent.
    reserved: AtomicU64,
    /// The writer has written, or stopped.
    progress: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<Record>,
    /// What `reserved` should become.
    wanted: u64,
    closed: bool,
    /// It was closed on purpose: what has no line was not sent.
    ended: bool,
    stopped: bool,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A vector that a panic left behind is still a vector.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    /// Creates the file for a run of `mix`, and starts its writer on this runtime's pool of blocking threads.
    ///
    /// # Errors
    /// [`JournalError::Io`]; also where the file exists: it may be the only record of another run.
    pub fn create(path: &Path, mix: &Mix, sync: Sync) -> Result<Self, JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let file = File::options().write(true).create_new(true).open(path).map_err(io)?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { wanted: RESERVE, ..Queue::default() }),
            wake: Condvar::new(),
            reserved: AtomicU64::new(0),
            progress: Notify::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            out: BufWriter::with_capacity(1 << 18, file),
            sync,
            synced: Instant::now(),
            run: mix.run().to_owned(),
            seed: mix.seed(),
            skus: mix.articles().iter().map(|article| serde_json::Value::from(&*article.sku).to_string()).collect(),
        };
        let path: PathBuf = path.to_owned();
        let writer = tokio::task::spawn_blocking(move || writer.run(&path));
        Ok(Self { open: Open(shared), writer })
    }

    pub(crate) fn pen(journal: Option<&Self>) -> Pen {
        Pen(journal.map(|journal| Arc::clone(&journal.open.0)))
    }

    /// Waits until every entry is on disk.
    ///
    /// # Errors
    /// [`JournalError::Io`] where a write failed, [`JournalError::Stopped`] where the writer panicked.
    pub async fn finish(self) -> Result<(), JournalError> {
        self.open.0.queue().ended = true;
        drop(self.open);
        self.writer.await.map_err(|_| JournalError::Stopped)?
    }
}

impl Pen {
    /// Returns once attempt `n` is reserved on disk and the writer keeps up. Almost always at once.
    ///
    /// # Errors
    /// [`JournalError::Stopped`].
    pub(crate) async fn reserve(&self, n: u64) -> Result<(), JournalError> {
        let Some(shared) = &self.0 else { return Ok(()) };
        loop {
            let progress = shared.progress.notified();
            let mut progress = std::pin::pin!(progress);
            let reserved = shared.reserved.load(Ordering::Acquire);
            {
                let mut queue = shared.queue();
                if queue.stopped {
                    return Err(JournalError::Stopped);
                }
                // The next stretch is asked for when half of this one is left, so that nobody waits for the disk.
                if n + RESERVE / 2 >= queue.wanted {
                    queue.wanted = n + RESERVE;
                    shared.wake.notify_one();
                }
                if n < reserved && queue.records.len() < MOST {
                    return Ok(());
                }
                progress.as_mut().enable();
            }
            progress.await;
        }
    }

    /// Hands an entry over.
    pub(crate) fn write(&self, record: Record) {
        let Some(shared) = &self.0 else { return };
        let mut queue = shared.queue();
        queue.records.push(record);
        if queue.records.len() == ENOUGH {
            shared.wake.notify_one();
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    out: BufWriter<File>,
    sync: Sync,
    synced: Instant,
    run: String,
    seed: u64,
    /// As JSON.
    skus: Vec<String>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.queue().stopped = true;
        self.shared.progress.notify_waiters();
    }
}

impl Writer {
    fn run(mut self, path: &Path) -> Result<(), JournalError> {
        self.write_all().map_err(|source| JournalError::Io { path: path.to_owned(), source })
    }

    fn write_all(&mut self) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.out, &Entry::Run { run: self.run.clone(), seed: self.seed })?;
        self.out.write_all(b"\n")?;
        let mut records = Vec::new();
        loop {
            let (wanted, closed) = self.gather(&mut records);
            let reserves = wanted > self.shared.reserved.load(Ordering::Relaxed);
            if reserves {
                writeln!(self.out, "{{\"entry\":\"reserved\",\"to\":{wanted}}}")?;
            }
            for record in records.drain(..) {
                self.record(record)?;
            }
            if closed && self.shared.queue().ended {
                self.out.write_all(b"{\"entry\":\"ended\"}\n")?;
            }
            self.out.flush()?;
            if self.sync == Sync::Group && (reserves || closed || self.synced.elapsed() >= SYNC_EVERY) {
                self.out.get_ref().sync_data()?;
                self.synced = Instant::now();
            }
            self.shared.reserved.fetch_max(wanted, Ordering::Release);
            self.shared.progress.notify_waiters();
            if closed {
                return Ok(());
            }
        }
    }

    /// Waits until there is enough to write, or something has waited long enough.
    fn gather(&self, records: &mut Vec<Record>) -> (u64, bool) {
        let until = Instant::now() + GATHER;
        let mut queue = self.shared.queue();
        let reserved = self.shared.reserved.load(Ordering::Relaxed);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let urgent = queue.closed || queue.wanted > reserved || queue.records.len() >= ENOUGH;
            if urgent || (left.is_zero() && !queue.records.is_empty()) {
                std::mem::swap(&mut queue.records, records);
                return (queue.wanted, queue.closed);
            }
            let wait = if left.is_zero() { GATHER } else { left };
            queue = self.shared.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// By hand, and not by serde: a run of a million requests writes two million lines beside the system it measures.
    fn record(&mut self, record: Record) -> std::io::Result<()> {
        let (run, out) = (&self.run, &mut self.out);
        match record {
            Record::Attempt { n, what: What::Order { article } } => {
                let sku = self.skus.get(article as usize).map_or("\"\"", String::as_str);
                writeln!(out, "{{\"entry\":\"attempt\",\"n\":{n},\"key\":\"{run}-{n}\",\"sku\":{sku},\"quantity\":1}}")
            }
            Record::Attempt { n, what: What::Events { count } } => {
                writeln!(out, "{{\"entry\":\"events\",\"n\":{n},\"ids\":\"{run}-{n}\",\"count\":{count}}}")
            }
            Record::Answer { n, status, order_id, latency_us } => {
                write!(out, "{{\"entry\":\"answer\",\"n\":{n},\"status\":")?;
                match status {
                    Some(status) => write!(out, "{status}")?,
                    None => write!(out, "null")?,
                }
                match order_id {
                    Some(id) => write!(out, ",\"order_id\":\"{id}\"")?,
                    None => write!(out, ",\"order_id\":null")?,
                }
                writeln!(out, ",\"latency_us\":{latency_us}}}")
            }
            Record::NotSent { n } => writeln!(out, "{{\"entry\":\"not_sent\",\"n\":{n}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Attempt, read};
    use crate::mix::{Article, Popularity};

    fn mix() -> Mix {
        let article = Article { sku: "a\"b".to_owned(), unit_price_minor: 1 };
        Mix::orders("run", "EUR", vec![article], Popularity::InTurn, 5).unwrap()
    }

    fn entries(path: &Path) -> Vec<Entry> {
        read(path).unwrap().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path, &mix(), Sync::Group).unwrap();
        let pen = Journal::pen(Some(&journal));
        pen.reserve(0).await.unwrap();
        let id: OrderId = "00010203-0405-8607-8809-0a0b0c0d0e0f".parse().unwrap();
        pen.write(Record::Attempt { n: 0, what: What::Order { article: 0 } });
        pen.write(Record::Attempt { n: 1, what: What::Events { count: 100 } });
        pen.write(Record::Answer { n: 0, status: Some(202), order_id: Some(id), latency_us: 900 });
        pen.write(Record::Answer { n: 1, status: None, order_id: None, latency_us: 9 });
        pen.write(Record::NotSent { n: 2 });
        journal.finish().await.unwrap();
        let attempt = Attempt { n: 0, key: "run-0".to_owned(), sku: "a\"b".to_owned(), quantity: 1 };
        assert_eq!(
            entries(&path),
            [
                Entry::Run { run: "run".to_owned(), seed: 5 },
                Entry::Reserved { to: RESERVE },
                Entry::Attempt(attempt),
                Entry::Events { n: 1, ids: "run-1".to_owned(), count: 100 },
                Entry::Answer { n: 0, status: Some(202), order_id: Some(id), latency_us: 900 },
                Entry::Answer { n: 1, status: None, order_id: None, latency_us: 9 },
                Entry::NotSent { n: 2 },
                Entry::Ended,
            ]
        );
        let again = Journal::create(&path, &mix(), Sync::Group);
        assert!(matches!(again, Err(JournalError::Io { .. })), "another run's journal is never overwritten");
    }

    #[tokio::test]
    async fn a_journal_that_is_dropped_leaves_no_thread_behind_and_does_not_say_that_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path, &mix(), Sync::Group).unwrap();
        let pen = Journal::pen(Some(&journal));
        pen.reserve(0).await.unwrap();
        pen.write(Record::NotSent { n: 0 });
        let Journal { open, writer } = journal;
        drop(open);
        writer.await.unwrap().unwrap();
        assert_eq!(entries(&path).last(), Some(&Entry::NotSent { n: 0 }));
    }

    #[tokio::test]
    async fn an_attempt_may_be_sent_only_once_the_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = Journal::create(&path, &mix(), Sync::Group).unwrap();
        let pen = Journal::pen(Some(&journal));
        for n in [0, RESERVE - 1, RESERVE, 5 * RESERVE] {
            pen.reserve(n).await.unwrap();
            let reserved = entries(&path).into_iter().filter_map(|entry| match entry {
                Entry::Reserved { to } => Some(to),
                _ => None,
            });
            assert!(reserved.max() > Some(n), "attempt {n}");
        }
        journal.finish().await.unwrap();
        assert!(matches!(pen.reserve(0).await, Err(JournalError::Stopped)));
    }
}
