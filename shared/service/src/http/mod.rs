//! The HTTP server. Not `axum::serve`: that sets no timer, and without one hyper has no header timeout, so a few
//! thousand connections that never finish their request (slowloris) would hold the server.

mod connection;
mod layers;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::lifecycle::Shutdown;
use crate::metrics::Metrics;
use crate::metrics::http::Requests;
use crate::problem::Problem;
use crate::tasks::Tasks;

/// A server's address and limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// How long a request's head may take to arrive, milliseconds; a connection that stays idle this long between
    /// requests is closed too, at the latest after twice as long.
    pub header_timeout_ms: u64,
    /// How long a handler may take to start its answer, milliseconds. An answer that streams on (server-sent events) is
    /// not cut.
    pub request_timeout_ms: u64,
    /// How long a client may take nothing of what is written to it, milliseconds; then its connection is closed. So is one of
    /// HTTP/2 on which no open stream did anything for this and `request_timeout_ms` together: above the time between two
    /// heartbeats of an answer that streams on.
    pub write_timeout_ms: u64,
    /// Connections at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// How long requests in flight may take once a stop was asked for, milliseconds; then their connections are closed.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            header_timeout_ms: 10_000,
            request_timeout_ms: 15_000,
            write_timeout_ms: 60_000,
            max_connections: 10_000,
            drain_ms: 10_000,
        }
    }
}

impl Config {
    /// Whether these limits can work.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        let limits = [
            ("header_timeout_ms", self.header_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("max_connections", self.max_connections as u64),
        ];
        if let Some((name, _)) = limits.iter().find(|(_, value)| !(1..=u64::from(u32::MAX)).contains(value)) {
            return Err(Error::Limit(name));
        }
        Ok(())
    }
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A limit that no connection could meet.
    #[error("the HTTP server's {0} must be 1 to {max}", max = u32::MAX)]
    Limit(&'static str),
    /// Somebody else does.
    #[error("{0} is taken by another process: stop that one, or choose another address or port (0 takes a free one)")]
    Taken(SocketAddr),
    /// A port below 1024, as an ordinary user.
    #[error("{0} may not be used by this user: choose a port from 1024 on, or allow it to bind lower ones")]
    Denied(SocketAddr),
    /// The machine has no such address.
    #[error(
        "{0} is not an address of this machine: bind to 0.0.0.0 (all), 127.0.0.1 (this machine alone) or one that it has"
    )]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("can't listen on {0}")]
    Io(SocketAddr, #[source] io::Error),
}

/// The answer to a `GET`, and the route that would have given it, where it is at hand: known without waiting for anything. It is
/// asked before the router, and spares a request whatever is made for its way through that, which is more than half of what a
/// small answer costs. `None` where the router has to be asked. Must not block, and answers as the router does.
pub type AtHand = Arc<dyn Fn(&Uri, &HeaderMap) -> Option<(&'static str, Response)> + Send + Sync>;

/// How the server tells a reader (`GET`, `HEAD`) of what it answers itself, a handler that panicked or took too long: for people who
/// ask for a page. It is given `Accept` of the request's headers, and no other. Without one such an answer is problem+json, as every
/// other request's is. Must not block.
pub type Problems = Arc<dyn Fn(Problem, &HeaderMap) -> Response + Send + Sync>;

/// A listening socket. Connections wait in the kernel's backlog until [`Server::serve`].
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    config: Config,
    requests: Option<Requests>,
    at_hand: Option<AtHand>,
    problems: Option<Problems>,
    /// What it is for, where a process has several.
    name: Option<&'static str>,
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// [`Error`] says which address and what to do.
    pub async fn bind(config: Config) -> Result<Self, Error> {
        config.check()?;
        let bind = config.bind;
        let listener = TcpListener::bind(bind).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::Taken(bind),
            io::ErrorKind::PermissionDenied => Error::Denied(bind),
            io::ErrorKind::AddrNotAvailable => Error::NoSuchAddress(bind),
            _ => Error::Io(bind, error),
        })?;
        let local_addr = listener.local_addr().map_err(|error| Error::Io(bind, error))?;
        Ok(Self { listener, local_addr, config, requests: None, at_hand: None, problems: None, name: None })
    }

    /// Counts and times its requests there.
    #[must_use]
    pub fn measured(mut self, metrics: &Metrics) -> Self {
        self.requests = Some(Requests::new(metrics));
        self
    }

    /// Asks `at_hand` before the router.
    #[must_use]
    pub fn at_hand(mut self, at_hand: AtHand) -> Self {
        self.at_hand = Some(at_hand);
        self
    }

    /// Has `problems` tell readers of what the server answers itself.
    #[must_use]
    pub fn problems(mut self, problems: Problems) -> Self {
        self.problems = Some(problems);
        self
    }

    /// Says in the log what it is for, beside the process's main server.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves `router` until `shutdown`. Soft: takes no new connection, lets the requests in flight finish (at most
    /// `drain_ms`). Hard: closes what is open. Every connection has ended when this returns.
    ///
    /// The router gets problem+json answers for unknown paths and methods, so it brings no fallback of its own; and a
    /// request id, a trace span, a timeout, and a 500 for a panic.
    pub async fn serve(self, router: Router, shutdown: Shutdown) {
        // Cancelled by the end of the drain too, which is a hard stop of this server alone.
        let stop = shutdown.child();
        let timeout = Duration::from_millis(self.config.request_timeout_ms);
        let around = Arc::new(layers::Around { timeout, requests: self.requests, problems: self.problems });
        let context = Arc::new(connection::Context {
            router: layers::apply(router, Arc::clone(&around)),
            at_hand: self.at_hand,
            around,
            header_timeout: Duration::from_millis(self.config.header_timeout_ms),
            write_timeout: Duration::from_millis(self.config.write_timeout_ms),
            stop: stop.clone(),
            tasks: Tasks::new(),
        });
        let slots = Arc::new(Semaphore::new(self.config.max_connections));
        match self.name {
            None => tracing::info!(http.address = %self.local_addr, "listening on http://{}", self.local_addr),
            Some(name) => tracing::info!(http.address = %self.local_addr, "{name} at http://{}", self.local_addr),
        }
        stop.soft().run_until_cancelled(accept(&self.listener, &slots, &context)).await;
        drop(self.listener);

        let drain = Duration::from_millis(self.config.drain_ms);
        tokio::select! {
            () = context.tasks.join() => return,
            () = stop.hard().cancelled() => {}
            () = tokio::time::sleep(drain) => tracing::warn!(
                http.open = context.tasks.len(),
                "requests were still in flight after {} ms: closing their connections",
                drain.as_millis()
            ),
        }
        stop.hard().cancel();
        context.tasks.join().await;
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("local_addr", &self.local_addr)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Accepts for ever; a failure (usually no file descriptor left) is waited out, since giving up helps nobody.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>, context: &Arc<connection::Context>) {
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let serving = connection::serve(stream, peer, Arc::clone(context));
                drop(context.tasks.spawn("http connection", async move {
                    serving.await;
                    drop(slot);
                }));
            }
            // The client left before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!(
                    %error,
                    "can't accept connections (raise the limit of open files?); trying again"
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
