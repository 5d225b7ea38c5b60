//! A paused clock that waits for work outside the runtime.

use std::sync::mpsc::{Sender, channel};

/// While it lives a paused clock stands still although every task waits.
#[derive(Debug)]
pub struct StandStill {
    /// Its end is the end.
    _open: Sender<()>,
}

/// Holds the clock of this runtime. A paused clock jumps to the next timer when all tasks wait, also where they wait for
/// another thread (SQLite's connections are such): a database that answers in a millisecond would time out. tokio lets the
/// clock stand while a blocking task runs; this is one that does nothing.
#[must_use]
pub fn stand_still() -> StandStill {
    let (open, closed) = channel::<()>();
    drop(tokio::task::spawn_blocking(move || closed.recv().is_err()));
    StandStill { _open: open }
}
