//! Opening the file: one process at a time, durable, of a version that this program reads.

use std::path::Path;

use broker::BrokerError;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::Config;

/// `SQLite`'s mark of whose file it is: `MILL` in ASCII.
const APPLICATION_ID: i32 = 0x4d49_4c4c;

/// The layout that [`SCHEMA`] makes.
const VERSION: i32 = 1;

/// How long the log becomes before a commit folds it into the file, pages of 4 KiB: 32 MB. `SQLite`'s own 1,000 are
/// a few thousand messages, and each time publishers wait for two more syncs; a page that messages have used one after the other
/// meanwhile is then written into the file once. Pages in the log are no memory but for a few bytes each, and what a kill leaves
/// of it is read through once when the file is opened again.
const CHECKPOINT_PAGES: u32 = 8_000;

/// `message.key` is a [`crate::key::Key`]. `queue.handed_to` is the highest place that was handed out since the file
/// was opened: what is left at or below it after a kill may have been seen by a consumer.
const SCHEMA: &str = "
CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    retry_delays_ms TEXT NOT NULL,
    handed_to INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE exchange (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE binding (
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    queue INTEGER NOT NULL,
    PRIMARY KEY (exchange, routing_key, queue)
) STRICT, WITHOUT ROWID;
CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    deliveries INTEGER NOT NULL DEFAULT 0,
    properties TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE TABLE delayed (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    properties TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX delayed_by_due ON delayed (due_ms, id, queue);
";

/// Opens or creates the file at `path`, holding it for this process alone until the connection is closed.
pub(crate) fn open(path: &Path, config: &Config) -> Result<Connection, BrokerError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let connection = Connection::open(path).map_err(explain)?;
    configure(&connection, config).map_err(explain)?;
    match application_and_version(&connection).map_err(explain)? {
        (0, 0) if is_empty(&connection).map_err(explain)? => create(&connection).map_err(explain)?,
        mark => readable(path, mark)?,
    }
    Ok(connection)
}

/// Looks whether the file at `path` is a broker's that this program reads, without any lock: one that is held for a moment
/// would keep out the broker that starts in it. The log beside the file is not read, so that a file whose log was never
/// folded into it looks empty.
pub(crate) fn look(path: &Path) -> Result<(), BrokerError> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    // Nothing that a whole path begins with is taken for a host.
    let whole = path
        .canonicalize()
        .map_err(|error| BrokerError::Configuration(format!("{} can't be read: {error}", path.display())))?;
    let escaped = whole.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags).map_err(explain)?;
    match application_and_version(&connection).map_err(explain)? {
        (0, 0) if is_empty(&connection).map_err(explain)? => Ok(()),
        mark => readable(path, mark),
    }
}

/// Refuses another program's file, and one of a newer layout.
fn readable(path: &Path, mark: (i32, i32)) -> Result<(), BrokerError> {
    let path = path.display();
    let why = match mark {
        (APPLICATION_ID, VERSION) => return Ok(()),
        (APPLICATION_ID, newer) => {
            format!("{path} has the layout {newer}, this program reads {VERSION}: run the newer program that wrote it")
        }
        _ => format!("{path} is a SQLite file of another program: give the broker a path of its own"),
    };
    Err(BrokerError::Configuration(why))
}

fn configure(connection: &Connection, config: &Config) -> rusqlite::Result<()> {
    // Another process that holds the file is an error at once, not a wait.
    connection.busy_timeout(std::time::Duration::ZERO)?;
    // The lock is taken at the first read and kept; it also spares the shared memory file of the log.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    // Before the first table: acked messages' pages can then be given back to the file system.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode FULL is one fsync of the log for each commit: this is what a confirm stands for.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let kibibytes = i64::try_from(config.cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes.max(1024))?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // A log that a burst made large is cut back once it is folded into the file; one of that many pages is not.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Takes the lock now; reading alone would wait until the first write.
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT;")
}

fn application_and_version(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((pragma("application_id")?, pragma("user_version")?))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

/// What an error of opening means to the person who started the program.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> BrokerError {
    let path = path.display();
    if let Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) = error.sqlite_error_code() {
        return BrokerError::Held(format!(
            "another process holds {path}: an embedded broker belongs to one process, stop the other or give this one \
             a path of its own"
        ));
    }
    BrokerError::Configuration(match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => format!(
            "{path} is damaged or is not a broker's file ({error}): restore it from a backup, or move it and its \
             -wal file away to start with an empty one"
        ),
        Some(ErrorCode::CannotOpen) => {
            format!("{path} can't be opened ({error}): its directory must exist and be writable")
        }
        _ => format!("{path} can't be used: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A killed process can't show a missing sync, only a power cut could: so the settings themselves are held.
    #[test]
    fn every_commit_is_synced_and_the_file_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("broker"), &Config::default()).unwrap();
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(text("journal_mode"), "wal");
        assert_eq!(text("locking_mode"), "exclusive");
        let full = connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(full, 2, "FULL");
        let pages = connection.pragma_query_value(None, "wal_autocheckpoint", |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(pages, CHECKPOINT_PAGES);
    }
}
