//! From the operating system's signals to [`Shutdown`].

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::lifecycle::Shutdown;

/// Turns SIGTERM and SIGINT into requests to stop: the first is soft, the second hard. Returns after the second, or when
/// the hard token is pulled by somebody else.
///
/// # Errors
/// The operating system refused to register a handler.
pub async fn listen(shutdown: Shutdown) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            () = shutdown.hard().cancelled() => return Ok(()),
        };
        if shutdown.soft().is_cancelled() {
            tracing::warn!(signal = name, "asked again to stop: stopping hard");
        } else {
            tracing::info!(signal = name, "asked to stop: finishing what is held; once more stops at once");
        }
        shutdown.request();
    }
}
